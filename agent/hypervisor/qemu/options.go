package qemu

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// argument is one option of QEMU's command line, with its value if it takes one. An
// image that stands there without an option has no name.
type argument struct {
	name  string // without dashes
	value string
	alone bool // takes no value
}

// alone are the options that take no value, in QEMU 5.2 to 10.
var alone = []string{"S", "daemonize", "enable-kvm", "nodefaults", "nographic", "no-user-config", "no-reboot", "no-shutdown", "no-acpi", "no-hpet",
	"no-fd-bootchk", "no-quit", "snapshot", "preconfig", "usb", "full-screen", "win2k-hack", "singlestep", "one-insn-per-tb", "portrait", "s", "h", "help",
	"version", "mem-prealloc", "only-migratable", "xen-attach", "xen-domid-restrict", "enable-sync-profile", "old-param", "semihosting", "alt-grab",
	"ctrl-grab", "curses", "sdl", "nouserconfig", "perfmap", "jitdump", "enable-fips"}

// takeApart reads a command line.
func takeApart(words []string) (all []argument, err error) {
	for i := 0; i < len(words); i++ {
		word := words[i]
		name := strings.TrimPrefix(strings.TrimPrefix(word, "-"), "-")
		switch {
		case name == word || word == "-":
			all = append(all, argument{value: word})
		case slices.Contains(alone, name):
			all = append(all, argument{name: name, alone: true})
		case i+1 == len(words):
			return all, fmt.Errorf("%s has no value", word)
		default:
			i++
			all = append(all, argument{name: name, value: words[i]})
		}
	}
	return all, nil
}

// words puts an option onto a command line.
func (a argument) words() []string {
	switch {
	case a.name == "":
		return []string{a.value}
	case a.alone:
		return []string{"-" + a.name}
	}
	return []string{"-" + a.name, a.value}
}

// setting is one part of an option's value. The first part may be a bare word that
// stands for the value of a key which depends on the option.
type setting struct {
	key, value string
	bare       bool
}

// settings are the parts of an option's value, in order.
type settings []setting

// parseSettings reads "word,key=value,…", in which ",," stands for a comma, or
// JSON, whose keys are then joined by dots, as QEMU has it.
func parseSettings(text string) (settings, error) {
	if strings.HasPrefix(text, "{") {
		var object map[string]any
		if err := json.Unmarshal([]byte(text), &object); err != nil {
			return nil, fmt.Errorf("%.60s… is no JSON: %w", text, err)
		}
		return flatten("", object), nil
	}
	var all settings
	var part strings.Builder
	end := func() {
		key, value, found := strings.Cut(part.String(), "=")
		all = append(all, setting{key: key, value: value, bare: !found})
		part.Reset()
	}
	for i := 0; i < len(text); i++ {
		if text[i] != ',' {
			part.WriteByte(text[i])
		} else if i+1 < len(text) && text[i+1] == ',' {
			part.WriteByte(',')
			i++
		} else {
			end()
		}
	}
	end()
	return all, nil
}

// flatten makes settings of a JSON object, in the order of their keys.
func flatten(prefix string, value any) (all settings) {
	switch value := value.(type) {
	case map[string]any:
		keys := make([]string, 0, len(value))
		for key := range value {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		for _, key := range keys {
			all = append(all, flatten(strings.TrimPrefix(prefix+"."+key, "."), value[key])...)
		}
	case []any:
		for i, v := range value {
			all = append(all, flatten(fmt.Sprintf("%s.%d", prefix, i), v)...)
		}
	case bool:
		all = settings{{key: prefix, value: map[bool]string{true: "on", false: "off"}[value]}}
	default:
		all = settings{{key: prefix, value: fmt.Sprint(value)}}
	}
	return all
}

// get returns the value of the last setting of a key, or of one that ends in
// ".key", and "" if there is none.
func (s settings) get(key string) string {
	for _, one := range slices.Backward(s) {
		if !one.bare && (one.key == key || strings.HasSuffix(one.key, "."+key)) {
			return one.value
		}
	}
	return ""
}

// first returns the bare word that a value may begin with, or else the value of the
// key that it stands for.
func (s settings) first(key string) string {
	if len(s) > 0 && s[0].bare {
		return s[0].key
	}
	return s.get(key)
}

// on tells whether a switch is on.
func on(value string) bool { return slices.Contains([]string{"on", "yes", "true", "y"}, value) }

// off tells whether a switch is off.
func off(value string) bool { return slices.Contains([]string{"off", "no", "false", "n"}, value) }
