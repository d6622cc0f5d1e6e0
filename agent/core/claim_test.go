package core

import (
	"testing"

	"storebeat/datastorehb"
	"storebeat/poweron"
)

// ordered is a desk whose catalogue knows the machine, lost by host 2 under term
// 4, which is closed since; a master orders its start.
func ordered(t *testing.T) *desk {
	d := newDesk(t, nil)
	f := d.stand()
	f.learn(guest, generation(3, 2, 4, writer(2)), d.at, true)
	f.learn(guest, MachineState{EntryState: datastorehb.Valid, Entry: wanted, Revision: 1}, d.at, false)
	w, _ := f.watches.begin(2, 0)
	w.LearnTerm(datastorehb.Term{Host: 2, Number: 5, First: 5, Closed: true, Timing: timing}, d.at)
	d.out = nil
	d.see(Received{From: 3, Message: Message{Kind: StartOrder, Datastore: home, VM: guest, Order: 1}})
	return d
}

// A takeover reads the one record that its claim comes after, and no list.
func TestTakeoverReadsOneRecord(t *testing.T) {
	d := ordered(t)
	read := take[ReadMachine](d)
	if read.Purpose != ForClaim || read.Number != 3 {
		t.Fatalf("%+v, want generation 3 alone", read)
	}
	d.see(MachineRead{Span: d.span(), VM: guest, Purpose: ForClaim, Machine: generation(3, 2, 4, writer(2))})
	claim := take[ClaimGeneration](d).Generation
	if claim.Number != 4 || claim.Owner != 1 || claim.Kind != poweron.Run {
		t.Fatalf("claims %+v", claim)
	}
	d.see(GenerationClaimed{Span: d.span(), Generation: claim, Outcome: datastorehb.ClaimWon})
	never[StartMachine](d, "the list is not written and the entry not looked at again")
}

// A record that is gone was followed by others: everything is read.
func TestRemovedRecordIsNoGround(t *testing.T) {
	d := ordered(t)
	take[ReadMachine](d)
	d.see(MachineRead{Span: d.span(), VM: guest, Purpose: ForClaim, Machine: MachineState{GenerationState: datastorehb.Absent}})
	if read := take[ReadMachine](d); read.Purpose != ForStart {
		t.Fatalf("%+v, want everything", read)
	}
	never[ClaimGeneration](d, "nothing is known of the newest generation")
	if d.footing(home).distrusted {
		t.Error("a removed value was taken for a rollback")
	}
}

// After a claim of unknown outcome the catalogue is no ground: the own attempt may have won.
func TestUnknownClaimIsReadInFull(t *testing.T) {
	d := ordered(t)
	take[ReadMachine](d)
	d.see(MachineRead{Span: d.span(), VM: guest, Purpose: ForClaim, Machine: generation(3, 2, 4, writer(2))})
	claim := take[ClaimGeneration](d).Generation
	d.see(GenerationClaimed{Span: d.span(), Generation: claim, Outcome: datastorehb.ClaimFailed})
	d.wait(timing.Interval)
	if read := take[ReadMachine](d); read.Purpose != ForStart {
		t.Fatalf("%+v, want everything", read)
	}
}

// What its holder says of its own claim need not be read; what somebody else says
// of it has to be.
func TestToldGenerations(t *testing.T) {
	told := generation(4, 3, 9, writer(3)).Generation
	for name, test := range map[string]struct {
		from datastorehb.HostID
		read bool
	}{"its holder": {3, false}, "another host": {2, true}} {
		d := ordered(t)
		d.out = nil
		d.see(Received{From: test.from, Message: Message{Kind: MachineChanged, Datastore: home, VM: guest, Claimed: &told}})
		read, asked := find[ReadMachine](d)
		if asked != test.read || asked && read.Purpose != ForCatalogue {
			t.Errorf("told by %s: read %t, %+v", name, asked, read)
		}
		if known := d.footing(home).info(guest).Generation.Number; known != map[bool]uint64{true: 3, false: 4}[test.read] {
			t.Errorf("told by %s: generation %d is known", name, known)
		}
	}
}

// A claim that follows from a catalogue which was behind is no failure of the
// machine: everything is read, and the next generation claimed if that is a right.
func TestLostClaimIsReadInFull(t *testing.T) {
	d := ordered(t)
	take[ReadMachine](d)
	d.see(MachineRead{Span: d.span(), VM: guest, Purpose: ForClaim, Machine: generation(3, 2, 4, writer(2))})
	claim := take[ClaimGeneration](d).Generation
	d.see(GenerationClaimed{Span: d.span(), Generation: claim, Outcome: datastorehb.ClaimLost})
	if read := take[ReadMachine](d); read.Purpose != ForStart {
		t.Fatalf("%+v, want everything", read)
	}
	never[Send](d, "the master is told of a failure")
	released := generation(5, 3, 9, writer(3))
	released.Generation.Kind, released.Generation.Reason = poweron.Released, poweron.StartFailed
	released.EntryState, released.Entry, released.Revision = datastorehb.Valid, wanted, 1
	d.see(MachineRead{Span: d.span(), VM: guest, Purpose: ForStart, Machine: released})
	claim = take[ClaimGeneration](d).Generation
	if claim.Number != 6 {
		t.Fatalf("claims %+v, want generation 6", claim)
	}
	d.see(GenerationClaimed{Span: d.span(), Generation: claim, Outcome: datastorehb.ClaimLost})
	if ended := take[Send](d); ended.Message.Kind != OrderEnded || ended.Message.OK {
		t.Errorf("%+v, want the end of the order: it has lost twice", ended)
	}
}

// A master that has not heard how a machine ended may order a start that nobody wants.
// It is given back before anything is claimed.
func TestOrderOfAMasterThatKnowsLess(t *testing.T) {
	keep := func(s *MachineState) { s.Entry.Policy.OnHostShutdown = poweron.LeaveOff }
	for name, test := range map[string]struct {
		reason poweron.ReleaseReason
		change func(*MachineState)
		known  uint64 // to the master
		refuse bool
	}{
		"shut down by its guest": {poweron.GuestShutDown, nil, 3, true},
		"held":                   {poweron.Held, nil, 3, true},
		"handed over":            {poweron.HandedOver, nil, 3, false},
		"its host was shut down": {poweron.HostShutdown, nil, 3, false},
		"kept for its host":      {poweron.HostShutdown, keep, 3, true},
		"kept for its host, which the master knew": {poweron.HostShutdown, keep, 4, false},
	} {
		d := ordered(t)
		m := d.machine(guest)
		m.anew, m.known = true, test.known
		m.enter(phaseRead)
		d.wait(timing.Interval / 10)
		s := generation(4, 2, 0, writer(2))
		s.Generation.Kind, s.Generation.Reason = poweron.Released, test.reason
		if test.change != nil {
			test.change(&s)
		}
		d.see(MachineRead{Span: d.span(), VM: guest, Purpose: ForStart, Machine: s})
		_, claims := find[ClaimGeneration](d)
		answer, ended := find[Send](d)
		if claims == test.refuse || ended != test.refuse || ended && answer.Message.OK || (d.machine(guest) == nil) != test.refuse {
			t.Errorf("%s: claimed %t, answered %t %+v", name, claims, ended, answer.Message)
		}
	}
}
