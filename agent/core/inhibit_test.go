package core

import (
	"strings"
	"testing"
	"time"

	"storebeat/datastorehb"
	"storebeat/poweron"
)

// released lets the machine that is being stopped end, and its release win.
func (d *desk) released(ending Ending) poweron.Generation {
	d.Helper()
	d.see(MachineGone{VM: guest, Generation: 3, Ending: ending})
	claim := take[ClaimGeneration](d)
	d.see(GenerationClaimed{Span: d.span(), Generation: claim.Generation, Outcome: datastorehb.ClaimWon})
	return claim.Generation
}

// events returns the events of a kind that lie on the desk, and takes them off.
func (d *desk) events(kind Kind) (found []Event) {
	var rest []Effect
	for _, e := range d.out {
		if j, ok := e.(Journal); ok && j.Event.Kind == kind {
			found = append(found, j.Event)
		} else {
			rest = append(rest, e)
		}
	}
	d.out = rest
	return found
}

// A host that announces its shutdown waits until the last machine is given up. The
// agent goes on until its service is stopped, and then ends as after any shutdown.
func TestAnnouncedShutdown(t *testing.T) {
	d, _ := runs(t)
	d.see(HostPrepares{Shutdown: true})
	take[StopMachine](d)
	if s := d.heartbeat(); s.Custody != 0 || s.Leave.By != datastorehb.LeftByShutdown {
		t.Fatalf("the slot says: custody of term %d, %s", s.Custody, s.Leave)
	}
	never[LetShutDown](d, "the guest has not stopped")
	if g := d.released(EndedByUs); g.Reason != poweron.HostShutdown {
		t.Fatalf("released as %s", g.Reason)
	}
	take[LetShutDown](d)
	d.wait(time.Minute)
	never[LetShutDown](d, "it was said before")
	never[Left](d, "nobody has stopped the service")
	d.see(bySystemd)
	take[Left](d)
}

// The host has not waited for long enough: the agent is stopped while its machine has
// still time, and goes on with what the announcement had begun.
func TestShutdownGoesOnBeforeMachinesHaveStopped(t *testing.T) {
	d, _ := runs(t)
	d.see(HostPrepares{Shutdown: true})
	take[StopMachine](d)
	d.heartbeat()
	d.see(bySystemd)
	never[Left](d, "the guest has not stopped")
	if s := d.heartbeat(); s.Custody != 0 || s.Leave.By != datastorehb.LeftByShutdown {
		t.Fatalf("the slot says: custody of term %d, %s", s.Custody, s.Leave)
	}
	d.released(EndedByUs)
	take[Left](d)
	never[LetShutDown](d, "the shutdown has gone on already")
}

// Whoever is asked to stop at once does, announced or not.
func TestStopAtOnceDuringAnAnnouncedShutdown(t *testing.T) {
	d, _ := runs(t)
	d.see(HostPrepares{Shutdown: true})
	d.see(Leave{Why: bySystemd.Why, AtOnce: true})
	take[Left](d)
}

// A guest that ends while the host shuts down has not been switched off by its user,
// whatever it looks like.
func TestGuestEndsByItselfDuringShutdown(t *testing.T) {
	d, _ := runs(t)
	m := d.machine(guest)
	d.see(HostPrepares{Shutdown: true})
	m.enter(phaseRun) // it ended before it was asked to
	if g := d.released(EndedByGuest); g.Reason != poweron.HostShutdown {
		t.Fatalf("released as %s", g.Reason)
	}
}

// The shutdown is called off: the agent takes back what its slot says, and starts
// machines again.
func TestShutdownIsCalledOff(t *testing.T) {
	d, _ := runs(t)
	d.see(HostPrepares{Shutdown: true})
	take[StopMachine](d)
	d.heartbeat()
	d.released(EndedByUs)
	take[LetShutDown](d)
	d.see(Received{From: 2, Message: Message{Kind: StartOrder, Datastore: home, VM: guest, Order: 9}})
	if answer := take[Send](d); answer.Message.OK {
		t.Fatalf("answered %+v", answer)
	}
	d.see(HostPrepares{Shutdown: false})
	d.heartbeat() // one that was under way still says so
	if s := d.heartbeat(); s.Leave != (datastorehb.Leave{}) {
		t.Fatalf("the slot says %+v", s.Leave)
	}
	if n := len(d.events("host-stays")); n != 1 {
		t.Fatalf("%d events", n)
	}
	d.see(Received{From: 2, Message: Message{Kind: StartOrder, Datastore: home, VM: guest, Order: 10}})
	if m := d.machine(guest); m == nil {
		t.Fatal("it takes no orders any more")
	}
	d.see(HostPrepares{Shutdown: false})
	if n := len(d.events("host-stays")); n != 0 {
		t.Fatal("a shutdown is called off that nobody has announced")
	}
}

// An orderly stop that has begun goes on when a shutdown is announced or called off.
func TestAnnouncementDuringAStop(t *testing.T) {
	d, _ := runs(t)
	d.see(bySystemd)
	for _, shutdown := range []bool{true, false} {
		d.see(HostPrepares{Shutdown: shutdown})
		never[StopMachine](d, "the machine goes into custody")
		if d.leaving == nil {
			t.Fatal("the stop was forgotten")
		}
	}
}

// The host is kept awake while a machine's process is there.
func TestKeptAwake(t *testing.T) {
	d := newDesk(t, nil)
	d.wait(time.Second)
	never[KeepAwake](d, "no machine is there")
	d, _ = inherit(t)
	if !take[KeepAwake](d).On {
		t.Fatal("a machine is there")
	}
	d.see(MachineRead{Span: d.span(), VM: guest, Purpose: ForThaw, Machine: generation(3, 1, 6, writer(1))})
	d.see(HostPrepares{Shutdown: true})
	d.released(EndedByUs)
	if take[KeepAwake](d).On {
		t.Fatal("no machine is there any more")
	}
}

// What the login manager does not grant for a while is said once, with its reason, and
// again only when it has been granted meanwhile.
func TestInhibitionIsJournalledOnce(t *testing.T) {
	d, _ := runs(t)
	granted := HostInhibited{Delays: true, Blocks: true, Longest: 5 * time.Minute}
	for _, step := range []struct {
		see           HostInhibited
		lasts         time.Duration
		missing, back int
	}{
		{granted, missingFor, 0, 0},
		{HostInhibited{Why: "it is upgraded"}, missingFor - time.Second, 0, 0},
		{granted, missingFor, 0, 0},
		{HostInhibited{Why: "no bus"}, missingFor - time.Second, 0, 0},
		{HostInhibited{Why: "no login manager"}, 2 * time.Second, 1, 0},
		{HostInhibited{Why: "no bus"}, missingFor, 0, 0},
		{granted, 0, 0, 1},
		{granted, missingFor, 0, 0},
		{HostInhibited{Delays: true, Longest: granted.Longest, Why: "no lock against sleep"}, missingFor, 1, 0},
	} {
		d.see(step.see)
		d.wait(step.lasts)
		missing, back := d.events("host-not-inhibited"), d.events("host-inhibited")
		if len(missing) != step.missing || len(back) != step.back {
			t.Errorf("%+v: %d events that it is missing, %d that it is back", step.see, len(missing), len(back))
		}
		v := d.View(d.at)
		if v.Inhibited == nil || *v.Inhibited != step.see || v.Hosts[0].Uninhibited == step.see.Delays {
			t.Errorf("%+v: shown as %+v, host 1 uninhibited: %t", step.see, v.Inhibited, v.Hosts[0].Uninhibited)
		}
	}
}

// A machine that may take longer than the login manager waits is named, with the
// remedy; once, until one of the two changes.
func TestDelayTooShort(t *testing.T) {
	d, _ := runs(t)
	m := d.machine(guest)
	tell := func(longest time.Duration) []Event {
		d.see(HostInhibited{Delays: true, Blocks: true, Longest: longest})
		return d.events("shutdown-delay-short")
	}
	if told := tell(m.entry.Policy.StopTime); len(told) != 0 {
		t.Fatalf("it is long enough: %v", told)
	}
	told := tell(5 * time.Second)
	if len(told) != 1 || !strings.Contains(told[0].Text, "guest") || !strings.Contains(told[0].Evidence[0], "InhibitDelayMaxSec=90") {
		t.Fatalf("told: %v", told)
	}
	d.wait(time.Minute)
	if told := tell(5 * time.Second); len(told) != 0 {
		t.Fatalf("told again: %v", told)
	}
	m.entry.Policy.StopTime = 2500 * time.Millisecond
	d.wait(time.Second)
	m.entry.Policy.StopTime = 5500 * time.Millisecond
	d.wait(time.Second)
	if told := d.events("shutdown-delay-short"); len(told) != 1 || !strings.Contains(told[0].Evidence[0], "InhibitDelayMaxSec=6") {
		t.Fatalf("told: %v", told)
	}
}
