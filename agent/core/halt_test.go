package core

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"storebeat/datastorehb"
	"storebeat/poweron"
)

// guarded brings the desk's host to run three guests under its lease: one with a watchdog,
// one without, and one that is to be frozen only.
func guarded(t *testing.T) (*desk, *footing) {
	t.Helper()
	d := newDesk(t, nil)
	f := d.stand()
	for i, change := range []func(*MachineState){
		func(s *MachineState) { s.Needs.Watchdog = true },
		func(*MachineState) {},
		func(s *MachineState) { s.Needs.Watchdog, s.Entry.Policy.Pause = true, poweron.Freeze },
		func(s *MachineState) { s.Entry.Policy.Pause = poweron.StopThenFreeze },
	} {
		vm := uuid.UUID{byte(i + 1)}
		d.known(vm[0], "vm", func(s *MachineState) { s.Entry.Desired = poweron.Running; change(s) })
		g := poweron.Generation{VM: vm, Number: 1, Kind: poweron.Run, Owner: 1, Term: f.own.Number}
		d.addMachine(&machine{vm: vm, home: f, phase: phaseRun, gen: g, process: 1, entry: f.info(vm).Entry, revision: 1})
	}
	d.out = nil
	return d, f
}

// until lets time pass until so long before the end of the lease, with the heartbeat
// under way and unanswered.
func (d *desk) until(f *footing, before time.Duration) {
	for at := f.lease.Deadline().Add(-before); d.at < at; {
		d.at = min(at, d.at.Add(100*time.Millisecond))
		d.out = append(d.out, d.Step(d.at, Tick{})...)
	}
}

var halting = []uuid.UUID{{1}, {4}}

// Guests are halted a moment before the lease's end, those that want it and no other, once; and go on when a late proof renews the lease.
func TestGuestsAreHaltedAndGoOn(t *testing.T) {
	d, f := guarded(t)
	d.until(f, 751*time.Millisecond)
	never[HaltGuests](d, "the lease lasts for a while")
	d.until(f, 750*time.Millisecond)
	if e := take[HaltGuests](d); !slices.Equal(e.VMs, halting) {
		t.Fatalf("halted %v", e.VMs)
	}
	d.until(f, 100*time.Millisecond)
	never[HaltGuests](d, "they were halted already")
	never[ResumeGuests](d, "the lease is not renewed")
	f.lease.Extend(d.at, d.at.Add(4*time.Second))
	d.see(Tick{})
	if e := take[ResumeGuests](d); !slices.Equal(e.VMs, halting) {
		t.Fatalf("resumed %v", e.VMs)
	}
	d.see(Tick{})
	never[ResumeGuests](d, "they go on already")
}

// What was halted and then frozen goes on when it is let go under the next term, and not before.
func TestHaltedGuestsGoOnAfterTheThaw(t *testing.T) {
	d, f := guarded(t)
	d.until(f, 750*time.Millisecond)
	take[HaltGuests](d)
	d.until(f, -2*time.Second)
	if f.phase == termHeld {
		t.Fatal("the lease has not lapsed")
	}
	never[ResumeGuests](d, "the machines are frozen")
	m := d.machine(halting[0])
	m.frozen = true
	f.phase, f.lease = termHeld, datastorehb.InheritedLease(f.own.Number, d.at.Add(4*time.Second), 4*time.Second)
	d.see(Tick{})
	for e, ok := find[ResumeGuests](d); ok; e, ok = find[ResumeGuests](d) {
		if slices.Contains(e.VMs, m.vm) {
			t.Fatal("a frozen guest is told to go on")
		}
	}
	m.busy = true
	d.see(GuardLetWent{Datastore: home, Term: f.own.Number, VMs: []uuid.UUID{m.vm}, Asked: []uuid.UUID{m.vm}})
	if e := take[ResumeGuests](d); !slices.Equal(e.VMs, []uuid.UUID{m.vm}) {
		t.Errorf("resumed %v", e.VMs)
	}
}

// An agent that finds a guest halted by its forerunner has it go on under the lease that
// it takes over.
func TestFoundHaltedGoesOn(t *testing.T) {
	d, _ := guarded(t)
	m := d.machine(uuid.UUID{2}) // it would not halt this one itself
	m.halted = true
	d.see(Tick{})
	if e := take[ResumeGuests](d); !slices.Equal(e.VMs, []uuid.UUID{m.vm}) {
		t.Errorf("resumed %v", e.VMs)
	}
	e := newDesk(t, func(c *Config) {
		c.Found = []FoundMachine{{VM: guest, Generation: 1, Datastore: home, Halted: true}}
		c.Leases = []Inherited{{Datastore: home, Term: 1, Length: 4 * time.Second, Deadline: datastorehb.Instant(104 * time.Second)}}
	})
	if !e.machine(guest).halted {
		t.Error("what the shell has found is not taken over")
	}
}

// A lease in custody does not end, so nothing is halted.
func TestCustodyHaltsNothing(t *testing.T) {
	d, f := guarded(t)
	f.lease = datastorehb.CustodyLease(f.own.Number, 4*time.Second)
	d.wait(10 * time.Second)
	never[HaltGuests](d, "the lease is in custody")
}

// Under storage that is always a little too slow guests are halted with each heartbeat, which is
// not told each time.
func TestHaltIsNotToldOverAndOver(t *testing.T) {
	d, f := guarded(t)
	halts := 0
	for range 20 {
		d.until(f, 500*time.Millisecond)
		take[HaltGuests](d)
		f.lease.Extend(d.at, d.at.Add(4*time.Second))
		d.see(Tick{})
		take[ResumeGuests](d)
		halts += len(d.events("machine-halted"))
	}
	if most := 2 * len(halting); halts == 0 || halts > most {
		t.Errorf("it was told %d times in %v, want at most %d times", halts, 20*3500*time.Millisecond, most)
	}
	d.until(f, -time.Second)
	if f.phase == termHeld || len(d.events("machine-halted")) != len(halting) {
		t.Error("that they were halted is not told though the lease ended")
	}
}
