package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// summary is what one case has cost: seconds since the strike.
type summary struct {
	Lab      string `json:"lab"` // on what storage
	Profile  string `json:"profile"`
	Fault    string `json:"fault"`
	Runs     int    `json:"runs"`
	Machines int    `json:"machines"`
	Copies   int    `json:"copies"` // instants at which a machine ran twice
	// The medians of the steps; 0 for one that this fault does not have.
	Noticed float64 `json:"noticed"`
	Lost    float64 `json:"lost"`
	Claimed float64 `json:"claimed"`
	Started float64 `json:"started"`
	// To the guest's first output; of a stall, the guest's longest silence.
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
}

// measurements are all that was measured, one summary of each case.
type measurements []summary

// summarize sums up the rows of one case. There are no copies, for a run with one fails.
func summarize(lab, profile, fault string, runs int, rows []row) summary {
	s := summary{Lab: lab, Profile: profile, Fault: fault, Runs: runs, Machines: len(rows)}
	step := func(of func(r row) float64) []float64 {
		var all []float64
		for _, r := range rows {
			all = append(all, of(r))
		}
		slices.Sort(all)
		return all
	}
	median := func(sorted []float64) float64 {
		if len(sorted) == 0 {
			return 0
		}
		return sorted[len(sorted)/2]
	}
	s.Noticed = median(step(func(r row) float64 { return r.Noticed }))
	s.Lost = median(step(func(r row) float64 { return r.Lost }))
	s.Claimed = median(step(func(r row) float64 { return r.Claimed }))
	s.Started = median(step(func(r row) float64 { return r.Started }))
	if outputs := step(func(r row) float64 { return r.Output }); len(outputs) > 0 {
		s.Min, s.Median, s.Max = outputs[0], median(outputs), outputs[len(outputs)-1]
	}
	return s
}

// tell says how the machines of one run came through.
func tell(rows []row) string {
	var words []string
	for _, r := range rows {
		words = append(words, fmt.Sprintf("%s %.2f s", r.Machine, r.Output))
	}
	return strings.Join(words, ", ")
}

// readMeasurements reads the file; none is as good as an empty one.
func readMeasurements(path string) (all measurements, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("%s is no file of measurements: %w", path, err)
	}
	return all, nil
}

func (all measurements) write(path string) error {
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// with returns the measurements with a case added, or put in the place of its forerunner.
func (all measurements) with(s summary) measurements {
	rest := slices.DeleteFunc(slices.Clone(all), func(o summary) bool {
		return o.Lab == s.Lab && o.Profile == s.Profile && o.Fault == s.Fault
	})
	rest = append(rest, s)
	order := func(name string) int { return slices.IndexFunc(faults, func(f fault) bool { return f.Name == name }) }
	slices.SortFunc(rest, func(a, b summary) int {
		return cmp.Or(cmp.Compare(a.Lab, b.Lab), cmp.Compare(order(a.Fault), order(b.Fault)), cmp.Compare(a.Profile, b.Profile))
	})
	return rest
}

// table is what the page shows.
func (all measurements) table() string {
	var b strings.Builder
	fmt.Fprintln(&b, "| what strikes | storage | profile | runs | machines | noticed | lost for certain | claimed | started | output: min | median | max | ran twice |")
	fmt.Fprintln(&b, "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
	for _, s := range all {
		fmt.Fprintf(&b, "| %s | %s | %s | %d | %d | %s | %s | %s | %s | %s | %s | %s | %d |\n", cmp.Or(described[s.Fault], s.Fault), s.Lab, s.Profile, s.Runs, s.Machines,
			seconds(s.Noticed), seconds(s.Lost), seconds(s.Claimed), seconds(s.Started), seconds(s.Min), seconds(s.Median), seconds(s.Max), s.Copies)
	}
	return b.String()
}

func seconds(s float64) string {
	if s == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", s)
}

// The marks between which the page has the table.
const (
	tableBegins = "<!-- Written by make bench-failover. -->\n"
	tableEnds   = "<!-- End of what make bench-failover writes. -->\n"
)

func replaceTable(page, table string) (string, error) {
	before, rest, found := strings.Cut(page, tableBegins)
	_, after, ended := strings.Cut(rest, tableEnds)
	if !found || !ended {
		return "", fmt.Errorf("there is no place for the table: add the lines %q and %q", tableBegins, tableEnds)
	}
	return before + tableBegins + "\n" + table + "\n" + tableEnds + after, nil
}
