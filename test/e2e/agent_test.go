package e2e

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"storebeat/agent/core"
	"storebeat/agent/demo/cluster"
	"storebeat/agent/freeze"
)

// disturbances are what no machine may see when nothing has happened to it.
var disturbances = []core.Kind{"lease-lapsed", "machines-frozen", "machine-thawed", "machine-reclaimed", "machine-crashed",
	"machine-putting-down", "term-closed", "guard-gone", "datastore-distrusted", "start-ordered"}

// relaxedLease is longer than a lease of the relaxed profile, in ticks of a machine.
const relaxedLease = 110

// TestAgentRestart restarts an agent within the lease: no machine may notice.
func TestAgentRestart(t *testing.T) {
	t.Parallel()
	l := newLab(t, cluster.Options{Profile: "relaxed", Datastores: 1}) // its lease leaves a busy computer the time
	l.protect(3, driver(t))
	h := l.owner(l.machines[0])
	before, runs := l.view(), l.runs()
	from := time.Now()
	for _, m := range l.machines {
		m.Console.ResetGap()
	}
	h.KillAgent()
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	l.await("the restarted agent to answer", func() (bool, string) {
		v, err := h.View(l.ctx, true)
		return err == nil && v.Datastores[0].Phase == "held", fmt.Sprint(err)
	})
	l.awaitEvent(h, from, "machine-adopted")
	l.awaitSettled()
	l.awaitTicks(relaxedLease, l.machines...)
	for _, h := range l.Hosts {
		l.refuse(h, from, disturbances...)
	}
	l.expectRuns(runs)
	l.expectGenerations(before, runs)
	for _, m := range l.machines {
		if newest, _ := m.Console.Newest(); newest.Gap > 3*time.Second {
			t.Errorf("%s stood still for %v while an agent was restarted", m.Name, newest.Gap)
		}
	}
}

// TestAgentKilledWhileItEndsMachines: an agent freezes what it is about to end, and
// the guard is not told. The next agent lets such machines go on.
func TestAgentKilledWhileItEndsMachines(t *testing.T) {
	t.Parallel()
	l := newLab(t, cluster.Options{Profile: "relaxed"})
	l.protect(3, driver(t))
	h, runs := l.owner(l.machines[0]), l.runs()
	found, err := h.Machines(l.ctx)
	if err != nil || len(found) == 0 {
		t.Fatalf("machines of %s: %v, %v", h.Name, found, err)
	}
	for _, f := range found {
		if err := f.Handle.Freeze(); err != nil {
			t.Fatal(err)
		}
	}
	h.KillAgent()
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	l.awaitSettled()
	l.awaitTicks(3, l.machines...)
	l.expectRuns(runs)
}

// TestAgentDown leaves a host without its agent for longer than the lease: the
// guard freezes its machines, and another host takes them over. When the agent
// comes back it puts the frozen instances down.
func TestAgentDown(t *testing.T) {
	t.Parallel()
	l := newLab(t, cluster.Options{})
	l.protect(4, "process")
	h, lost, _ := l.subordinate()
	want := l.runs()
	for _, m := range lost {
		want[m.Name]++
	}
	h.KillAgent()
	l.awaitRuns(want)
	if found, err := h.Machines(l.ctx); err != nil || len(found) != len(lost) {
		t.Errorf("the machines of %s must be there, frozen: %v %v", h.Name, found, err)
	}
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	l.await("the frozen instances to be put down", func() (bool, string) {
		found, err := h.Machines(l.ctx)
		return err == nil && len(found) == 0, fmt.Sprint(found, err)
	})
	l.awaitSettled()
	l.expectRuns(want)
}

// TestImageLock does the same to guests whose disks are locked: the frozen
// instance keeps its lock, so the start elsewhere is refused and tried again,
// never forced (R12). The agent that comes back gives the lock up by putting
// the frozen instance down.
func TestImageLock(t *testing.T) {
	if driver(t) != "qemu" {
		t.Skip("QEMU is not installed: plain processes lock no disks")
	}
	t.Parallel()
	l := newLab(t, cluster.Options{})
	l.protect(2, "qemu")
	master, _ := l.master()
	h := l.owner(l.machines[0])
	if h == master {
		h = l.owner(l.machines[1])
	}
	lost, want := l.machinesOn(h), l.runs()
	from := time.Now()
	for _, m := range lost {
		want[m.Name]++
	}
	h.KillAgent()
	l.await("the start to be refused", func() (bool, string) {
		for _, o := range l.Up() {
			for _, e := range l.since(o, from) {
				if e.Kind == "start-refused" {
					return true, ""
				}
			}
		}
		return false, "it was not"
	})
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	l.awaitRuns(want)
	l.awaitSettled()
	l.expectRuns(want)
	for _, o := range l.Hosts {
		l.refuseMany(o, "start-refused", len(lost))
	}
}

// TestAgentBackAfterFreeze brings an agent back once its machines are frozen:
// either they go on there under a new generation, or another host has them.
func TestAgentBackAfterFreeze(t *testing.T) {
	t.Parallel()
	l := newLab(t, cluster.Options{})
	l.protect(3, driver(t))
	h, lost, _ := l.subordinate()
	before, runs := l.view(), l.runs()
	h.KillAgent()
	l.awaitFrozen(h)
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	l.awaitSettled()
	for _, m := range lost {
		l.awaitTicks(3, m)
		l.await(m.Name+" to be shown where it runs, under a new generation", func() (bool, string) {
			was, is := viewOf(before, m), l.machine(m)
			_, now := m.Console.Newest()
			moved := is.Host != h.ID
			return is.Generation > was.Generation && moved == (now > runs[m.Name]),
				fmt.Sprintf("it is on host %d under generation %d, %d before, and was started %d times, %d before", is.Host, is.Generation, was.Generation, now, runs[m.Name])
		})
	}
}

// machinesOn lists the machines that the master says run on a host. There must be some.
func (l *lab) machinesOn(h *cluster.Host) (on []*cluster.Machine) {
	l.Helper()
	l.await(h.Name+" to run machines", func() (bool, string) {
		on = l.shownOn(h)
		return len(on) > 0, "it runs none"
	})
	return on
}

// shownOn lists the machines that the master says run on a host, if any.
func (l *lab) shownOn(h *cluster.Host) (on []*cluster.Machine) {
	l.Helper()
	v := l.view()
	for _, m := range l.machines {
		if viewOf(v, m).Host == h.ID {
			on = append(on, m)
		}
	}
	return on
}

func viewOf(v core.View, m *cluster.Machine) core.MachineView {
	for _, is := range v.Machines {
		if is.VM == m.VM {
			return is
		}
	}
	return core.MachineView{State: "not known"}
}

// awaitFrozen waits until every machine process of a host is seen frozen.
func (l *lab) awaitFrozen(h *cluster.Host) {
	l.Helper()
	l.await("the machines of "+h.Name+" to be frozen", func() (bool, string) {
		found, err := h.Machines(l.ctx)
		if err != nil {
			return false, err.Error()
		}
		for _, f := range found {
			if s, err := f.Handle.State(); err != nil || s != freeze.Frozen {
				return false, fmt.Sprintf("%s is %v (%v)", f.VM, s, err)
			}
		}
		return len(found) > 0, "there is none"
	})
}

// signal sends a signal to a host's guard.
func (l *lab) signalGuard(h *cluster.Host, s syscall.Signal) {
	l.Helper()
	g, err := h.Guard(l.ctx)
	if err == nil {
		err = syscall.Kill(g.PID, s)
	}
	if err != nil {
		l.Fatal(err)
	}
}
