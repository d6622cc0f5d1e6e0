package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
)

// words says in a few words what became of a mutant.
func (v *Verdict) words() string {
	switch {
	case v.Wrong != "":
		return "WRONG: " + v.Wrong
	case v.Mutant.Survives != "":
		return "survives, as expected"
	case v.Found != nil:
		return fmt.Sprintf("caught at seed %d by %s", v.Found.Seed, v.Found.Invariant)
	}
	return "caught by " + strings.Join(v.Failing, ", ")
}

// cells are the columns of a mutant: its name, rule, seed, invariant and tests.
func (v *Verdict) cells() []string {
	seed, invariant, tests := "–", "–", strings.Join(v.Failing, ", ")
	if v.Found != nil {
		seed, invariant = fmt.Sprint(v.Found.Seed), v.Found.Invariant
	}
	if tests == "" {
		tests = "–"
	}
	if v.Mutant.Survives != "" {
		verdict, _, _ := strings.Cut(v.Mutant.Survives, ":")
		seed, invariant = "survives", verdict
	}
	if v.Wrong != "" {
		invariant += " (WRONG)"
	}
	return []string{v.Name, v.Rule, seed, invariant, tests}
}

func printTable(out io.Writer, verdicts []Verdict) error {
	t := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "MUTANT\tRULE\tSEED\tINVARIANT\tTESTS")
	for _, v := range verdicts {
		fmt.Fprintln(t, strings.Join(v.cells(), "\t"))
	}
	return t.Flush()
}

// markdown is the table of docs/simulator.md, and below it what is to be said of
// single mutants.
func markdown(verdicts []Verdict) string {
	var b strings.Builder
	b.WriteString("| mutant | what it does | rule | seed | invariant | directed tests |\n| --- | --- | --- | --- | --- | --- |\n")
	var remarks []string
	for _, v := range verdicts {
		c := v.cells()
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", c[0], v.Title, c[1], c[2], c[3], strings.ReplaceAll(c[4], ", ", "<br>"))
		for _, text := range []string{v.Mutant.Survives, v.Mutant.Note} {
			if text != "" {
				remarks = append(remarks, fmt.Sprintf("- `%s`: %s\n", v.Name, text))
			}
		}
	}
	if len(remarks) > 0 {
		b.WriteString("\n" + strings.Join(remarks, ""))
	}
	return b.String()
}

// The table in a Markdown file stands between these lines.
const (
	tableBegins = "<!-- mutants: written by \"go run ./scripts/mutants --docs docs/simulator.md\" -->\n"
	tableEnds   = "<!-- end of mutants -->\n"
)

// putTable replaces the table in a Markdown file.
func putTable(file string, verdicts []Verdict) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("putting the table into a page: %w", err)
	}
	before, rest, begins := strings.Cut(string(content), tableBegins)
	_, after, ends := strings.Cut(rest, tableEnds)
	if !begins || !ends {
		return fmt.Errorf("%s has no place for the table: write the lines\n%s%s", file, tableBegins, tableEnds)
	}
	text := before + tableBegins + "\n" + markdown(verdicts) + "\n" + tableEnds + after
	return os.WriteFile(file, []byte(text), 0o644)
}
