package qemu

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"storebeat/agent/hypervisor"
	"storebeat/poweron"
)

// Read says what it takes to protect the guest behind a monitor as a machine of that
// name; "" for the name that QEMU has for it.
func (d *Driver) Read(ctx context.Context, monitor, name string, datastores []hypervisor.Place) (hypervisor.Guest, error) {
	r, err := readRunning(ctx, monitor)
	if err != nil {
		return hypervisor.Guest{}, err
	}
	return r.guest(firstOf(name, r.Name), datastores)
}

// guest makes a machine of what runs.
func (r *running) guest(name string, datastores []hypervisor.Place) (hypervisor.Guest, error) {
	g := hypervisor.Guest{VM: r.VM, Name: name, Running: true, Memory: r.Memory}
	if err := poweron.CheckName(name); err != nil {
		g.Problems = append(g.Problems, fmt.Sprintf("its name %v: give it one with --name", err))
	}
	home, others, ok := r.home(datastores)
	if !ok {
		g.Problems = append(g.Problems, "none of its disks lies on a datastore of the cluster: "+r.homeless(datastores))
		return g, nil
	}
	g.Datastore = home.Name
	e := exporting{running: r, spec: hypervisor.Spec{VM: r.VM, Name: name, DatastorePath: home.Path, Others: others}}
	definition := e.definition()
	g.Problems, g.Warnings = append(g.Problems, e.problems...), e.warnings
	if len(g.Problems) > 0 {
		return g, nil
	}
	var err error
	g.Definition, err = json.Marshal(definition)
	return g, err
}

// home picks the datastore of the first disk. Flash memory has no image lock, so it comes last.
func (r *running) home(datastores []hypervisor.Place) (home hypervisor.Place, others []hypervisor.Place, ok bool) {
	disks := slices.SortedStableFunc(slices.Values(r.Disks), func(a, b image) int { return cmp.Compare(a.rank(), b.rank()) })
	for i := range disks {
		if !disks[i].written() {
			continue
		}
		file := r.absolute(disks[i].Inserted.File)
		at := slices.IndexFunc(datastores, func(p hypervisor.Place) bool { return hypervisor.Below(file, p.Path) })
		if at >= 0 {
			return datastores[at], slices.Concat(datastores[:at:at], datastores[at+1:]), true
		}
	}
	return home, nil, false
}

func (r *running) homeless(datastores []hypervisor.Place) string {
	var where, should []string
	for i := range r.Disks {
		if r.Disks[i].written() {
			where = append(where, r.absolute(r.Disks[i].Inserted.File))
		}
	}
	for _, at := range datastores {
		should = append(should, at.Name+" at "+at.Path)
	}
	return fmt.Sprintf("it writes to %q, and the datastores are %q", where, should)
}

func (r *running) absolute(file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(r.folder, file)
}

// exporting makes a definition of a command line.
type exporting struct {
	*running
	spec     hypervisor.Spec
	problems []string
	warnings []string
	screen   bool // the command line says what becomes of the display
}

// left are options that the driver gives itself, or that concern the one process alone.
var left = []string{"name", "uuid", "S", "daemonize", "pidfile", "action", "no-shutdown", "accel", "enable-kvm", "qmp", "qmp-pretty", "monitor", "mon", "gdb", "s", "D", "d",
	"watchdog-action"}

// definition returns the command line as a definition, as far as it can be one.
func (e *exporting) definition() Definition {
	d := Definition{MemoryMiB: int((e.Memory + 1<<20 - 1) >> 20), Machine: e.Type, Accel: "tcg", Bare: true}
	if e.KVM {
		d.Accel = "kvm"
	}
	all, err := takeApart(e.args)
	if err != nil {
		e.problems = append(e.problems, "its command line can't be read: "+err.Error())
	}
	monitors := monitorsOf(all)
	for _, a := range all {
		parts, _ := parseSettings(a.value)
		if action := watchdogAction(a, parts); action != "" && action != "reset" {
			e.warnings = append(e.warnings, fmt.Sprintf("its watchdog does %s until the guest is started anew; from then on it resets the guest", action))
		}
		if slices.Contains(left, a.name) || a.name == "chardev" && slices.Contains(monitors, parts.get("id")) {
			continue
		}
		if a = e.adapt(a, parts); a != (argument{}) {
			d.Args = append(d.Args, a.words()...)
		}
	}
	if !e.screen {
		d.Args = append(d.Args, "-display", "none")
	}
	e.judge(d.Args)
	return d
}

// watchdogAction returns what an option has a watchdog do, "" if it has no say in that.
func watchdogAction(a argument, parts settings) string {
	switch a.name {
	case "watchdog-action":
		return a.value
	case "action":
		return parts.get("watchdog")
	}
	return ""
}

// monitorsOf returns the character devices that belong to monitors.
func monitorsOf(all []argument) (ids []string) {
	for _, a := range all {
		if a.name == "mon" {
			parts, _ := parseSettings(a.value)
			ids = append(ids, parts.first("chardev"))
		}
	}
	return ids
}

// adapt makes of an option what the next start shall have in its place.
func (e *exporting) adapt(a argument, parts settings) argument {
	switch a.name {
	case "", "hda", "hdb", "hdc", "hdd":
		index := max(0, strings.Index("abcd", strings.TrimPrefix(a.name, "hd")))
		a = argument{name: "drive", value: fmt.Sprintf("file=%s,if=ide,index=%d,media=disk,format=%s", escape(a.value), index, e.formatOf(a.value))}
	case "machine", "M":
		return properties(parts)
	case "display", "nographic", "vnc", "curses", "spice":
		e.screen = true
	}
	switch parts, _ = parseSettings(a.value); a.name {
	case "drive":
		a.value = e.uncached(parts)
	case "blockdev":
		if !on(parts.get("direct")) && !on(parts.get("read-only")) {
			e.problems = append(e.problems, fmt.Sprintf("node %s of its disk keeps writes in the host's memory, and no barrier stops them when they are late: start the guest with cache.direct=on for it", parts.get("node-name")))
		}
	case "netdev", "nic", "net":
		if t := parts.first("type"); t == "user" || t == "socket" || t == "stream" || t == "dgram" {
			e.warnings = append(e.warnings, fmt.Sprintf("its network is of type %s: after a start elsewhere it has other connections", t))
		}
	}
	a.value = e.portable(a.value)
	return a
}

// properties keeps of a machine what is not its type or accelerator.
func properties(parts settings) argument {
	var kept []string
	for _, p := range parts {
		if !p.bare && p.key != "type" && p.key != "accel" {
			kept = append(kept, escape(p.key+"="+p.value))
		}
	}
	if len(kept) == 0 {
		return argument{}
	}
	return argument{name: "machine", value: strings.Join(kept, ",")}
}

// uncached returns a drive's options without the host's page cache, and with a path
// that means the same everywhere.
func (e *exporting) uncached(parts settings) string {
	var out []string
	readOnly := on(parts.get("readonly")) || on(parts.get("read-only")) || parts.get("media") == "cdrom"
	for _, p := range parts {
		switch {
		case p.key == "cache" || strings.HasPrefix(p.key, "cache."), p.key == "werror", p.key == "rerror":
			continue
		case p.key == "file" && p.value != "" && !strings.Contains(p.value, ":"):
			p.value = e.absolute(p.value)
		}
		if p.bare {
			out = append(out, escape(p.key))
		} else {
			out = append(out, escape(p.key+"="+p.value))
		}
	}
	if !readOnly {
		out = append(out, "cache=none")
	}
	if !readOnly && parts.get("format") == "" && parts.get("file") != "" {
		out = append(out, "format="+e.formatOf(parts.get("file")))
	}
	return strings.Join(out, ",")
}

// formatOf returns the format that QEMU has found an image to have.
func (e *exporting) formatOf(file string) string {
	for i := range e.Disks {
		if in := e.Disks[i].Inserted; in != nil && e.absolute(in.File) == e.absolute(file) {
			return in.Driver
		}
	}
	return "raw"
}

// portable puts placeholders in the place of the datastores' paths.
func (e *exporting) portable(text string) string {
	if strings.Contains(text, "{{") {
		e.problems = append(e.problems, fmt.Sprintf("its argument %q holds {{, which begins a placeholder in definitions", text))
	}
	places := []string{e.spec.DatastorePath + "/", "{{datastore}}/"}
	for _, at := range e.spec.Others {
		places = append(places, at.Path+"/", "{{datastore "+at.Name+"}}/")
	}
	for _, begin := range []string{"=", ":", `"`} {
		for i := 0; i < len(places); i += 2 {
			text = strings.ReplaceAll(text, begin+places[i], begin+places[i+1])
		}
	}
	for i := 0; i < len(places); i += 2 {
		if rest, ok := strings.CutPrefix(text, places[i]); ok {
			return places[i+1] + rest
		}
	}
	return text
}

// judge holds what was exported against what machines may have, and against what runs.
func (e *exporting) judge(args []string) {
	all, err := takeApart(args)
	if err == nil {
		var disks []string
		if _, disks, err = review(e.spec, all); err == nil {
			e.compare(disks)
		}
	}
	if err != nil {
		e.problems = append(e.problems, strings.Split(err.Error(), "\n")...)
	}
	e.warnings = append(e.warnings, "until it is started anew, a request to a disk that fails is reported to the guest if it was not started with werror=stop,rerror=stop")
	for _, a := range all {
		parts, _ := parseSettings(a.value)
		if (a.name == "kernel" || a.name == "initrd" || a.name == "bios" || a.name == "cdrom" || parts.get("media") == "cdrom") && strings.Contains(a.value, "/") && !strings.Contains(a.value, "{{") {
			e.warnings = append(e.warnings, fmt.Sprintf("-%s %s must be there on every host that may start it", a.name, a.value))
		}
	}
}

// compare finds disks that the next start would not bring back, and images on which
// disks stand that lie elsewhere.
func (e *exporting) compare(disks []string) {
	for i := range e.Disks {
		d := &e.Disks[i]
		if !d.written() {
			continue
		}
		if file := e.absolute(d.Inserted.File); !slices.Contains(disks, filepath.Clean(file)) && !e.inArguments(file) {
			e.problems = append(e.problems, fmt.Sprintf("disk %s is attached to the running guest alone, and would be missing after a start: start the guest with it", file))
		}
		if b := d.Inserted.Backing; b != "" && !e.spec.OnAny(e.absolute(b)) {
			e.problems = append(e.problems, fmt.Sprintf("disk %s stands on image %s, which is on no datastore: merge it (qemu-img rebase) or move it there", d.Inserted.File, b))
		}
	}
}

// inArguments finds an image that is named with its node, and not with a device.
func (e *exporting) inArguments(file string) bool {
	return slices.ContainsFunc(e.args, func(word string) bool { return strings.Contains(word, file) })
}
