package e2e

import (
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
			l.awaitEvent(h, from, "machines-frozen")
			l.awaitEvent(h, from, "guard-back")
			l.awaitEvent(h, from, "machine-thawed")
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
	l := newLab(t, cluster.Options{Profile: "default"})
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
		if is := l.machine(m); is.Host == h.ID && is.Generation <= viewOf(before, m).Generation {
			t.Errorf("%s goes on under its old generation %d", m.Name, is.Generation)
		} else if is.Host == h.ID {
			continue
		}
		t.Errorf("%s was taken over, though the agent was back within the lease", m.Name)
	}
	l.expectRuns(runs)
}
