package libvirt

import (
	"errors"
	"strings"
	"testing"

	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/hypervisortest"
)

// A domain is halted, frozen, thawed and goes on; one that a user has suspended, or whose halt
// can't be noted, is left alone.
func TestHalt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	spec := b.spec()
	m := b.start(spec)
	halter := m.(hypervisor.Halter)
	state := func() string { return b.host.Virsh(b, "domstate", spec.VM.String()) }
	unwritable := errors.New("no space left")
	if err := halter.Halt(t.Context(), func() error { return unwritable }); !errors.Is(err, unwritable) || state() != "running" {
		t.Errorf("without a note: %v, and the domain is %s", err, state())
	}
	noted := 0
	note := func() error { noted++; return nil }
	if err := halter.Halt(t.Context(), note); err != nil || noted != 1 || !strings.HasPrefix(state(), "paused") {
		t.Fatalf("%v, noted %d times, and the domain is %s", err, noted, state())
	}
	hypervisortest.Freeze(b, m.Handle())
	hypervisortest.Thaw(b, m.Handle())
	if err := halter.Resume(t.Context()); err != nil || state() != "running" {
		t.Fatalf("%v, and the domain is %s", err, state())
	}
	b.ticks(spec)
	if c := count(b, spec); c.Boots != 1 {
		t.Errorf("%d boots", c.Boots)
	}
	b.host.Virsh(b, "suspend", spec.VM.String())
	if err := halter.Halt(t.Context(), note); err != nil || noted != 1 {
		t.Errorf("a domain that a user has suspended: %v, noted %d times", err, noted)
	}
}
