package core

import (
	"fmt"
	"time"

	"storebeat/datastorehb"
)

// footing is this host's standing on one datastore: its slot, its newest term
// and the lease under it.
type footing struct {
	Datastore
	device     Device
	left       bool // the datastore has left the cluster
	open       bool
	opened     bool   // it was open once: the shell opens it the first time, and only then
	why        string // why it is not open, or not trusted
	missed     bool   // it was told that it can't be used
	distrusted bool   // replaced or rolled back (R14): nothing on it counts

	// The own slot.
	cleared      bool              // R1: no other computer writes it
	strange      bool              // the newest own term, or the slot, is another computer's
	stranger     datastorehb.Proof // that computer's last sign of life
	foreign      datastorehb.SlotReading
	watched      datastorehb.Instant // since when there was no other
	strangerTerm uint64              // its term, once read
	strangerKept bool                // it left its machines in custody, which is journaled once
	sequence     uint64              // of the last write issued
	completed    uint64              // of the last write completed
	writing      bool
	issued       datastorehb.Instant // of the last write
	completedI   datastorehb.Instant // issue of the last completed write
	nextWrite    datastorehb.Instant
	pending      []datastorehb.Vouch                      // in the write under way
	wishers      map[datastorehb.HostID]datastorehb.Vouch // hosts that asked for a vouch here
	custodyMark  uint64                                   // the term that the write under way says is in custody, 0 for none
	custodySaid  bool                                     // the slot says so of some term, or may
	leaveMarked  bool                                     // the write under way says that the agent stops
	leaveWritten bool                                     // such a write has completed

	// The own term.
	phase      termPhase
	busy       bool // a read or claim of the own terms is under way
	own        datastorehb.Term
	mine       bool // own was won, or taken over from the guard, by this incarnation
	lease      datastorehb.Lease
	custody    custody
	settled    bool // everything under earlier terms is frozen
	lapsedAt   datastorehb.Instant
	lapsedTerm uint64 // of the lease that lapsed last
	nextClaim  datastorehb.Instant
	nextTerms  datastorehb.Instant // for another read of the own terms, after one has failed
	inherited  *Inherited
	holding    holding // of the own term's register

	record recordCopy

	reads
	catalogue
	power
}

// notOpened says why a datastore can't be used whose first opening is under way.
const notOpened = "not opened yet"

func newFooting(d Datastore) *footing {
	return &footing{Datastore: d, why: notOpened, settled: true}
}

// inherit takes over a lease whose deadline the guard kept. The term itself is
// read before the footing counts as held.
func (f *footing) inherit(l Inherited) {
	f.inherited = &l
	f.lease = datastorehb.InheritedLease(l.Term, l.Deadline, l.Length)
	if l.Custody {
		f.lease = datastorehb.CustodyLease(l.Term, l.Length)
		f.custody = custody{term: l.Term, sure: true}
	}
	f.settled = false
}

// usable reports whether something may be written to or learnt from the datastore.
func (f *footing) usable() bool { return f.open && !f.distrusted }

func (c *Core) onDatastoreState(o DatastoreState) {
	f := c.footing(o.Datastore)
	if f == nil {
		return
	}
	f.checking = false
	if f.distrusted {
		return
	}
	if o.Replaced {
		c.distrust(f, o.Why)
		return
	}
	if o.Available == f.open && o.Why == f.why {
		return
	}
	f.open, f.opened, f.why, f.device = o.Available, f.opened || o.Available, o.Why, o.Device
	f.revision = max(f.revision, o.Revision)
	kind, text := Kind("datastore-available"), fmt.Sprintf("datastore %s can be used", f.Name)
	if !o.Available {
		f.nextCheck = min(f.nextCheck, c.now.Add(c.interval()))
		kind, text = "datastore-unavailable", fmt.Sprintf("datastore %s can't be used: %s", f.Name, o.Why)
		f.failWatches(o.Why)
	}
	if f.missed && !o.Available {
		return // It was told already; one operation may fail in other words than the next.
	}
	f.missed = !o.Available
	c.journal(Event{Kind: kind, Datastore: f.ID, Text: text})
}

// distrust stops everything on a datastore that is not what it was (R14).
func (c *Core) distrust(f *footing, why string) {
	if f.distrusted {
		return
	}
	f.distrusted, f.why = true, why
	f.failWatches(why)
	if f.phase == termHeld || f.inherited != nil {
		// Others may not see what this host wrote as proof of life.
		c.lapse(f, "the datastore is not what it was")
		f.frozeAt = c.now
		c.do(FreezeMachines{Datastore: f.ID})
	}
	c.journal(Event{Kind: "datastore-distrusted", Datastore: f.ID, Rule: "R14",
		Text: fmt.Sprintf("datastore %s is not what it was: nothing on it is claimed, closed or taken as proof", f.Name), Evidence: []string{why}})
}

// writeSlot writes the own slot when its interval has come.
func (c *Core) writeSlot(f *footing) {
	if !f.usable() || !f.cleared || f.writing || !c.wantsSlot(f) || !c.due(f.nextWrite) {
		return
	}
	f.sequence++
	f.writing, f.issued, f.nextWrite = true, c.now, c.now.Add(c.interval())
	f.pending = c.vouches(f)
	f.custodyMark, f.leaveMarked = c.markOf(f), c.leaving != nil
	f.custodySaid = f.custodySaid || f.custodyMark != 0
	c.do(WriteSlot{Datastore: f.ID, Slot: datastorehb.Slot{
		Writer: c.cfg.Self, Sequence: f.sequence, Term: f.own.Number, Master: c.net.master, Flags: c.slotFlags(),
		Revision: c.record.revision(), Levels: c.cfg.Levels, Vouches: f.pending,
		Custody: f.custodyMark, Leave: c.leaveMark(),
	}})
}

// wantsSlot reports whether the host writes heartbeats on a datastore: on those
// selected, on every one that is home to a machine it runs or that is in its name,
// and where the last one failed, to find out when they succeed again. A generation
// in the name of a host that has restarted comes to its end by a term of that host
// alone, since nobody closes the terms of a living host.
func (c *Core) wantsSlot(f *footing) bool {
	if c.record.outcast != "" {
		return f.phase == termHeld && c.hasProcess(f) || f.inherited != nil // or else its silence is what lets others take over
	}
	if f.selected || f.inherited != nil || f.failing || f.names(c.cfg.Self.Host) {
		return true
	}
	for _, m := range c.machines {
		if m.home == f {
			return true
		}
	}
	return false
}

func (c *Core) slotFlags() (flags datastorehb.SlotFlags) {
	if c.inMaintenance() {
		flags |= datastorehb.SlotMaintenance
	}
	if c.net.leading {
		flags |= datastorehb.SlotMaster
	}
	if c.net.isolated {
		flags |= datastorehb.SlotIsolated
	}
	return flags
}

func (c *Core) onSlotWritten(o SlotWritten) {
	f := c.footing(o.Datastore)
	if f == nil || o.Sequence != f.sequence {
		return
	}
	f.writing = false
	if o.Err != "" {
		c.slowOrBroken(f, o.Err)
		return
	}
	before := f.proven()
	f.completed, f.completedI = o.Sequence, o.Issued
	if !before && f.proven() {
		f.nextClaim = max(f.nextClaim, c.now.Add(c.turn()))
	}
	c.healthy(f)
	if f.usable() {
		c.proveLife(f, o.Issued)
		c.acknowledge(f)
		c.custodyWritten(f)
	}
}

// slowOrBroken notes that a heartbeat failed.
func (c *Core) slowOrBroken(f *footing, why string) {
	f.nextWrite = max(f.nextWrite, c.now.Add(c.interval()/2))
	if !f.failing {
		f.failing = true
		c.journal(Event{Kind: "datastore-failing", Datastore: f.ID, Text: fmt.Sprintf("heartbeats on %s fail", f.Name), Evidence: []string{why}})
	}
}

// noticeSlow notes that a heartbeat is slow, while it is.
func (c *Core) noticeSlow(f *footing) {
	if !f.writing || f.slow || !c.due(f.issued.Add(c.patience())) {
		return
	}
	f.slow = true
	c.journal(Event{Kind: "datastore-slow", Datastore: f.ID, Text: fmt.Sprintf("a heartbeat on %s is slow", f.Name),
		Evidence: []string{fmt.Sprintf("it has not returned after %v", rounded(c.now.Sub(f.issued)))}})
}

// healthy notes that a heartbeat succeeded. Only a quick one ends a bad time.
func (c *Core) healthy(f *footing) {
	bad, took := f.failing || f.slow, c.now.Sub(f.issued)
	f.failing, f.slow = false, took >= c.patience()
	if !bad || f.slow {
		return
	}
	c.journal(Event{Kind: "datastore-recovered", Datastore: f.ID, Text: fmt.Sprintf("heartbeats on %s succeed again", f.Name),
		Evidence: []string{fmt.Sprintf("the last one took %v", rounded(took))}})
}

// accessible reports whether the host's heartbeats on the datastore succeed in
// time, and its reads where it writes none. It is noticed while they are under way, not only when
// they have failed. A hiccup is no loss of access: only what takes half a lease is.
func (c *Core) accessible(f *footing) bool {
	if !f.usable() || f.failing {
		return false
	}
	stuck := c.now.Add(-c.cfg.Timing.Lease / 2)
	return !(f.writing && f.issued <= stuck) && !(f.reading && f.readAt <= stuck)
}

// patience is how long a heartbeat write may take before the network has to
// help with vouches.
func (c *Core) patience() time.Duration { return c.interval() * 3 / 4 }

// power is the state of the own power-on list on a datastore.
type power struct {
	revision   uint64
	dirty      bool // the list on the datastore is not what it should be
	publishing bool
	listFails  bool                // the last write failed
	frozeAt    datastorehb.Instant // when the agent froze by itself
	slow       bool                // a heartbeat was slow, and none has been quick since
	failing    bool                // the last heartbeat failed
	nextList   datastorehb.Instant
}
