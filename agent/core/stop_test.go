package core

import (
	"slices"
	"testing"

	"storebeat/datastorehb"
)

// A guest that is asked to shut down and is frozen by a lapse meanwhile gets the
// chance to obey: it is let go as soon as the next term is won.
func TestStoppingGuestIsThawed(t *testing.T) {
	d, f := inherit(t)
	s := generation(3, 1, 6, writer(1))
	d.see(MachineRead{Span: d.span(), VM: guest, Purpose: ForThaw, Machine: s})
	m := d.machine(guest)
	d.stop(m, 1, "a user wants it stopped", true)
	d.lapse(f, "no proof of life")
	d.see(GuardFrozen{Datastore: home, Term: f.own.Number})
	d.out = nil
	for range 4 {
		d.wait(timing.Interval)
		for {
			w, ok := find[WriteSlot](d)
			if !ok {
				break
			}
			d.see(SlotWritten{Span: d.span(), Sequence: w.Slot.Sequence})
		}
		if claim, ok := find[ClaimTerm](d); ok {
			d.see(TermClaimed{Span: d.span(), Term: claim.Term, Outcome: datastorehb.ClaimWon})
			break
		}
	}
	ask := take[GuardLetGo](d)
	if !slices.Contains(ask.VMs, guest) || ask.Term != f.own.Number {
		t.Fatalf("asked for %v under term %d", ask.VMs, ask.Term)
	}
	d.see(GuardLetWent{Datastore: home, Term: ask.Term, Asked: ask.VMs, VMs: ask.VMs})
	if m.frozen || m.phase != phaseStop {
		t.Errorf("the machine is %v, frozen %t", m.phase, m.frozen)
	}
}

// A machine that is powered off at once is frozen by the shell, which looks at its I/O
// before the kill (R12). Nobody lets it go meanwhile: it may never have run.
func TestPoweredOffMachineIsNotThawed(t *testing.T) {
	d, f := inherit(t)
	d.see(MachineRead{Span: d.span(), VM: guest, Purpose: ForThaw, Machine: generation(3, 1, 6, writer(1))})
	m := d.machine(guest)
	m.frozen = true
	d.stop(m, 1, "stopped by the user before it ran", false)
	d.out = nil
	for range 4 {
		d.wait(timing.Interval / 2)
		for w, ok := find[WriteSlot](d); ok; w, ok = find[WriteSlot](d) {
			d.see(SlotWritten{Span: d.span(), Sequence: w.Slot.Sequence})
		}
		if ask, ok := find[GuardLetGo](d); ok {
			t.Fatalf("asked for %v", ask.VMs)
		}
	}
	if !f.held(d.now) || m.phase != phaseStop {
		t.Errorf("the test missed: held %t, the machine is %v", f.held(d.now), m.phase)
	}
}
