package faults

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"storebeat/agent/core"
	"storebeat/agent/journal"
	"storebeat/poweron"
	"storebeat/test/lab"
	"storebeat/test/lab/labtest"
	"storebeat/test/program"
)

// patience is how long anything may take that has no limit of its own. It says
// nothing about how fast the product is.
const patience = 90 * time.Second

// trial is a lab under test with its machines.
type trial struct {
	*testing.T
	*lab.Lab
	*labtest.Guests
	ctx   context.Context
	began time.Time
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
	r := &trial{T: t, Lab: l, Guests: labtest.Watched(t, l.Watch, patience, 50*time.Millisecond), ctx: t.Context()}
	t.Cleanup(r.end)
	r.Do(l.Start())
	r.awaitWhole()
	for i := range machines {
		m, err := l.NewMachine(fmt.Sprintf("vm%d", i+1), l.Datastores[i%len(l.Datastores)])
		r.Do(err)
		for _, c := range change {
			c(&m.Policy)
		}
		r.Do(l.Hosts[0].Protect(r.ctx, m))
		r.Machines = append(r.Machines, m)
	}
	r.awaitWhole()
	r.AwaitCounts(2, r.Machines...)
	r.began = time.Now()
	return r
}

// end ends the lab and judges it. The logs, which are gone with it, are shown before if it failed.
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
	for _, h := range r.Hosts {
		log, _ := os.ReadFile(h.Log())
		r.Logf("log of %s:\n%s", h.Name, log)
	}
}

// awaitWhole waits until one master sees every host that is on live and every
// machine running.
func (r *trial) awaitWhole() {
	r.Helper()
	r.Await("the cluster to be whole", func() (bool, string) { return r.Settled(r.ctx, len(r.Machines)) })
}

// on lists the machines that were heard last on one of these hosts; there must be one.
func (r *trial) on(hosts ...*lab.Host) (on []*lab.Machine) {
	r.Helper()
	for _, h := range hosts {
		on = append(on, r.HeardOn(h.Name)...)
	}
	if len(on) == 0 {
		r.Fatalf("none of these hosts runs a machine")
	}
	return on
}

// homedOn lists the machines whose home is a datastore.
func (r *trial) homedOn(d lab.Datastore) (on []*lab.Machine) {
	for _, m := range r.Machines {
		if m.Home.ID == d.ID {
			on = append(on, m)
		}
	}
	return on
}

// master returns the master's host and the others, those that run a machine first. It
// waits for one: on a slow computer mastery may be changing hands.
func (r *trial) master() (master *lab.Host, others []*lab.Host) {
	r.Helper()
	r.Await("a host to lead", func() (bool, string) {
		master, others = nil, nil
		for _, h := range r.On() {
			if v, err := h.View(r.ctx, true); err == nil && v.Leading && master == nil {
				master = h
			} else {
				others = append(others, h)
			}
		}
		return master != nil, "none does"
	})
	slices.SortStableFunc(others, func(a, b *lab.Host) int {
		return cmp.Compare(min(len(r.HeardOn(b.Name)), 1), min(len(r.HeardOn(a.Name)), 1))
	})
	return master, others
}

// events returns what a host recorded since the trial began.
func (r *trial) events(h *lab.Host) []journal.Entry {
	r.Helper()
	events, err := h.Events(r.ctx, r.began)
	r.Do(err)
	return events
}

// awaitEvent waits until one of the hosts has recorded an event of a kind.
func (r *trial) awaitEvent(kind core.Kind, hosts ...*lab.Host) (found journal.Entry) {
	r.Helper()
	r.Await(fmt.Sprintf("the event %s", kind), func() (bool, string) {
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
	r.Await("the machines of "+h.Name+" to be frozen", func() (bool, string) {
		stopped, err := h.Stopped()
		return stopped && err == nil, fmt.Sprint(err)
	})
}

// awaitGone waits until a host has no machine's process any more.
func (r *trial) awaitGone(h *lab.Host, machines ...*lab.Machine) {
	r.Helper()
	for _, m := range machines {
		r.Await(fmt.Sprintf("%s to be put down on %s", m.Name, h.Name), func() (bool, string) {
			pids, err := h.PIDs(lab.Hypervisor, m)
			return len(pids) == 0 && err == nil, fmt.Sprint(pids, err)
		})
	}
}

// restarts are the events of whoever takes machines or starts them.
var restarts = []core.Kind{"term-closed", "start-ordered", "machine-putting-down"}
