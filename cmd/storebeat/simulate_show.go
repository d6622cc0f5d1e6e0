package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"storebeat/test/sim"
)

// mostFailures is how many failed seeds are shown in full.
const mostFailures = 3

// showReportOf shows a scenario: a single run with its timeline, several with what
// was worst, and of several files only a line each unless something went wrong.
func (a *app) showReportOf(r *sim.Report, o simulateOptions, alone bool) {
	fmt.Fprintf(a.out, "%s: %s\n", r.File, verdictOf(r, o))
	if alone && r.Title != "" {
		fmt.Fprintf(a.out, "%s\n", r.Title)
	}
	if alone && len(r.Runs) > 0 {
		fmt.Fprintln(a.out)
		if o.seeds == 0 {
			a.showRun(r.Runs[0])
		} else {
			a.showWorst(r)
		}
	}
	shown := 0
	for _, run := range r.Runs {
		if !run.Passed && shown < mostFailures {
			shown++
			a.showWrong(run)
		}
	}
	if more := len(r.Failed) - shown; more > 0 {
		fmt.Fprintf(a.out, "\nIt failed with %s more.\n", count(more, "seed"))
	}
}

func verdictOf(r *sim.Report, o simulateOptions) string {
	word := "passed"
	if !r.Passed {
		word = "FAILED"
	}
	switch {
	case o.seeds == 0:
		return fmt.Sprintf("%s (seed %d)", word, o.seed)
	case r.Passed:
		return fmt.Sprintf("%s with all of %s", word, count(r.Seeds, "seed"))
	}
	return fmt.Sprintf("%s with %d of %s", word, len(r.Failed), count(r.Seeds, "seed"))
}

// showRun shows what happened in one run.
func (a *app) showRun(run *sim.Result) {
	for _, line := range run.Trace {
		fmt.Fprintln(a.out, line)
	}
	if len(run.Trace) > 0 {
		fmt.Fprintln(a.out)
	}
	rows := [][]string{{"TIME", "WHO", "WHAT HAPPENED"}}
	for _, h := range run.Timeline {
		rows = append(rows, []string{clockTime(h.At), h.Who, h.Text})
	}
	_ = a.table(rows)
	fmt.Fprintln(a.out)
	rows = [][]string{{"MACHINE", "AT THE END", "STARTED", "AWAY"}}
	for _, m := range run.Machines {
		state := m.State
		if len(m.Hosts) > 0 {
			state += " on " + strings.Join(m.Hosts, " and ")
		}
		rows = append(rows, []string{m.Name, state, strconv.Itoa(m.Started), away(m)})
	}
	_ = a.table(rows)
	fmt.Fprintln(a.out)
	rows = [][]string{{"LINE", "EXPECTED", "MET"}}
	for _, e := range run.Expected {
		when := "yes"
		if e.At != nil {
			when = "at " + clockTime(*e.At)
		}
		rows = append(rows, []string{strconv.Itoa(e.Line), strings.TrimPrefix(e.Text, "expect "), when})
	}
	_ = a.table(rows)
}

// away shows for how long a machine was away, and how much of that at a time.
func away(m sim.Fate) string {
	switch {
	case m.Total == 0:
		return ""
	case m.Total > m.Away:
		return clockTime(m.Total) + ", at most " + clockTime(m.Away) + " at a time"
	}
	return clockTime(m.Away)
}

// showWorst shows what was worst over many runs.
func (a *app) showWorst(r *sim.Report) {
	rows := [][]string{{"MACHINE", "STARTED", "AWAY AT WORST", "WITH SEED"}}
	for _, m := range r.Machines {
		started := strconv.Itoa(m.Started[0])
		if m.Started[0] != m.Started[1] {
			started += " to " + strconv.Itoa(m.Started[1])
		}
		row := []string{m.Name, started, "", ""}
		if m.Away > 0 {
			row[2], row[3] = clockTime(m.Away), strconv.FormatUint(m.Seed, 10)
		}
		rows = append(rows, row)
	}
	_ = a.table(rows)
	fmt.Fprintln(a.out)
	rows = [][]string{{"LINE", "EXPECTED", "MET", "EARLIEST", "LATEST", "WITH SEED"}}
	for _, e := range r.Expected {
		row := []string{strconv.Itoa(e.Line), strings.TrimPrefix(e.Text, "expect "), fmt.Sprintf("%d of %d", e.Met, r.Seeds), "", "", ""}
		if e.Latest != nil {
			row[3], row[4], row[5] = clockTime(*e.Earliest), clockTime(*e.Latest), strconv.FormatUint(e.Seed, 10)
		}
		rows = append(rows, row)
	}
	_ = a.table(rows)
}

// showWrong shows what went wrong in a run, with what was last seen of those concerned.
func (a *app) showWrong(run *sim.Result) {
	for _, w := range run.Wrong {
		fmt.Fprintf(a.out, "\nFAILED with seed %d %s\n", run.Seed, w)
	}
}

// clockTime shows a time of a scenario, to the millisecond.
func clockTime(d time.Duration) string {
	if d < time.Millisecond {
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Millisecond).String()
}
