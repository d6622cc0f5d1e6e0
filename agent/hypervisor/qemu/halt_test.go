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

// watchdog is a boot-sector guest's, which it arms when it is told to and never feeds.
type watchdog struct {
	settings string        // of the guest's definition
	waits    time.Duration // until it resets the guest
}

var armed = map[string]watchdog{
	"ib700":    {`"memory_mib": 1, "args": ["-device", "ib700"]`, 2 * time.Second},
	"i6300esb": {`"memory_mib": 1, "watchdog": {"model": "i6300esb", "action": "reset"}`, 2 * time.Second},
	"itco":     {`"memory_mib": 16, "machine": "pc-q35-7.2", "watchdog": {"model": "itco", "action": "reset"}`, 4800 * time.Millisecond},
}

func startWatched(t *testing.T, w watchdog) (hypervisor.Spec, hypervisor.Machine) {
	t.Helper()
	needQEMU(t)
	spec := hypervisortest.NewSpec(t)
	defineGuest(t, spec)
	spec.Definition = []byte(`{` + w.settings + `, "disks": [{"path": "disk.img", "interface": "ide"}], "serial_log": "tick.log"}`)
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
func outlasts(t *testing.T, w watchdog) {
	t.Helper()
	spec, _ := startWatched(t, w)
	tell(t, spec, "w")
	hypervisortest.Until(t, "the watchdog of a guest that runs resets it", func() bool { return count(t, spec).Boots >= 2 })
}

// A watchdog that was armed does not count while the guest is halted and then frozen, for however
// long: the guest goes on where it stood. Later it is reset all the same, since it never feeds it.
func TestHaltedGuestIsNotResetByItsWatchdog(t *testing.T) {
	t.Parallel()
	for model, w := range armed {
		t.Run(model, func(t *testing.T) {
			t.Parallel()
			spec, m := startWatched(t, w)
			started := time.Now()
			tell(t, spec, "w")
			told := count(t, spec).Last
			hypervisortest.Until(t, "the guest has armed its watchdog", func() bool { return count(t, spec).Last >= told+2 })
			halter := m.(hypervisor.Halter)
			haltNoted(t, halter, filepath.Join(spec.RunDir, "mark"))
			ran := time.Since(started)
			hypervisortest.Freeze(t, m.Handle())
			outlasts(t, w)
			started = time.Now()
			hypervisortest.Thaw(t, m.Handle())
			hypervisortest.Until(t, "the monitor answers again", func() bool { return resumed(t, halter) })
			hypervisortest.Until(t, "the watchdog resets the guest, which does not feed it", func() bool { return count(t, spec).Boots >= 2 })
			// It counts the guest's running time alone, which can only have been shorter than was measured here.
			if ran += time.Since(started); ran < w.waits {
				t.Errorf("the guest was reset when it had run for %v: its watchdog of %v has counted while it was frozen", ran, w.waits)
			}
		})
	}
}

// haltNoted halts a guest, and sees to it that the order is noted before it is given.
func haltNoted(t *testing.T, halter hypervisor.Halter, mark string) {
	t.Helper()
	if err := halter.Halt(t.Context(), func() error { return os.WriteFile(mark, nil, 0o600) }); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(mark); err != nil {
		t.Fatalf("the order was given before it was noted: %v", err)
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
	spec, m := startWatched(t, armed["ib700"])
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
