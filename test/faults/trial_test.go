package faults

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"storebeat/agent/core"
	"storebeat/agent/journal"
	"storebeat/poweron"
	"storebeat/test/lab"
	"storebeat/test/program"
)

// patience is how long anything may take that has no limit of its own. It says
// nothing about how fast the product is.
const patience = 90 * time.Second

// trial is a lab under test with its machines.
type trial struct {
	*testing.T
	*lab.Lab
	ctx      context.Context
	began    time.Time
	machines []*lab.Machine
}

// newTrial makes a lab that is ended with the test, starts it, and waits until so
// many machines run in it, spread over the datastores. Where nothing else is said
// it has three hosts, two datastores and the default profile: what strikes it is to
// be the test and not a computer that has much else to do.
func newTrial(t *testing.T, o lab.Options, machines int, change ...func(*poweron.Policy)) *trial {
	t.Helper()
	if err := lab.Available(); err != nil {
		t.Skip(err)
	}
	t.Parallel()
	o.Binary = cmp.Or(o.Binary, program.Path)
	o.Hosts, o.Datastores, o.Profile = cmp.Or(o.Hosts, 3), cmp.Or(o.Datastores, 2), cmp.Or(o.Profile, "default")
	l, err := lab.Build(o)
	if err != nil {
		t.Fatal(err)
	}
	r := &trial{T: t, Lab: l, ctx: t.Context()}
	t.Cleanup(r.end)
	r.do(l.Start())
	r.awaitWhole()
	for i := range machines {
		m, err := l.NewMachine(fmt.Sprintf("vm%d", i+1), l.Datastores[i%len(l.Datastores)])
		r.do(err)
		for _, c := range change {
			c(&m.Policy)
		}
		r.do(l.Hosts[0].Protect(r.ctx, m))
		r.machines = append(r.machines, m)
	}
	r.awaitWhole()
	r.awaitCounts(2, r.machines...)
	r.began = time.Now()
	return r
}

// end ends the lab and judges it.
func (r *trial) end() {
	if err := r.Lab.End(); err != nil {
		r.Errorf("end the lab: %v", err)
	}
	for _, fault := range r.Watch.Faults() {
		r.Errorf("the guests show that the product failed: %s", fault)
	}
}

// do fails the test unless something succeeded.
func (r *trial) do(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// fatalf fails the test and shows the logs, which are gone with the lab.
func (r *trial) fatalf(format string, args ...any) {
	r.Helper()
	for _, h := range r.Hosts {
		log, _ := os.ReadFile(h.Log())
		r.Logf("log of %s:\n%s", h.Name, log)
	}
	r.Fatalf(format, args...)
}

// await waits for a condition and fails the test if it never holds.
func (r *trial) await(what string, ok func() (done bool, state string)) {
	r.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		done, state := ok()
		if done {
			return
		}
		if time.Now().After(deadline) {
			r.fatalf("waited %v for %s: %s", patience, what, state)
		}
		if faults := r.Watch.Faults(); len(faults) > 0 {
			r.fatalf("while waiting for %s (%s) the guests showed that the product failed: %v", what, state, faults)
		}
	}
}

// awaitWhole waits until one master sees every host that is on live and every
// machine running.
func (r *trial) awaitWhole() {
	r.Helper()
	r.await("the cluster to be whole", func() (bool, string) { return r.Settled(r.ctx, len(r.machines)) })
}

// awaitCounts waits until each of these guests has counted on by so many.
func (r *trial) awaitCounts(more uint64, machines ...*lab.Machine) {
	r.Helper()
	type point struct {
		count uint64
		runs  int
	}
	before := map[*lab.Machine]point{}
	for _, m := range machines {
		newest, runs := r.Watch.Newest(m)
		before[m] = point{newest.Count, runs}
	}
	for _, m := range machines {
		r.await(m.Name+" to count on", func() (bool, string) {
			was := before[m]
			now, runs := r.Watch.Newest(m)
			goal := more
			if runs == was.runs {
				goal += was.count
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
func (r *trial) on(hosts ...*lab.Host) (on []*lab.Machine) {
	r.Helper()
	for _, m := range r.machines {
		newest, _ := r.Watch.Newest(m)
		for _, h := range hosts {
			if newest.Host == h.Name {
				on = append(on, m)
			}
		}
	}
	if len(on) == 0 {
		r.fatalf("none of these hosts runs a machine")
	}
	return on
}

// homedOn lists the machines whose home is a datastore.
func (r *trial) homedOn(d lab.Datastore) (on []*lab.Machine) {
	for _, m := range r.machines {
		if m.Home.ID == d.ID {
			on = append(on, m)
		}
	}
	return on
}

// master returns the master's host and the others, by way of the first that answers.
func (r *trial) master() (master *lab.Host, others []*lab.Host) {
	r.Helper()
	v, err := r.On()[0].View(r.ctx, true)
	r.do(err)
	for _, h := range r.On() {
		if h.ID == v.Master {
			master = h
		} else {
			others = append(others, h)
		}
	}
	if master == nil {
		r.fatalf("there is no master")
	}
	return master, others
}

// events returns what a host recorded since the trial began.
func (r *trial) events(h *lab.Host) []journal.Entry {
	r.Helper()
	events, err := h.Events(r.ctx, r.began)
	r.do(err)
	return events
}

// awaitEvent waits until one of the hosts has recorded an event of a kind.
func (r *trial) awaitEvent(kind core.Kind, hosts ...*lab.Host) (found journal.Entry) {
	r.Helper()
	r.await(fmt.Sprintf("the event %s", kind), func() (bool, string) {
		var kinds []string
		for _, h := range hosts {
			events, err := h.Events(r.ctx, r.began)
			if err != nil {
				kinds = append(kinds, err.Error()) // it may be frozen
				continue
			}
			for _, e := range events {
				if kinds = append(kinds, string(e.Kind)); e.Kind == kind {
					found = e
					return true, ""
				}
			}
		}
		return false, "there were " + strings.Join(kinds, ", ")
	})
	return found
}

// refuse fails the test if a host that is on has recorded an event of one of these kinds.
func (r *trial) refuse(kinds ...core.Kind) {
	r.Helper()
	for _, h := range r.On() {
		for _, e := range r.events(h) {
			for _, kind := range kinds {
				if e.Kind == kind {
					r.Errorf("%s recorded %s: %s %v", h.Name, kind, e.Text, e.Evidence)
				}
			}
		}
	}
}

// awaitStopped waits until no machine of a host can execute.
func (r *trial) awaitStopped(h *lab.Host) {
	r.Helper()
	r.await("the machines of "+h.Name+" to be frozen", func() (bool, string) {
		stopped, err := h.Stopped()
		return stopped && err == nil, fmt.Sprint(err)
	})
}

// awaitGone waits until a host has no machine's process any more.
func (r *trial) awaitGone(h *lab.Host, machines ...*lab.Machine) {
	r.Helper()
	for _, m := range machines {
		r.await(fmt.Sprintf("%s to be put down on %s", m.Name, h.Name), func() (bool, string) {
			pids, err := h.PIDs(lab.Hypervisor, m)
			return len(pids) == 0 && err == nil, fmt.Sprint(pids, err)
		})
	}
}

// restarts are the events of whoever takes machines or starts them.
var restarts = []core.Kind{"term-closed", "start-ordered", "machine-putting-down"}
