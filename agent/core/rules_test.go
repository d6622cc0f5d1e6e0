package core

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"storebeat/datastorehb"
	"storebeat/poweron"
)

// A catalogue that was read while a claim was under way may lack it: that is no
// older state of the datastore (R14).
func TestReadBesideAClaimIsNoRollback(t *testing.T) {
	d := newDesk(t, nil)
	f := d.stand()
	d.see(Received{From: 2, Message: Message{Kind: StartOrder, Datastore: home, VM: guest, Order: 1}})
	d.see(MachineRead{Span: d.span(), VM: guest, Purpose: ForStart, Machine: generation(3, 1, 1, writer(1))})
	claim, claimed := take[ClaimGeneration](d), d.span()
	d.wait(100 * time.Millisecond)
	catalogue := d.span()
	d.wait(100 * time.Millisecond)
	claimed.Returned = d.at
	d.see(GenerationClaimed{Span: claimed, Generation: claim.Generation, Outcome: datastorehb.ClaimWon})
	catalogue.Returned = d.at
	d.see(CatalogueRead{Span: catalogue, Machines: map[uuid.UUID]MachineState{guest: generation(3, 1, 1, writer(1))}})
	if f.distrusted {
		t.Fatal("a read that was issued before the claim had returned counts as an older state of the datastore")
	}
	d.see(MachineRead{Span: d.span(), VM: guest, Purpose: ForCatalogue, Machine: generation(3, 2, 1, writer(2))})
	if !f.distrusted {
		t.Fatal("a generation lower than known is not noticed")
	}
}

// A register of terms that is empty though it was not is an older state too (R14).
func TestEmptiedRegisterIsARollback(t *testing.T) {
	d := newDesk(t, nil)
	f := d.stand()
	term := datastorehb.Term{Host: 2, Number: 3, First: 3, Timing: timing}
	d.see(TermsRead{Span: d.span(), Host: 2, State: datastorehb.Valid, Term: term, Writer: writer(2)})
	d.see(TermsRead{Span: d.span(), Host: 2, State: datastorehb.Absent})
	if !f.distrusted {
		t.Fatal("the terms of a host have vanished and nobody noticed")
	}
}

// What is not trusted gives no right to run: machines are frozen at once, and a
// term that is won after all has no lease (R14).
func TestDistrustEndsTheLease(t *testing.T) {
	d := newDesk(t, nil)
	f := d.stand()
	d.see(DatastoreState{Datastore: home, Replaced: true, Why: "another one"})
	take[FreezeMachines](d)
	if f.held(d.at) {
		t.Fatal("the lease goes on")
	}

	d = newDesk(t, nil)
	f = d.reach()
	take[ReadTerms](d)
	d.see(TermsRead{Span: d.span(), Host: 1, State: datastorehb.Absent})
	d.see(DatastoreState{Datastore: home, Replaced: true, Why: "another one"})
	d.win()
	if f.held(d.at) {
		t.Fatal("a claim that was under way brought a lease on a datastore that is not trusted")
	}
}

// A heartbeat is no proof of life while it is open which datastore took it (R14).
func TestHeartbeatWithoutIdentityIsNoProof(t *testing.T) {
	d := newDesk(t, nil)
	f := d.stand()
	d.wait(time.Second)
	deadline := f.lease.Deadline()
	d.see(DatastoreState{Datastore: home, Why: "the path can't be looked at"})
	d.beat()
	if f.lease.Deadline() != deadline {
		t.Fatal("the lease was carried on")
	}
	d.see(DatastoreState{Datastore: home, Available: true})
	d.wait(time.Second)
	d.beat()
	if f.lease.Deadline() <= deadline || !f.held(d.at) {
		t.Fatal("the lease was not carried on after the datastore was found to be the same")
	}
}

// Own terms that can't be read are read again, and not without end at once.
func TestFailingReadOfOwnTermsIsPaced(t *testing.T) {
	d := newDesk(t, nil)
	d.reach()
	take[ReadTerms](d)
	failed := TermsRead{Span: d.span(), Host: 1}
	failed.Err = "input/output error"
	d.see(failed)
	never[ReadTerms](d, "the last one has just failed")
	d.wait(time.Second)
	take[ReadTerms](d)
}

// inherit is a desk whose forerunner left the machine running under term 7.
func inherit(t *testing.T) (*desk, *footing) {
	t.Helper()
	at := datastorehb.Instant(100 * time.Second)
	d := newDesk(t, func(c *Config) {
		c.Leases = []Inherited{{Datastore: home, Term: 7, Length: timing.Lease, Deadline: at.Add(timing.Lease)}}
		c.Found = []FoundMachine{{VM: guest, Generation: 3, Datastore: home}}
	})
	f := d.reach()
	forerunner := writer(1)
	forerunner.Incarnation = 99
	take[ReadTerms](d)
	d.see(TermsRead{Span: d.span(), Host: 1, State: datastorehb.Valid, Writer: forerunner, Term: datastorehb.Term{Host: 1, Number: 7, First: 5, Timing: timing}})
	if !f.held(d.at) {
		t.Fatal("the inherited term is not held")
	}
	take[ReadMachine](d)
	return d, f
}

// A machine that the forerunner had claimed anew runs under a later generation
// than its process shows. A restart of the agent leaves it alone (I6).
func TestAdoptsAReclaimedMachine(t *testing.T) {
	d, _ := inherit(t)
	forerunner := writer(1)
	forerunner.Incarnation = 99
	d.see(MachineRead{Span: d.span(), VM: guest, Purpose: ForThaw, Machine: generation(5, 1, 6, forerunner)})
	never[PutDown](d, "the forerunner had claimed generation 5 for this process")
	if m := d.machine(guest); m.phase != phaseRun || m.gen.Number != 5 {
		t.Fatalf("the machine is %v under generation %d", m.phase, m.gen.Number)
	}
}

// The same generation by another boot, or by another host, is somebody else's.
func TestDoesNotAdoptWhatIsTaken(t *testing.T) {
	rebooted := writer(1)
	rebooted.Boot = uuid.UUID{9}
	for name, s := range map[string]MachineState{"another host": generation(5, 2, 1, writer(2)), "another boot": generation(5, 1, 6, rebooted)} {
		d, _ := inherit(t)
		d.see(MachineRead{Span: d.span(), VM: guest, Purpose: ForThaw, Machine: s})
		if _, ok := find[PutDown](d); !ok {
			t.Errorf("%s holds the newest generation, and the process goes on", name)
		}
	}
}

// frozenHere is a desk with a machine found frozen, for which the next
// generation is being claimed.
func frozenHere(t *testing.T) *desk {
	d := newDesk(t, func(c *Config) {
		c.Found = []FoundMachine{{VM: guest, Generation: 3, Datastore: home, Frozen: true}}
	})
	d.see(GuardFrozen{Datastore: home})
	d.stand()
	read := take[ReadMachine](d)
	if read.Purpose != ForThaw {
		t.Fatalf("the machine is read for %d", read.Purpose)
	}
	return d
}

// A claim for a process that is here may be lost to an earlier attempt of our
// own that landed late. The register tells; the process is not ended before.
func TestLostReclaimIsLookedUp(t *testing.T) {
	for _, taken := range []bool{false, true} {
		d := frozenHere(t)
		d.see(MachineRead{Span: d.span(), VM: guest, Purpose: ForThaw, Machine: generation(3, 1, 0, writer(1))})
		claim := take[ClaimGeneration](d)
		if claim.Generation.Number != 4 {
			t.Fatalf("generation %d is claimed", claim.Generation.Number)
		}
		d.see(GenerationClaimed{Span: d.span(), Generation: claim.Generation, Outcome: datastorehb.ClaimLost})
		never[PutDown](d, "nobody has looked who holds it")
		take[ReadMachine](d)
		if taken {
			d.see(MachineRead{Span: d.span(), VM: guest, Purpose: ForThaw, Machine: generation(4, 2, 1, writer(2))})
			take[PutDown](d)
			continue
		}
		d.see(MachineRead{Span: d.span(), VM: guest, Purpose: ForThaw, Machine: generation(4, 1, 1, writer(1))})
		if again := take[ClaimGeneration](d); again.Generation.Number != 5 {
			t.Fatalf("generation %d is claimed", again.Generation.Number)
		}
	}
}

// start brings the machine to the creation of its process under generation 1.
func (d *desk) start() StartMachine {
	d.Helper()
	d.see(Received{From: 2, Message: Message{Kind: StartOrder, Datastore: home, VM: guest, Order: 1}})
	take[ReadMachine](d)
	s := generation(0, 0, 0, datastorehb.Writer{})
	s.GenerationState, s.Generation = datastorehb.Absent, poweron.Generation{}
	d.see(MachineRead{Span: d.span(), VM: guest, Purpose: ForStart, Machine: s})
	claim := take[ClaimGeneration](d)
	d.see(GenerationClaimed{Span: d.span(), Generation: claim.Generation, Outcome: datastorehb.ClaimWon})
	list := take[PublishList](d)
	never[ReadMachine](d, "the list is not written yet (R10)")
	d.see(ListWritten{Span: d.span(), Revision: list.List.Revision})
	d.see(MachineRead{Span: d.span(), VM: guest, Purpose: ForRecheck, Machine: s})
	return take[StartMachine](d)
}

// The end of an earlier process may be reported late, and twice. It is not that
// of the process which is being created.
func TestLateEndOfAnEarlierProcess(t *testing.T) {
	d := newDesk(t, nil)
	d.stand()
	e := d.start()
	d.see(MachineGone{VM: guest, Generation: e.Generation + 7, Ending: EndedByUs})
	never[ClaimGeneration](d, "it is not this process that has ended")
	d.see(MachineStarted{VM: guest, Generation: e.Generation})
	if let := take[GuardLetGo](d); let.Term != 1 {
		t.Fatalf("let go under term %d", let.Term)
	}
}

// A start for which nothing has been claimed is given up after a while, so that
// others can be asked.
func TestStartThatDoesNotBeginIsGivenUp(t *testing.T) {
	d := newDesk(t, nil)
	d.see(Received{From: 2, Message: Message{Kind: StartOrder, Datastore: home, VM: guest, Order: 5}})
	d.wait(d.orderTime() + time.Second)
	if d.machine(guest) != nil {
		t.Fatal("the host waits for a term for ever")
	}
	sent := take[Send](d)
	if sent.Message.Kind != OrderEnded || sent.Message.Order != 5 || sent.Message.OK {
		t.Fatalf("the master is told %+v", sent.Message)
	}
}

// What a machine's generation says has not been read yet when it ends: it may have been
// claimed anew since, or be shared with another host (R15). So it is read first; how the
// machine ended is not forgotten over that.
func TestEndBeforeItsGenerationIsKnown(t *testing.T) {
	d := frozenHere(t)
	find[ReadCatalogue](d)
	d.see(CatalogueRead{Span: d.span()})
	d.see(MachineGone{VM: guest, Generation: 3, Ending: EndedByCrash})
	never[ClaimGeneration](d, "nothing of it has been read")
	take[ReadCatalogue](d)
	d.see(CatalogueRead{Span: d.span(), Machines: map[uuid.UUID]MachineState{guest: generation(3, 1, 1, writer(1))}})
	if m := d.machine(guest); m == nil || m.phase != phaseSpot || m.failures != 1 {
		t.Fatalf("the machine is %+v", m)
	}
}

// The own terms may be read for a machine's sake, with the host in the midst of its
// term. That is no reason to claim the next one while machines run under it (R5).
func TestOwnTermsReadUnderATerm(t *testing.T) {
	d := newDesk(t, nil)
	f := d.stand()
	d.see(TermsRead{Span: d.span(), Host: 1, State: datastorehb.Valid, Writer: writer(1), Term: f.own})
	d.wait(3 * time.Second)
	never[ClaimTerm](d, "the term is held")
	if f.phase != termHeld {
		t.Fatalf("the term is %v", f.phase)
	}
}

// A host that writes no heartbeats on a datastore finds out by its reads that it has lost it, before
// a master gives it a machine from there (I3).
func TestHungReadIsLostAccess(t *testing.T) {
	d := newDesk(t, nil)
	d.see(DatastoreState{Datastore: home, Available: true})
	take[ReadRegion](d)
	f := d.footing(home)
	d.wait(timing.Lease/2 - 200*time.Millisecond)
	if !d.accessible(f) {
		t.Fatal("a read that is merely slow is no loss")
	}
	d.wait(300 * time.Millisecond)
	if d.accessible(f) {
		t.Fatal("a read has been under way for half a lease")
	}
	d.see(d.region(datastorehb.SlotReading{State: datastorehb.Absent}))
	if !d.accessible(f) {
		t.Fatal("the read has returned")
	}
}
