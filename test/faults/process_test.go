package faults

import (
	"fmt"
	"testing"
	"time"

	"storebeat/test/lab"
)

// TestFrozenBriefly freezes a host as a whole for less than a takeover takes: nobody
// else starts anything. The timing is a calm one, so that a slow computer has the host
// back in time.
func TestFrozenBriefly(t *testing.T) {
	r := newTrial(t, lab.Options{Profile: "relaxed"}, 3)
	_, others := r.master()
	r.on(others[0])
	want, processes := r.Starts(), r.hypervisors()
	began := time.Now()
	r.Do(others[0].Freeze())
	r.hold(began, 3*time.Second)
	r.Do(others[0].Resume())
	r.AwaitCounts(150, r.Machines...) // longer than a takeover takes
	r.awaitWhole()
	r.ExpectStarts(want)
	r.refuse(restarts...)
	r.expectProcesses(processes)
}

// TestFrozenForLong freezes a host as a whole for 30 s, in which its machines are taken
// over, and resumes it.
func TestFrozenForLong(t *testing.T) {
	r := newTrial(t, lab.Options{}, 3)
	_, others := r.master()
	h := others[0]
	its := r.on(h)
	want := r.Starts().And(its)
	began := time.Now()
	r.Do(h.Freeze())
	r.awaitEvent("start-refused", r.Hosts...)
	r.expire(h)
	r.AwaitStarts(want)
	r.hold(began, 30*time.Second)
	r.Do(h.Resume())
	r.awaitGone(h, its...)
	r.awaitWhole()
	r.AwaitCounts(20, r.Machines...)
	r.ExpectStarts(want)
}

// TestHypervisorKilled kills the hypervisor of one machine: it is started again on
// the spot.
func TestHypervisorKilled(t *testing.T) {
	r := newTrial(t, lab.Options{}, 3)
	m := r.Machines[0]
	was, _ := r.Watch.Newest(m)
	h, err := r.Host(was.Host)
	r.Do(err)
	want := r.Starts().And([]*lab.Machine{m})
	r.Do(h.KillHypervisor(r.ctx, m))
	r.AwaitStarts(want)
	r.awaitWhole()
	if is, _ := r.Watch.Newest(m); is.Host != was.Host {
		t.Errorf("it was started on %s, not on %s", is.Host, was.Host)
	}
	r.ExpectStarts(want)
	r.refuse("term-closed")
}

// TestAgentAndGuardGone kills a host's agent and guard and leaves it so. Nothing is
// left there that could freeze its machines, and there is no watchdog. What keeps
// them from running twice is the image lock; once the agent is back it freezes
// what it finds and puts it down, and the others start it, once.
func TestAgentAndGuardGone(t *testing.T) {
	r := newTrial(t, lab.Options{}, 3)
	master, others := r.master()
	h := others[0]
	want := r.Starts().And(r.on(h))
	// The agent first, or it would start another guard.
	r.Do(h.KillAgent(r.ctx))
	r.Do(h.KillGuard(r.ctx))
	r.awaitEvent("term-closed", master, others[1])
	r.awaitEvent("start-refused", master, others[1])
	r.Do(h.StartAgent())
	r.AwaitStarts(want)
	r.awaitWhole()
	r.AwaitCounts(20, r.Machines...)
	r.ExpectStarts(want)
}

// TestAgentStaysAway kills an agent and leaves it so. The image locks of its frozen
// machines keep the others out until the guard ends them.
func TestAgentStaysAway(t *testing.T) {
	r := newTrial(t, lab.Options{}, 3)
	master, others := r.master()
	h := others[0]
	its := r.on(h)
	want := r.Starts().And(its)
	r.Do(h.KillAgent(r.ctx))
	r.awaitEvent("start-refused", master, others[1])
	r.awaitGone(h, its...)
	r.AwaitStarts(want)
	r.Do(h.StartAgent())
	r.awaitEvent("machine-abandoned", h)
	r.awaitWhole()
	r.AwaitCounts(20, r.Machines...)
	r.ExpectStarts(want)
}

// TestAgentStopsAndHostFreezes stops an agent in good order and then freezes its
// host for longer than a takeover takes: its machines are in custody, and stay.
func TestAgentStopsAndHostFreezes(t *testing.T) {
	r := newTrial(t, lab.Options{}, 3)
	_, others := r.master()
	h := others[0]
	want := r.Starts()
	r.Do(h.StopAgent(r.ctx))
	began := time.Now()
	r.Do(h.Freeze())
	r.hold(began, 15*time.Second)
	r.Do(h.Resume())
	r.AwaitCounts(10, r.Machines...)
	r.Do(h.StartAgent())
	r.awaitWhole()
	r.ExpectStarts(want)
	r.refuse(restarts...)
}

// TestClocksApart checks that the hosts' boot-time clocks are as far apart as the
// lab says: all other tests then prove that nobody compares them (R13).
func TestClocksApart(t *testing.T) {
	r := newTrial(t, lab.Options{Hosts: 2}, 1)
	seen := map[string]bool{}
	for _, h := range r.Hosts {
		v, err := h.View(r.ctx, true)
		r.Do(err)
		days := fmt.Sprint(time.Duration(v.At).Hours() / 24)
		if seen[days[:3]] {
			t.Errorf("two hosts have been up for %s days", days)
		}
		seen[days[:3]] = true
	}
}
