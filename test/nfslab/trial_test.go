package nfslab_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"storebeat/agent/core"
	"storebeat/test/lab"
	"storebeat/test/lab/labtest"
	"storebeat/test/nfslab"
)

// patience is how long anything may take that has no limit of its own. It says
// nothing about how fast the product is.
const patience = 3 * time.Minute

// trial is a lab under test with its machines.
type trial struct {
	*testing.T
	*nfslab.Lab
	*labtest.Guests
	ctx    context.Context
	before map[*nfslab.Host]uint64 // the newest entry of each host's journal when the trial began
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
	// Each look may cost the slow hosts a program's start.
	guests := labtest.Watched(t, l.Watch, patience, 500*time.Millisecond)
	r := &trial{T: t, Lab: l, Guests: guests, ctx: t.Context(), before: map[*nfslab.Host]uint64{}}
	t.Cleanup(r.end)
	r.Do(l.Start(r.ctx))
	r.awaitWhole()
	for i := range machines {
		m, err := lab.MakeMachine(fmt.Sprintf("vm%d", i+1), l.Datastores[i%len(l.Datastores)])
		r.Do(err)
		m.Policy.StopTime = time.Second // the guest is deaf
		r.Watch.Add(m)
		r.Do(l.Hosts[0].Protect(r.ctx, m))
		r.Machines = append(r.Machines, m)
	}
	r.awaitWhole()
	r.AwaitCounts(2, r.Machines...)
	for _, h := range l.Hosts {
		events, err := h.Events(r.ctx)
		r.Do(err)
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

// awaitWhole waits until one master sees every host that is on live, each holds
// its terms, and every machine runs.
func (r *trial) awaitWhole() {
	r.Helper()
	r.Await("the cluster to be whole", func() (bool, string) { return r.Settled(r.ctx, len(r.Machines)) })
}

// victim returns a host that runs a machine, if it can be not the master's, and
// the others.
func (r *trial) victim() (victim *nfslab.Host, others []*nfslab.Host) {
	r.Helper()
	v, err := r.On()[0].View(r.ctx)
	r.Do(err)
	for _, h := range r.On() {
		if len(r.HeardOn(h.Name)) > 0 && (victim == nil || victim.ID == v.Master) {
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
	r.Await(fmt.Sprintf("explain vm %s to say %q", m.Name, what), func() (bool, string) {
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
		r.Do(err)
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
