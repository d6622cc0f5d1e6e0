package e2e

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"storebeat/agent/demo/cluster"
)

// TestGuardLost takes a host's guard away. Its machines are frozen at once, and
// go on in the same run once a new guard is there and the next term is won.
func TestGuardLost(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		signal syscall.Signal
	}{
		{"killed", syscall.SIGKILL},
		{"hung", syscall.SIGSTOP},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, cluster.Options{Profile: "default"})
			l.protect(3, driver(t))
			h := l.owner(l.machines[0])
			runs, from := l.runs(), time.Now()
			old, err := h.Guard(l.ctx)
			if err != nil {
				t.Fatal(err)
			}
			l.signalGuard(h, c.signal)
			l.awaitEvent(h, from, "guard-gone")
			// The new guard holds all frozen. The agent tells of its own freeze only if that was there first.
			back, thawed := l.awaitEvent(h, from, "guard-back"), l.awaitEvent(h, from, "machine-thawed")
			if thawed.Wall.Before(back.Wall) {
				t.Errorf("a machine was let go at %v, before the new guard was there at %v", thawed.Wall, back.Wall)
			}
			l.awaitSettled()
			l.awaitTicks(3, l.machines...)
			l.expectRuns(runs)
			if now, err := h.Guard(l.ctx); err != nil || now.PID == old.PID {
				t.Errorf("the guard is process %d again (%v)", now.PID, err)
			}
		})
	}
}

// TestAgentAndGuardKilled leaves machines without both for a moment. The next
// agent finds them running with nobody to stop them, and freezes them before it
// finds out whose they are.
func TestAgentAndGuardKilled(t *testing.T) {
	t.Parallel()
	l := newLab(t, cluster.Options{Profile: "relaxed"})
	l.protect(3, driver(t))
	h := l.owner(l.machines[0])
	mine := l.machinesOn(h)
	runs, before := l.runs(), l.view()
	l.signalGuard(h, syscall.SIGKILL)
	h.KillAgent()
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	l.awaitSettled()
	for _, m := range mine {
		l.awaitTicks(3, m)
		l.await(m.Name+" to go on where it was, under a new generation", func() (bool, string) {
			is, was := l.machine(m), viewOf(before, m)
			return is.Host == h.ID && is.Generation > was.Generation, fmt.Sprintf("it is on %s under generation %d, %d before", is.HostName, is.Generation, was.Generation)
		})
	}
	l.expectRuns(runs)
}
