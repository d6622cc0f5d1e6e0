package core

import (
	"strings"
	"testing"
	"time"

	"storebeat/datastorehb"
	"storebeat/poweron"
)

// asked brings a host that runs a machine to claim it as shared, for a hypervisor that
// moves it to host 2.
func asked(t *testing.T) (*desk, poweron.Generation) {
	t.Helper()
	d, _ := runs(t)
	d.cfg.Levels.Lowest = poweron.SharedLevel
	d.see(Received{From: 2, Message: Message{Kind: MigrationAsk, Datastore: home, VM: guest, Receiver: &poweron.Party{Writer: writer(2), Term: 1}}})
	share := take[ClaimGeneration](d).Generation
	if !share.Shared() || share.Number != 4 {
		t.Fatalf("claimed %+v", share)
	}
	return d, share
}

// A guest that was halted before its lease ends is not given to another host, where nobody
// would have it go on.
func TestHaltedGuestIsNotShared(t *testing.T) {
	d, _ := runs(t)
	d.cfg.Levels.Lowest = poweron.SharedLevel
	d.machine(guest).halted = true
	if why := d.unshareable(d.machine(guest), poweron.Party{Writer: writer(2), Term: 1}); !strings.Contains(why, "halted") {
		t.Errorf("it is shared (%q)", why)
	}
}

// readAs lets the machine be read, with a generation that host 1 has claimed as the newest.
func (d *desk) readAs(g poweron.Generation) {
	d.Helper()
	read := take[ReadMachine](d)
	for read.Purpose != ForRelease {
		read = take[ReadMachine](d)
	}
	d.see(MachineRead{Span: d.span(), VM: guest, Purpose: ForRelease, Machine: MachineState{EntryState: datastorehb.Valid, Entry: wanted, Revision: 1,
		GenerationState: datastorehb.Valid, Generation: g, GenerationBy: writer(1)}})
}

// A machine whose guest switches itself off while the claim is under way by which it is shared
// is left to the other host with that reason, or that host would start it again.
func TestGuestEndsWhileItIsBeingShared(t *testing.T) {
	d, share := asked(t)
	d.see(MachineGone{VM: guest, Generation: 3, Ending: EndedByGuest, Detail: "the guest switched itself off"})
	release := take[ClaimGeneration](d).Generation
	d.see(GenerationClaimed{Span: d.span(), Generation: share, Outcome: datastorehb.ClaimWon})
	d.see(GenerationClaimed{Span: d.span(), Generation: release, Outcome: datastorehb.ClaimLost})
	d.readAs(share)
	if left := take[ClaimGeneration](d).Generation; left.Number != 5 || !left.Left() || left.Owner != 2 || left.Reason != poweron.GuestShutDown {
		t.Errorf("claimed %+v, want the machine left to host 2, since its guest switched itself off", left)
	}
}

// What is claimed for a process that is here, and what is claimed once that has ended, may have
// the same number: the result of the one is not taken for the other's.
func TestReclaimIsNotTakenForTheLeave(t *testing.T) {
	d := frozenHere(t)
	s := generation(3, 1, 1, writer(1))
	s.Generation = poweron.Share(s.Generation, writer(1), 1, poweron.Party{Writer: writer(2), Term: 1})
	s.Generation.Number = 3
	d.see(MachineRead{Span: d.span(), VM: guest, Purpose: ForThaw, Machine: s})
	again := take[ClaimGeneration](d).Generation
	if !again.Shared() || again.Number != 4 {
		t.Fatalf("claimed %+v", again)
	}
	d.see(MachineGone{VM: guest, Generation: 3, Ending: EndedByUser, Detail: "destroyed"})
	leave := take[ClaimGeneration](d).Generation
	if !leave.Left() || leave.Number != 4 || leave.Reason != poweron.Held {
		t.Fatalf("claimed %+v", leave)
	}
	d.see(GenerationClaimed{Span: d.span(), Generation: again, Outcome: datastorehb.ClaimWon})
	if m := d.machine(guest); m == nil {
		t.Fatal("the machine counts as left, though it is shared again")
	}
	d.see(GenerationClaimed{Span: d.span(), Generation: leave, Outcome: datastorehb.ClaimLost})
	d.readAs(again)
	if left := take[ClaimGeneration](d).Generation; left.Number != 5 || !left.Left() || left.Owner != 2 || left.Reason != poweron.Held {
		t.Errorf("claimed %+v, want the machine left to host 2 as held", left)
	}
}

// A claim that somebody else has won ends the matter.
func TestReleaseLostToAnotherHost(t *testing.T) {
	d, _ := runs(t)
	d.see(MachineGone{VM: guest, Generation: 3, Ending: EndedByUser})
	release := take[ClaimGeneration](d).Generation
	d.see(GenerationClaimed{Span: d.span(), Generation: release, Outcome: datastorehb.ClaimLost})
	g := generation(4, 2, 1, writer(2)).Generation
	d.readAs(g)
	if m := d.machine(guest); m != nil {
		t.Errorf("the machine is %s still", m.phase)
	}
}

// A machine whose guest switched itself off in the midst of a migration is not started, once the
// host that it was left to is lost, by a master that knew only of the migration.
func TestLeftForGoodIsNotStarted(t *testing.T) {
	d := ordered(t)
	take[ReadMachine](d)
	d.see(MachineRead{Span: d.span(), VM: guest, Purpose: ForClaim, Machine: MachineState{GenerationState: datastorehb.Absent}})
	take[ReadMachine](d)
	s := generation(5, 2, 4, writer(3))
	s.Generation.Holder, s.Generation.Reason = writer(2), poweron.GuestShutDown
	if !s.Generation.Left() {
		t.Fatal("the test's generation is not one that was left")
	}
	d.see(MachineRead{Span: d.span(), VM: guest, Purpose: ForStart, Machine: s})
	never[ClaimGeneration](d, "its guest switched itself off")
	if len(d.events("start-forbidden")) != 1 {
		t.Error("nobody is told why it is not started")
	}
}

// Where a hypervisor moves a machine without anybody being asked, the machine may run on out of
// everybody's sight, and is held. One whose receiver was lost, so that its owner has it alone, runs
// nowhere when its process has gone after all.
func TestMovedAway(t *testing.T) {
	moved := MachineGone{VM: guest, Generation: 3, Ending: EndedByMigration}
	d, _ := runs(t)
	d.see(moved)
	if g := take[ClaimGeneration](d).Generation; g.Reason != poweron.Held {
		t.Errorf("moved unasked: claimed %+v", g)
	}
	d, share := asked(t)
	d.see(GenerationClaimed{Span: d.span(), Generation: share, Outcome: datastorehb.ClaimWon})
	d.see(moved)
	if g := take[ClaimGeneration](d).Generation; !g.Left() || g.Owner != 2 || g.Reason != poweron.NotReleased {
		t.Errorf("moved to a host that shares it: claimed %+v", g)
	}
	for name, c := range map[string]struct {
		later   time.Duration
		settled bool // the migration of which it was asked was given up meanwhile
		want    bool // it is restarted
	}{
		"at once":                      {0, false, true},
		"by another migration, later":  {3 * timing.Takeover, false, false},
		"by another one, after a word": {3 * timing.Takeover, true, false},
	} {
		d, share = asked(t)
		d.see(GenerationClaimed{Span: d.span(), Generation: share, Outcome: datastorehb.ClaimWon})
		m := d.machine(guest)
		d.take(m, poweron.Next(guest, &share, 1, 1, 1))
		d.at = d.at.Add(c.later)
		if c.settled {
			d.Core.onMigrationSeen(MigrationSeen{VM: guest, Asked: d.at, HandedOver: true})
			d.Core.onMigrationSeen(MigrationSeen{VM: guest, Asked: d.at})
		}
		d.now = d.at
		d.onMachineGone(moved)
		if restarted := m.phase == phaseSpot; restarted != c.want || !restarted && m.reason != poweron.Held {
			t.Errorf("moved %s to a host that was lost: the machine is %s, %s", name, m.phase, m.reason)
		}
	}
}

// What a hypervisor moves away without asking is held though it was just being stopped, or its host
// shuts down: nobody may start it who does not know where it went.
func TestMovedAwayWhileItIsStopped(t *testing.T) {
	moved := MachineGone{VM: guest, Generation: 3, Ending: EndedByMigration}
	for name, stop := range map[string]func(d *desk){
		"handed over": func(d *desk) {
			d.stop(d.machine(guest), poweron.HandedOver, "its host is to be empty", true)
		},
		"its host shuts down": func(d *desk) {
			d.leaving = &leaving{Leave: Leave{Why: datastorehb.Leave{By: datastorehb.LeftByShutdown}}}
		},
	} {
		d, _ := runs(t)
		stop(d)
		d.onMachineGone(moved)
		if m := d.machine(guest); m.phase != phaseRelease || m.reason != poweron.Held {
			t.Errorf("%s: the machine is %s, %s", name, m.phase, m.reason)
		}
	}
}

// Each time that the hypervisor says that a guest has left, it has its time to take that back.
func TestGuestThatComesBackIsNotEnded(t *testing.T) {
	d, _ := runs(t)
	leave := func() {
		d.now, d.Core.out = d.at, nil
		d.onMigrationSeen(MigrationSeen{VM: guest, Asked: d.at, HandedOver: true})
		d.awaitGuest(d.machine(guest))
		d.out = append(d.out, d.Core.out...)
	}
	leave()
	d.onMigrationSeen(MigrationSeen{VM: guest, Asked: d.at})
	d.at = d.at.Add(time.Hour)
	leave()
	never[StopMachine](d, "its guest has only just left")
	d.at = d.at.Add(3 * timing.Takeover)
	leave()
	take[StopMachine](d)
	if m := d.machine(guest); m.reason != poweron.Held {
		t.Errorf("it was moved unasked, and is stopped as %s", m.reason)
	}
}

// Both hosts leave a machine to each other. Where the guest was moved to is where its end was seen.
func TestBothLeave(t *testing.T) {
	d, share := asked(t)
	d.see(GenerationClaimed{Span: d.span(), Generation: share, Outcome: datastorehb.ClaimWon})
	m := d.machine(guest)
	d.now = d.at
	d.stop(m, poweron.HandedOver, "it was moved to h2 and executes there", false)
	d.see(MachineGone{VM: guest, Generation: 3, Ending: EndedByUs})
	leave := take[ClaimGeneration](d).Generation
	if !leave.Left() || leave.Number != 5 {
		t.Fatalf("claimed %+v", leave)
	}
	d.see(GenerationClaimed{Span: d.span(), Generation: leave, Outcome: datastorehb.ClaimLost})
	d.readAs(poweron.LeaveToOther(share, 2, poweron.GuestShutDown, 0, "the guest switched itself off"))
	if g := take[ClaimGeneration](d).Generation; g.Kind != poweron.Released || g.Reason != poweron.GuestShutDown || g.Number != 6 {
		t.Errorf("claimed %+v, want a release by the guest's own will", g)
	}
}
