package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// mention is a command line of the program that a page, or a message of the program
// itself, shows.
type mention struct {
	place string
	text  string
	whole bool // on a line of its own, to be typed as it stands
}

// TestDocumentedCommands parses every command line that the documents show, and
// every one that the program's messages recommend: commands, flags and numbers of
// arguments must be those of the program.
func TestDocumentedCommands(t *testing.T) {
	t.Setenv(configVariable, "")
	all := append(inPages(t), inMessages(t)...)
	whole := 0
	for _, m := range all {
		if m.whole {
			whole++
		}
		if err := m.parse(); err != nil {
			t.Errorf("%s: %q: %v", m.place, m.text, err)
		}
	}
	t.Logf("%d command lines, %d of them to be typed", len(all), whole)
	if len(all) < 200 || whole < 80 {
		t.Errorf("found %d command lines, %d of them to be typed: the test does not see them any more", len(all), whole)
	}
}

// TestWrongCommandsAreFound keeps the test above from passing for nothing.
func TestWrongCommandsAreFound(t *testing.T) {
	for _, text := range []string{"storebeat hots list", "storebeat host lsit", "storebeat host list --no-such-flag", "storebeat cluster pause --for soon",
		"storebeat host remove", "storebeat host remove a b", "storebeat --bad", "storebeat 'open"} {
		if (mention{text: text, whole: true}).parse() == nil {
			t.Errorf("%q is taken for a command", text)
		}
	}
	for _, text := range []string{"storebeat host remove", "storebeat cluster pause --for LENGTH", "storebeat explain host|vm|datastore NAME", "storebeat vm start …"} {
		if err := (mention{text: text}).parse(); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

var (
	// typed is a line of a code block, or of a fenced one.
	typed = regexp.MustCompile(`^(?:    |\$ |)(?:sudo )?(storebeat(?: .*)?)$`)
	// inBackquotes is a command in the middle of a text, the mark of code being ` + "`" + `.
	inBackquotes = regexp.MustCompile("`(storebeat(?: [^`\n]*)?)`")
)

// inPages finds command lines in the documents.
func inPages(t *testing.T) (all []mention) {
	t.Helper()
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, "../../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, inPage(filepath.Base(page), string(text))...)
	}
	return all
}

func inPage(name, text string) (all []mention) {
	fenced, usage := false, false
	for i, line := range strings.Split(text, "\n") {
		place := fmt.Sprintf("%s:%d", name, i+1)
		if strings.HasPrefix(line, "```") {
			// A usage line, which docs/cli.md puts first, is for people.
			fenced = !fenced
			usage = name == "cli.md"
			continue
		}
		code := fenced || strings.HasPrefix(line, "    ")
		if match := typed.FindStringSubmatch(line); code && match != nil && !(usage && isUsage(match[1])) {
			all = append(all, mention{place, match[1], true})
		}
		for _, match := range inBackquotes.FindAllStringSubmatch(line, -1) {
			all = append(all, mention{place: place, text: match[1]})
		}
	}
	return all
}

// isUsage tells a line that says how a command is called from one that calls it.
func isUsage(line string) bool {
	return strings.Contains(line, "[") || regexp.MustCompile(`\b[A-Z]{2,}\b|\.\.\.|…`).MatchString(line) || len(strings.Fields(line)) <= 3
}

// inMessages finds the commands that the program recommends in its messages.
func inMessages(t *testing.T) (all []mention) {
	t.Helper()
	for _, folder := range []string{"agent", "cmd", "datastorehb", "packaging", "partition", "poweron"} {
		err := filepath.WalkDir(filepath.Join("../..", folder), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || folder != "packaging" && filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for i, line := range strings.Split(string(text), "\n") {
				for _, match := range inBackquotes.FindAllStringSubmatch(line, -1) {
					all = append(all, mention{place: fmt.Sprintf("%s:%d", path, i+1), text: match[1]})
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// parse has the program's own commands read the line, and executes nothing.
func (m mention) parse() error {
	words, err := shellWords(m.text)
	if err != nil {
		return err
	}
	if !m.whole {
		words = plain(words)
	}
	root := newRoot(&app{})
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd(words...)
	command, rest, err := root.Find(words[1:])
	if err != nil {
		return err
	}
	if err := command.ParseFlags(rest); err != nil && !errors.Is(err, pflag.ErrHelp) {
		if m.whole || !unfinished(err.Error()) {
			return err
		}
		return nil
	}
	args := command.Flags().Args()
	if command.HasSubCommands() && len(args) > 0 && command.Name() != "help" {
		return fmt.Errorf("%s has no command %q", command.CommandPath(), args[0])
	}
	if !m.whole || command.HasSubCommands() {
		return nil
	}
	return command.ValidateArgs(args)
}

// unfinished reports whether what was refused stands for something else, or was
// left out.
func unfinished(err string) bool {
	return regexp.MustCompile(`^flag needs an argument|^invalid argument "(?:[A-Z]+|%[a-z])"`).MatchString(err)
}

// plain leaves out what is said to people only: the first of alternatives stands
// for all, and an ellipsis for nothing.
func plain(words []string) (out []string) {
	for _, word := range words {
		first, _, _ := strings.Cut(strings.Trim(word, "[]"), "|")
		if word == "…" || word == "..." || first == "" {
			continue
		}
		out = append(out, first)
	}
	return out
}

// shellWords splits a line as a shell does, as far as the documents need it: up to
// a comment, a pipe, a redirection or another command.
func shellWords(line string) (words []string, err error) {
	var word strings.Builder
	quote, begun := rune(0), false
	end := func() {
		if begun {
			words = append(words, word.String())
		}
		word.Reset()
		begun = false
	}
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, begun = r, true
		case r == ' ':
			end()
		case !begun && slices.Contains([]rune{'#', '|', '>', '<', ';', '&'}, r):
			return words, nil
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("a quotation does not end")
	}
	end()
	return words, nil
}
