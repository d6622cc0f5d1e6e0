package nfslab_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"storebeat/agent/core"
	"storebeat/test/lab"
	"storebeat/test/nfslab"
)

// patience is how long anything may take that has no limit of its own. It says
// nothing about how fast the product is.
const patience = 3 * time.Minute

// trial is a lab under test with its machines.
type trial struct {
	*testing.T
	*nfslab.Lab
	ctx      context.Context
	machines []*lab.Machine
	before   map[*nfslab.Host]uint64 // the newest entry of each host's journal when the trial began
}

// newTrial makes a lab that is ended with the test, starts it, and waits until so
// many machines run in it, spread over the datastores.
func newTrial(t *testing.T, o nfslab.Options, machines int) *trial {
	t.Helper()
	if err := nfslab.Available(); err != nil {
		t.Skip(err)
	}
	o.Binary = program
	l, err := nfslab.Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	r := &trial{T: t, Lab: l, ctx: t.Context(), before: map[*nfslab.Host]uint64{}}
	t.Cleanup(r.end)
	r.do(l.Start(r.ctx))
	r.awaitWhole()
	for i := range machines {
		m, err := lab.MakeMachine(fmt.Sprintf("vm%d", i+1), l.Datastores[i%len(l.Datastores)])
		r.do(err)
		m.Policy.StopTime = time.Second // the guest is deaf
		r.Watch.Add(m)
		r.do(l.Hosts[0].Protect(r.ctx, m))
		r.machines = append(r.machines, m)
	}
	r.awaitWhole()
	r.awaitCounts(2, r.machines...)
	for _, h := range l.Hosts {
		events, err := h.Events(r.ctx)
		r.do(err)
		for _, e := range events {
			r.before[h] = max(r.before[h], e.ID)
		}
	}
	return r
}

// end judges the lab and ends it.
func (r *trial) end() {
	if r.Failed() {
		r.tellLogs()
	}
	if err := r.Lab.End(); err != nil {
		r.Errorf("end the lab: %v", err)
	}
	for _, fault := range r.Watch.Faults() {
		r.Errorf("the guests show that the product failed: %s", fault)
	}
}

func (r *trial) tellLogs() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, h := range r.On() {
		text, err := h.Run(ctx, "tail -n 60 "+nfslab.Log+"; storebeat status --local; storebeat events -n 60; dmesg | tail -n 15")
		r.Logf("%s says (%v):\n%s", h.Name, err, text)
	}
}

// do fails the test unless something succeeded.
func (r *trial) do(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// await waits for a condition and fails the test if it never holds.
func (r *trial) await(what string, ok func() (done bool, state string)) {
	r.Helper()
	// Each look may cost the slow hosts a program's start.
	for deadline := time.Now().Add(patience); ; time.Sleep(500 * time.Millisecond) {
		done, state := ok()
		if done {
			return
		}
		if time.Now().After(deadline) {
			r.Fatalf("waited %v for %s: %s", patience, what, state)
		}
		if faults := r.Watch.Faults(); len(faults) > 0 {
			r.Fatalf("while waiting for %s (%s) the guests showed that the product failed: %v", what, state, faults)
		}
	}
}

// awaitWhole waits until one master sees every host that is on live, each holds
// its terms, and every machine runs.
func (r *trial) awaitWhole() {
	r.Helper()
	r.await("the cluster to be whole", func() (bool, string) { return r.Settled(r.ctx, len(r.machines)) })
}

// awaitCounts waits until each of these guests has counted on by so many, or has
// got so far in a new run.
func (r *trial) awaitCounts(more uint64, machines ...*lab.Machine) {
	r.Helper()
	before := map[*lab.Machine]lab.Run{}
	for _, m := range machines {
		before[m], _ = r.Watch.Newest(m)
	}
	for _, m := range machines {
		r.await(m.Name+" to count on", func() (bool, string) {
			now, runs := r.Watch.Newest(m)
			goal := more
			if now.At.Equal(before[m].At) {
				goal += before[m].Count
			}
			return now.Count >= goal, fmt.Sprintf("it is at %d in run %d", now.Count, runs)
		})
	}
}

// starts is how often each machine was started, by its own words.
type starts map[*lab.Machine]int

func (r *trial) starts() starts {
	all := starts{}
	for _, m := range r.machines {
		_, all[m] = r.Watch.Newest(m)
	}
	return all
}

// and returns the starts with one more of each of these machines.
func (s starts) and(machines []*lab.Machine) starts {
	more := maps.Clone(s)
	for _, m := range machines {
		more[m]++
	}
	return more
}

// awaitStarts waits until each machine was started so many times and counts.
func (r *trial) awaitStarts(want starts) {
	r.Helper()
	for _, m := range r.machines {
		r.await(m.Name+" to be started", func() (bool, string) {
			newest, runs := r.Watch.Newest(m)
			return runs >= want[m] && newest.Count > 0, fmt.Sprintf("it is in run %d of %d, at %d", runs, want[m], newest.Count)
		})
	}
}

// expectStarts fails the test unless each machine was started exactly so many times.
func (r *trial) expectStarts(want starts) {
	r.Helper()
	for m, runs := range r.starts() {
		if runs != want[m] {
			r.Errorf("%s was started %d times, not %d times: %+v", m.Name, runs, want[m], r.Watch.Runs(m))
		}
	}
}

// on lists the machines that were heard on a host last.
func (r *trial) on(h *nfslab.Host) (on []*lab.Machine) {
	for _, m := range r.machines {
		if newest, _ := r.Watch.Newest(m); newest.Host == h.Name {
			on = append(on, m)
		}
	}
	return on
}

// victim returns a host that runs a machine, if it can be not the master's, and
// the others.
func (r *trial) victim() (victim *nfslab.Host, others []*nfslab.Host) {
	r.Helper()
	v, err := r.On()[0].View(r.ctx)
	r.do(err)
	for _, h := range r.On() {
		if len(r.on(h)) > 0 && (victim == nil || victim.ID == v.Master) {
			victim = h
		}
	}
	if victim == nil {
		r.Fatal("no host runs a machine")
	}
	return victim, slices.DeleteFunc(r.On(), func(h *nfslab.Host) bool { return h == victim })
}

// awaitSays waits until one of the hosts says something about a machine.
func (r *trial) awaitSays(m *lab.Machine, what string, hosts ...*nfslab.Host) {
	r.Helper()
	r.await(fmt.Sprintf("explain vm %s to say %q", m.Name, what), func() (bool, string) {
		var said []string
		for _, h := range hosts {
			text, err := h.Run(r.ctx, "storebeat explain vm "+m.Name)
			if err == nil && strings.Contains(text, what) {
				for line := range strings.Lines(text) {
					if strings.Contains(line, what) {
						r.Logf("%s: %s", h.Name, strings.TrimSpace(line))
					}
				}
				return true, ""
			}
			said = append(said, fmt.Sprint(text, err))
		}
		return false, strings.Join(said, "\n")
	})
}

// refuse fails the test if a host has recorded an event of one of these kinds since
// the trial began: its start may be slow. The host must have been on all the time.
func (r *trial) refuse(kinds ...core.Kind) {
	r.Helper()
	for _, h := range r.On() {
		events, err := h.Events(r.ctx)
		r.do(err)
		for _, e := range events {
			if e.ID > r.before[h] && slices.Contains(kinds, e.Kind) {
				r.Errorf("%s recorded %s: %s %v", h.Name, e.Kind, e.Text, e.Evidence)
			}
		}
	}
}

// changes are the events of whoever judges a host or a datastore to be lost.
var changes = []core.Kind{"host-dead", "host-agent-down", "host-isolated", "host-partitioned", "lease-lapsed", "datastore-failing"}

// restarts are the events of whoever takes machines or puts them down.
var restarts = []core.Kind{"term-closed", "machine-putting-down"}
