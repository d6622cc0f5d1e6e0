// Package labtest holds what tests on a lab's hosts have in common: they wait for
// conditions with patience, and judge by what the guests themselves have written.
package labtest

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"storebeat/test/lab"
)

// Guests are the machines of a lab under test. A wait ends at once, and fails the test,
// when they have shown that the product failed.
type Guests struct {
	Machines []*lab.Machine
	Patience time.Duration // how long anything may take that has no limit of its own
	Pause    time.Duration // between two looks

	t     *testing.T
	watch *lab.Watch
}

// Watched returns the guests that a lab's watch sees, none so far.
func Watched(t *testing.T, watch *lab.Watch, patience, pause time.Duration) *Guests {
	return &Guests{t: t, watch: watch, Patience: patience, Pause: pause}
}

// Do fails the test unless something succeeded.
func (g *Guests) Do(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

// Await waits for a condition and fails the test if it never holds.
func (g *Guests) Await(what string, ok func() (done bool, state string)) {
	g.t.Helper()
	for deadline := time.Now().Add(g.Patience); ; time.Sleep(g.Pause) {
		done, state := ok()
		if done {
			return
		}
		if time.Now().After(deadline) {
			g.t.Fatalf("waited %v for %s: %s", g.Patience, what, state)
		}
		if faults := g.watch.Faults(); len(faults) > 0 {
			g.t.Fatalf("while waiting for %s (%s) the guests showed that the product failed: %v", what, state, faults)
		}
	}
}

// AwaitCounts waits until each of these guests has counted on by so many, or has
// got so far in a new run.
func (g *Guests) AwaitCounts(more uint64, machines ...*lab.Machine) {
	g.t.Helper()
	before := map[*lab.Machine]lab.Run{}
	for _, m := range machines {
		before[m], _ = g.watch.Newest(m)
	}
	for _, m := range machines {
		g.Await(m.Name+" to count on", func() (bool, string) {
			now, runs := g.watch.Newest(m)
			goal := more
			if now.At.Equal(before[m].At) {
				goal += before[m].Count
			}
			return now.Count >= goal, fmt.Sprintf("it is at %d in run %d", now.Count, runs)
		})
	}
}

// Starts is how often each machine was started, by its own words.
type Starts map[*lab.Machine]int

// Starts returns how often each machine has been started.
func (g *Guests) Starts() Starts {
	all := Starts{}
	for _, m := range g.Machines {
		_, all[m] = g.watch.Newest(m)
	}
	return all
}

// And returns the starts with one more of each of these machines.
func (s Starts) And(machines []*lab.Machine) Starts {
	more := maps.Clone(s)
	for _, m := range machines {
		more[m]++
	}
	return more
}

// AwaitStarts waits until each machine was started so many times and counts.
func (g *Guests) AwaitStarts(want Starts) {
	g.t.Helper()
	for _, m := range g.Machines {
		g.Await(m.Name+" to be started", func() (bool, string) {
			newest, runs := g.watch.Newest(m)
			return runs >= want[m] && newest.Count > 0, fmt.Sprintf("it is in run %d of %d, at %d", runs, want[m], newest.Count)
		})
	}
}

// ExpectStarts fails the test unless each machine was started exactly so many times.
func (g *Guests) ExpectStarts(want Starts) {
	g.t.Helper()
	for m, runs := range g.Starts() {
		if runs != want[m] {
			g.t.Errorf("%s was started %d times, not %d times: %+v", m.Name, runs, want[m], g.watch.Runs(m))
		}
	}
}

// HeardOn lists the machines that were heard last on a host of that name.
func (g *Guests) HeardOn(host string) (on []*lab.Machine) {
	for _, m := range g.Machines {
		if newest, _ := g.watch.Newest(m); newest.Host == host {
			on = append(on, m)
		}
	}
	return on
}
