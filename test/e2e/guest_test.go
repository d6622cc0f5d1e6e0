package e2e

import (
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"storebeat/agent/demo/cluster"
)

// TestGuestShutDownInCustody: a guest switches itself off while the agent of its host is
// stopped in good order. When the agent is back it knows that from a crash, and leaves
// the guest off, as the policy says.
func TestGuestShutDownInCustody(t *testing.T) {
	t.Parallel()
	if driver(t) != "qemu" {
		t.Skip("a process that ended while nobody was there tells nobody why")
	}
	l := newLab(t, cluster.Options{Hosts: 2, Datastores: 1})
	l.protect(2, "qemu")
	off, other := l.machines[0], l.machines[1]
	h, want, from := l.owner(off), l.runs(), time.Now()
	if err := h.StopAgent(l.ctx); err != nil {
		t.Fatal(err)
	}
	l.tellGuest(h, off, "q")
	l.awaitTicks(50, other)
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	l.awaitAnswer(h)
	l.awaitEvent(h, from, "guest-shut-down")
	l.await("it to be known as stopped", func() (bool, string) {
		v := l.machine(off)
		return v.State == "stopped", v.State + ": " + v.Why
	})
	l.awaitTicks(50, other)
	l.expectRuns(want)
}

// tellGuest sends a byte to the serial port of a QEMU guest.
func (l *lab) tellGuest(h *cluster.Host, m *cluster.Machine, command string) {
	l.Helper()
	found, err := filepath.Glob(filepath.Join(h.RunDir(), m.VM.String()+"-*", "serial"))
	if err != nil || len(found) != 1 {
		l.Fatal(fmt.Errorf("serial ports of %s: %v, %w", m.Name, found, err))
	}
	conn, err := net.Dial("unix", found[0])
	if err != nil {
		l.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(command)); err != nil {
		l.Fatal(err)
	}
}
