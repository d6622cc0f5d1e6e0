package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "rewrite docs/cli.md")

const page = "../../docs/cli.md"

// TestPage keeps docs/cli.md in step with the commands.
func TestPage(t *testing.T) {
	t.Setenv(configVariable, "")
	want := writePage(newRoot(&app{}))
	if *update {
		if err := os.WriteFile(page, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("docs/cli.md is out of step (-commands +page): run go test ./cmd/storebeat -run TestPage -update\n%s", diff)
	}
}

const pageHead = `# Command line

One program, ` + "`storebeat`" + `, is agent, guard and command line. This page is generated from it
(` + "`go test ./cmd/storebeat -run TestPage -update`" + `); ` + "`storebeat help COMMAND`" + ` shows the same.
Machine files are described in [machines.md](machines.md), the configuration in
[configuration.md](configuration.md).

Results go to standard output, as a table or with ` + "`-o json`" + ` as JSON; progress, notes and errors
go to standard error. The JSON's durations are nanoseconds (the demo's seconds), its amounts of memory bytes. Shell
completion, of names too: ` + "`storebeat completion --help`" + `.

`

func writePage(root *cobra.Command) []byte {
	var b bytes.Buffer
	b.WriteString(pageHead)
	fmt.Fprintf(&b, "## Exit status\n\n```\n%s```\n\n## Flags of every command\n\n%s", exitCodes, flagTable(root.PersistentFlags()))
	for _, group := range root.Groups() {
		fmt.Fprintf(&b, "\n## %s\n", strings.TrimSuffix(group.Title, ":"))
		for _, c := range root.Commands() {
			if c.GroupID == group.ID && c.Name() != "completion" && c.Name() != "help" {
				writeCommand(&b, c)
			}
		}
	}
	return b.Bytes()
}

func writeCommand(b *bytes.Buffer, c *cobra.Command) {
	for _, sub := range c.Commands() {
		writeCommand(b, sub)
	}
	if c.HasSubCommands() || c.Hidden {
		return
	}
	text := c.Long
	if text == "" {
		text = c.Short + "."
	}
	fmt.Fprintf(b, "\n### %s\n\n```\n%s %s\n```\n\n%s\n", c.CommandPath(), c.Parent().CommandPath(), c.Use, text)
	if flags := flagTable(c.NonInheritedFlags()); flags != "" {
		fmt.Fprintf(b, "\n%s", flags)
	}
	if c.Example != "" {
		fmt.Fprintf(b, "\n```\n%s\n```\n", strings.ReplaceAll(strings.TrimPrefix(c.Example, "  "), "\n  ", "\n"))
	}
}

func flagTable(flags *pflag.FlagSet) string {
	var b strings.Builder
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		kind, usage := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		if kind != "" {
			name += " " + kind
		}
		switch f.DefValue {
		case "", "false", "0", "0s", "[]":
		default:
			usage += " (" + f.DefValue + ")"
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", name, strings.ReplaceAll(usage, "|", `\|`))
	})
	if b.Len() == 0 {
		return ""
	}
	return "| flag | |\n| --- | --- |\n" + b.String()
}

// TestEveryCommandIsDescribed holds the help texts to what people need.
func TestEveryCommandIsDescribed(t *testing.T) {
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: its short description %q must be a phrase without a full stop", c.CommandPath(), c.Short)
		}
		for line := range strings.Lines(c.Long) {
			if n := len([]rune(strings.TrimRight(line, "\n"))); n > 90 {
				t.Errorf("%s: a line of %d characters in its help: %s", c.CommandPath(), n, line)
			}
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(newRoot(&app{}))
}
