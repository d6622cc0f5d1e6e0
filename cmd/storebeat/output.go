package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
)

func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// print writes v as JSON if the user wants that, and calls table otherwise.
func (a *app) print(v any, table func() error) error {
	if a.output == "json" {
		return a.printJSON(v)
	}
	return table()
}

// table writes rows in columns, the first row being their names.
func (a *app) table(rows [][]string) error {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			if cell == "" {
				row[i] = "-"
			}
		}
		if _, err := fmt.Fprintln(w, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return w.Flush()
}

func absolute(path string) string {
	if full, err := filepath.Abs(path); err == nil {
		return full
	}
	return path
}

// pairs writes names with their values, one a line, the values in one column.
type pairs struct{ w *tabwriter.Writer }

func (a *app) pairs() *pairs { return &pairs{tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)} }

// add leaves a pair out whose value is empty.
func (p *pairs) add(name, format string, args ...any) {
	if value := fmt.Sprintf(format, args...); value != "" {
		fmt.Fprintf(p.w, "%s\t%s\n", name, value)
	}
}

func (p *pairs) list(name string, values []string) {
	for i, v := range values {
		if i > 0 {
			name = ""
		}
		fmt.Fprintf(p.w, "%s\t%s\n", name, v)
	}
}

func (p *pairs) flush() error { return p.w.Flush() }

// short rounds a duration to what a person reads.
func short(d time.Duration) string {
	switch {
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}

// age shows how long something has been so.
func age(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	switch hours := int(d.Hours()); {
	case hours >= 48:
		return fmt.Sprintf("%dd%dh", hours/24, hours%24)
	case hours >= 1:
		return fmt.Sprintf("%dh%dm", hours, int(d.Minutes())%60)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%.0fs", d.Seconds())
}

func since(state string, d time.Duration) string {
	if d <= 0 {
		return state
	}
	return state + " for " + age(d)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func firstOf(values ...string) string { return cmp.Or(values...) }
