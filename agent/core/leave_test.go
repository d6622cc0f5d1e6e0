package core

import (
	"strings"
	"testing"
	"time"

	"storebeat/datastorehb"
	"storebeat/poweron"
)

// bySystemd is an orderly stop as the shell asks for it.
var bySystemd = Leave{Why: datastorehb.Leave{By: datastorehb.LeftBySystemd, Wall: 1}}

// runs returns a host that runs one machine on its datastore, and forgets how it got there.
func runs(t *testing.T) (*desk, *footing) {
	t.Helper()
	d, f := inherit(t)
	s := generation(3, 1, 6, writer(1))
	d.see(MachineRead{Span: d.span(), VM: guest, Purpose: ForThaw, Machine: s})
	for {
		if _, ok := find[WriteSlot](d); !ok {
			break
		}
		d.see(SlotWritten{Span: d.span(), Sequence: f.sequence})
	}
	d.out = nil
	return d, f
}

// heartbeat completes the write under way, or the next one, and returns it.
func (d *desk) heartbeat() datastorehb.Slot {
	d.Helper()
	w, ok := find[WriteSlot](d)
	for i := 0; !ok && i < 20; i++ {
		d.wait(100 * time.Millisecond)
		w, ok = find[WriteSlot](d)
	}
	if !ok {
		d.Fatal("no heartbeat is written")
	}
	d.see(SlotWritten{Span: Span{Datastore: home, Issued: d.at, Returned: d.at}, Sequence: w.Slot.Sequence})
	return w.Slot
}

// Both copies in the slot say that the term is in custody before the guard hears of
// it, and the agent ends only when the guard has said yes.
func TestCustodyBegins(t *testing.T) {
	d, _ := runs(t)
	d.see(bySystemd)
	for range custodyMarks {
		never[GuardCustody](d, "not both copies of the slot say so yet")
		if s := d.heartbeat(); s.Custody != 7 || s.Leave != bySystemd.Why {
			t.Fatalf("the slot says: custody of term %d, %s", s.Custody, s.Leave)
		}
	}
	ask := take[GuardCustody](d)
	if !ask.Begin || ask.Term != 7 {
		t.Fatalf("the guard is asked for %+v", ask)
	}
	never[Left](d, "the guard has not answered")
	d.see(GuardCustodyDone{Datastore: home, Term: 7, Begun: true})
	take[Left](d)
	d.out = nil
	d.wait(time.Minute)
	if len(d.out) > 0 {
		t.Fatalf("an agent that has ended does %+v", d.out)
	}
}

// A custody write that completes after the lease has run out counts for nothing (trace 10).
func TestCustodyWriteAfterTheLease(t *testing.T) {
	d, f := runs(t)
	deadline := f.lease.Deadline()
	d.see(bySystemd)
	w := take[WriteSlot](d)
	issued := d.at
	d.at = deadline
	d.see(SlotWritten{Span: Span{Datastore: home, Issued: issued, Returned: d.at}, Sequence: w.Slot.Sequence})
	if s := d.heartbeat(); s.Custody != 0 {
		t.Fatalf("the slot says that term %d is in custody, without a lease", s.Custody)
	}
	never[GuardCustody](d, "the lease has run out")
	take[Left](d)
}

// The successor goes on saying that the term is in custody until the guard has
// ended it, and only then writes a slot that does not (trace 9).
func TestCustodyEndsAtTheGuardFirst(t *testing.T) {
	d := newDesk(t, func(c *Config) {
		c.Leases = []Inherited{{Datastore: home, Term: 7, Length: timing.Lease, Deadline: 1, Custody: true}}
		c.Found = []FoundMachine{{VM: guest, Generation: 3, Datastore: home}}
	})
	f := d.reach()
	forerunner := writer(1)
	forerunner.Incarnation = 99
	if s := d.heartbeat(); s.Custody != 7 {
		t.Fatal("the first write takes back what the guard still goes by")
	}
	never[GuardCustody](d, "it is not known whose the newest term is")
	take[ReadTerms](d)
	d.see(TermsRead{Span: d.span(), Host: 1, State: datastorehb.Valid, Writer: forerunner, Term: datastorehb.Term{Host: 1, Number: 7, First: 5, Timing: timing}})
	if ask := take[GuardCustody](d); ask.Begin || ask.Term != 7 {
		t.Fatalf("the guard is asked for %+v", ask)
	}
	if s := d.heartbeat(); s.Custody != 7 {
		t.Fatal("the slot is ahead of the guard")
	}
	deadline := d.at.Add(timing.Lease)
	d.see(GuardCustodyDone{Datastore: home, Term: 7, Deadline: deadline})
	if f.lease.InCustody() || f.lease.Deadline() != deadline {
		t.Fatalf("the lease runs until %v, custody %t", f.lease.Deadline(), f.lease.InCustody())
	}
	if s := d.heartbeat(); s.Custody != 0 {
		t.Fatal("custody goes on in the slot")
	}
}

// Custody does not outlive its term: somebody has closed it meanwhile.
func TestCustodyOfATermThatWasClosed(t *testing.T) {
	d := newDesk(t, func(c *Config) {
		c.Leases = []Inherited{{Datastore: home, Term: 7, Length: timing.Lease, Custody: true}}
		c.Found = []FoundMachine{{VM: guest, Generation: 3, Datastore: home}}
	})
	f := d.reach()
	take[ReadTerms](d)
	d.see(TermsRead{Span: d.span(), Host: 1, State: datastorehb.Valid, Writer: writer(2), Term: datastorehb.Term{Host: 1, Number: 8, First: 8, Closed: true}})
	take[FreezeMachines](d)
	never[GuardCustody](d, "there is nothing to end: the machines are frozen")
	if f.held(d.at) || f.custody.term != 0 {
		t.Fatal("the lease goes on")
	}
}

// A guard that refuses, being of an earlier version, leaves everything as it was:
// the slot takes back what it said, and no machine is frozen for it.
func TestGuardRefusesCustody(t *testing.T) {
	d, f := runs(t)
	d.see(bySystemd)
	d.heartbeat()
	d.heartbeat()
	take[GuardCustody](d)
	d.see(GuardCustodyDone{Datastore: home, Term: 7, Begun: true, Refused: "it is of an earlier version"})
	if s := d.heartbeat(); s.Custody != 0 || !f.held(d.at) {
		t.Fatalf("the slot says that term %d is in custody; held: %t", s.Custody, f.held(d.at))
	}
	take[Left](d)
}

// An agent that is asked to stop only if it can leave everything in custody goes on
// when it can't, and takes back what it has said.
func TestStopIsGivenUp(t *testing.T) {
	d, f := runs(t)
	o := bySystemd
	o.Command, o.OrStay = 5, true
	d.see(o)
	d.heartbeat()
	d.see(GuardRefused{Datastore: home, Term: 7, Why: "the lease ran out"})
	d.heartbeat()
	never[Reply](d, "the slot says still that the machines are in custody")
	d.heartbeat()
	r := take[Reply](d)
	if r.Command != 5 || !strings.Contains(r.Err, "ds1") || !strings.Contains(r.Err, "--now") {
		t.Fatalf("answered %+v", r)
	}
	never[Left](d, "it was to stay")
	if s := d.heartbeat(); s.Leave != (datastorehb.Leave{}) || s.Custody != 0 || f.distrusted {
		t.Fatalf("the slot says %+v", s)
	}
}

// Whoever asks twice does not want to wait.
func TestSecondStopEndsAtOnce(t *testing.T) {
	d, _ := runs(t)
	d.see(bySystemd)
	never[Left](d, "nothing is in custody yet")
	d.see(bySystemd)
	take[Left](d)
}

// A host that shuts down leaves nothing in custody: machines are stopped in their own
// time and released, and only then the agent ends.
func TestHostShutdownGivesUp(t *testing.T) {
	d, _ := runs(t)
	o := bySystemd
	o.Why.By = datastorehb.LeftByShutdown
	d.see(o)
	stop := take[StopMachine](d)
	if stop.VM != guest || stop.Graceful != wanted.Policy.StopTime {
		t.Fatalf("stopped as %+v", stop)
	}
	if s := d.heartbeat(); s.Custody != 0 || s.Leave.By != datastorehb.LeftByShutdown {
		t.Fatalf("the slot says: custody of term %d, %s", s.Custody, s.Leave)
	}
	never[Left](d, "the guest has not stopped")
	d.see(MachineGone{VM: guest, Generation: 3, Ending: EndedByUs})
	claim := take[ClaimGeneration](d)
	if g := claim.Generation; g.Kind != poweron.Released || g.Reason != poweron.HostShutdown || g.Number != 4 {
		t.Fatalf("claims %+v", g)
	}
	never[Left](d, "the machine is not released")
	d.see(GenerationClaimed{Span: d.span(), Generation: claim.Generation, Outcome: datastorehb.ClaimWon})
	take[Left](d)
}

// While it stops, the agent starts nothing and says so to the master.
func TestNoStartWhileStopping(t *testing.T) {
	d := newDesk(t, nil)
	d.stand()
	d.see(Leave{Why: bySystemd.Why})
	d.see(Received{From: 2, Message: Message{Kind: StartOrder, Datastore: home, VM: guest, Order: 9}})
	if answer := take[Send](d); answer.Message.Kind != OrderEnded || answer.Message.OK || answer.Message.Order != 9 {
		t.Fatalf("answered %+v", answer)
	}
}
