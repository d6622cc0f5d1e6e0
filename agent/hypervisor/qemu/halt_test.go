package qemu

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"storebeat/agent/freeze"
	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/hypervisortest"
)

// watched is the boot-sector guest with a watchdog of 2 s, which it arms when it is told to
// and never feeds.
const watched = `{"memory_mib": 1, "disks": [{"path": "disk.img", "interface": "ide"}], "serial_log": "tick.log", "args": ["-device", "ib700"]}`

func startWatched(t *testing.T) (hypervisor.Spec, hypervisor.Machine) {
	t.Helper()
	needQEMU(t)
	spec := hypervisortest.NewSpec(t)
	defineGuest(t, spec)
	spec.Definition = []byte(watched)
	if needs := New("").Needs(spec.Definition); !needs.Watchdog {
		t.Fatal("the watchdog is not seen in the definition")
	}
	m := start(t, spec)
	t.Cleanup(func() { _ = m.Kill(context.Background()) })
	hypervisortest.Thaw(t, m.Handle())
	ticking(t, spec)
	hypervisortest.Until(t, "the monitor answers", func() bool { return m.Condition().Guest == "running" })
	return spec, m
}

// outlasts waits until a watchdog that is armed now, of a guest that nobody disturbs, has
// reset that one: so long.
func outlasts(t *testing.T) {
	t.Helper()
	spec, _ := startWatched(t)
	tell(t, spec, "w")
	hypervisortest.Until(t, "the watchdog of a guest that runs resets it", func() bool { return count(t, spec).Boots == 2 })
}

// consoleOf is what the guest has written.
func consoleOf(t *testing.T, spec hypervisor.Spec) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(spec.DatastorePath, "tick.log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A watchdog that was armed does not count while the guest is halted and then frozen, for however
// long: the guest goes on where it stood. Later it is reset all the same, since it never feeds it.
func TestHaltedGuestIsNotResetByItsWatchdog(t *testing.T) {
	t.Parallel()
	spec, m := startWatched(t)
	tell(t, spec, "w")
	told := count(t, spec).Last
	hypervisortest.Until(t, "the guest has armed its watchdog", func() bool { return count(t, spec).Last >= told+2 })
	mark := filepath.Join(spec.RunDir, "mark")
	halter := m.(hypervisor.Halter)
	if err := halter.Halt(t.Context(), func() error { return os.WriteFile(mark, nil, 0o600) }); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(mark); err != nil {
		t.Fatalf("the order was given before it was noted: %v", err)
	}
	hypervisortest.Freeze(t, m.Handle())
	stood := consoleOf(t, spec)
	outlasts(t)
	hypervisortest.Thaw(t, m.Handle())
	hypervisortest.Until(t, "the monitor answers again", func() bool { return resumed(t, halter) })
	hypervisortest.Until(t, "the watchdog resets the guest, which does not feed it", func() bool { return count(t, spec).Boots == 2 })
	if strings.Count(stood, "BOOT") > 1 {
		t.Skip("this computer is so slow that the guest was reset before it could be halted")
	}
	later := strings.TrimPrefix(consoleOf(t, spec), stood)
	before, _, _ := strings.Cut(later, "BOOT")
	// The guest ticks every 0.11 s, and its watchdog had 2 s when it was halted a moment after.
	if ticks := strings.Count(before, "\nT "); ticks < 3 {
		t.Errorf("the guest was reset after %d ticks: its watchdog has counted while it was frozen", ticks)
	}
}

func resumed(t *testing.T, halter hypervisor.Halter) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	return halter.Resume(ctx) == nil
}

// A guest that somebody else has paused is left alone, and an order that does not come through
// in time takes nothing: it is heard at the thaw, before the one to go on.
func TestHaltOfAGuestThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	spec, m := startWatched(t)
	halter := m.(hypervisor.Halter)
	hypervisortest.Freeze(t, m.Handle())
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	noted := false
	err := halter.Halt(ctx, func() error { noted = true; return nil })
	if err == nil || noted || !strings.Contains(err.Error(), context.DeadlineExceeded.Error()) {
		t.Errorf("halting a frozen guest: %v, noted: %v", err, noted)
	}
	if s, err := m.Handle().State(); err != nil || s != freeze.Frozen {
		t.Fatalf("the guest is %v (%v)", s, err)
	}
	hypervisortest.Thaw(t, m.Handle())
	hypervisortest.Until(t, "it goes on", func() bool { return resumed(t, halter) })
	stood := count(t, spec)
	hypervisortest.Until(t, "the guest ticks", func() bool { return count(t, spec).Last > stood.Last })

	session, err := m.(*machine).reachable()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Execute(t.Context(), "stop", nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := halter.Halt(t.Context(), func() error { noted = true; return nil }); err != nil || noted {
		t.Errorf("halting a guest that a user has paused: %v, noted: %v", err, noted)
	}
}
