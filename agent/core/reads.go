package core

import (
	"cmp"
	"fmt"
	"slices"

	"storebeat/datastorehb"
	"storebeat/partition"
	"storebeat/poweron"
)

// reads is what this host has read of one datastore's heartbeat region.
type reads struct {
	selected  bool // this host writes heartbeats here
	reading   bool
	readFull  bool                // the read under way, or the last one, covers every slot
	readAt    datastorehb.Instant // issue of the last read
	readBack  datastorehb.Instant // return of the last successful one
	readErr   string              // why the last one failed
	errSince  datastorehb.Instant
	expected  uint64 // own sequence known to be on disk when the read was issued
	nextRead  datastorehb.Instant
	nextCheck datastorehb.Instant // of the datastore's identity
	checking  bool
	watches   watches
}

// watch is what this host knows of another one through a datastore.
type watch struct {
	datastorehb.Watch
	host      datastorehb.HostID
	slot      datastorehb.SlotReading
	trail     partition.Trail
	alive     datastorehb.Instant // return of the last read that showed a sign of life, or the first read
	leads     datastorehb.Instant // since when its slot has shown it as master and not isolated, 0 while it does not
	busy      bool                // its terms are being read, or one is being claimed
	absent    bool                // it never had a term here
	rule      string              // by which its term is being closed
	word      *word               // an operator's, nil for none
	retry     datastorehb.Instant
	nextClose datastorehb.Instant // its term is not closed before
	listed    poweron.List
	listOK    bool
	listBusy  bool
	listAt    datastorehb.Instant // issue of the read that listed comes from
	nextList  datastorehb.Instant
	missed    bool                // it was not heard when it was last looked at
	catchUp   datastorehb.Instant // until then its list is read though it is heard
}

// showsMaster reports whether the host's slot says that it is master and not isolated.
func (w *watch) showsMaster() bool {
	f := w.slot.Slot.Flags
	return w.slot.State == datastorehb.Valid && f&datastorehb.SlotMaster != 0 && f&datastorehb.SlotIsolated == 0
}

// inCustody reports whether the slot says that the host's newest term is in custody.
func (w *watch) inCustody() bool {
	t, known := w.Term()
	return w.slot.State == datastorehb.Valid && w.slot.Slot.Custody != 0 && !(known && t.Number > w.slot.Slot.Custody)
}

// failWatches starts every takeover interval on the datastore anew.
func (f *footing) failWatches(why string) {
	for _, w := range f.watches {
		w.Fail(why)
		w.trail.Restart()
		w.leads = 0
	}
}

// watches are those of one datastore, in the order of their hosts.
type watches []*watch

func (ws watches) find(h datastorehb.HostID) (int, bool) {
	return slices.BinarySearchFunc(ws, h, func(w *watch, h datastorehb.HostID) int { return cmp.Compare(w.host, h) })
}

// of returns the watch of a host, nil while there is none.
func (ws watches) of(h datastorehb.HostID) *watch {
	if at, ok := ws.find(h); ok {
		return ws[at]
	}
	return nil
}

// begin returns the watch of a host, which is a new one if there is none. alive
// is when the host may have shown a sign of life that was not looked for.
func (ws *watches) begin(h datastorehb.HostID, alive datastorehb.Instant) (w *watch, isNew bool) {
	at, ok := ws.find(h)
	if !ok {
		*ws = slices.Insert(*ws, at, &watch{host: h, alive: alive})
	}
	return (*ws)[at], !ok
}

// readRegion reads heartbeat slots when it is time: all of them as a master,
// without a master, or when the master has gone quiet; else the master's alone.
func (c *Core) readRegion(f *footing) {
	if !f.opened {
		return
	}
	if !f.checking && c.due(f.nextCheck) {
		f.checking, f.nextCheck = true, c.now.Add(2*c.interval())
		c.do(CheckIdentity{Datastore: f.ID})
	}
	full := !f.cleared || c.readsAll()
	if !f.usable() || f.reading || !(full && !f.readFull) && !c.due(f.nextRead) {
		return
	}
	if full != f.readFull {
		f.failWatches("the region was not read in full before")
	}
	f.reading, f.readFull, f.readAt, f.expected = true, full, c.now, f.completed
	f.nextRead = c.now.Add(c.interval())
	read := ReadRegion{Datastore: f.ID}
	if full {
		f.nextRead = c.nextFullRead(f)
	} else {
		read.Hosts = []datastorehb.HostID{c.cfg.Self.Host, c.net.master}
	}
	c.do(read)
}

// nextFullRead is half an interval away, or exactly at the instant at which a
// silent host's takeover interval is over.
func (c *Core) nextFullRead(f *footing) datastorehb.Instant {
	next := c.now.Add(c.interval() / 2)
	for _, w := range f.watches {
		if end, ok := w.Ends(c.cfg.Timing.Takeover); ok && end > c.now {
			next = min(next, end)
		}
	}
	return next
}

// readsAll reports whether this host reads every slot.
func (c *Core) readsAll() bool {
	return c.net.leading || c.net.master == 0 || c.net.standing || c.net.masterQuiet(c.now)
}

func (c *Core) onRegionRead(o RegionRead) {
	f := c.footing(o.Datastore)
	if f == nil {
		return
	}
	f.reading = false
	if o.Err != "" {
		c.readFailed(f, o)
		return
	}
	if f.readErr != "" {
		f.nextScan = c.now // what could not be read may have been restored from a backup meanwhile (R14)
	}
	f.readErr, f.readBack, f.errSince = "", o.Returned, 0
	c.examineOwnSlot(f, o)
	if f.distrusted {
		return
	}
	var proofs []datastorehb.Proof // empty when they don't follow from this read
	if o.Full {
		proofs, _ = datastorehb.ProofsOf(o.Slots, nil)
	}
	for i := range o.Slots {
		if s := &o.Slots[i]; s.Host != c.cfg.Self.Host && s.State != datastorehb.Absent {
			c.observeSlot(f, s, o, proofs)
		}
	}
}

func (c *Core) readFailed(f *footing, o RegionRead) {
	if f.readErr == "" {
		f.errSince = o.Issued
	}
	f.readErr, f.watched = o.Err, 0
	for _, w := range f.watches {
		w.Fail(o.Err)
		w.trail.Fail(o.Issued, o.Err)
	}
}

// observeSlot takes in one other host's slot. proofs is that of the whole region.
func (c *Core) observeSlot(f *footing, s *datastorehb.SlotReading, o RegionRead, proofs []datastorehb.Proof) {
	w, isNew := f.watches.begin(s.Host, o.Returned)
	if !isNew && (w.slot.State != s.State || w.slot.Slot.Sequence != s.Slot.Sequence || w.slot.Slot.Incarnation != s.Slot.Incarnation) {
		w.alive = o.Returned
	}
	w.slot = *s
	c.noticeRevision(s.Slot.Revision)
	if !w.showsMaster() {
		w.leads = 0
	} else if w.leads == 0 {
		w.leads = o.Returned
	}
	if !o.Full {
		w.trail.Observe(o.Issued, o.Returned, s, false)
		return
	}
	alive := false
	if len(proofs) == 0 {
		w.Fail("a slot could not be read")
	} else if alive = w.Observe(o.Issued, o.Returned, proofs[s.Host-1]); alive {
		w.alive = o.Returned
	}
	w.trail.Observe(o.Issued, o.Returned, s, alive)
	if t, known := w.Term(); !known || s.State == datastorehb.Valid && s.Slot.Term > t.Number {
		c.readTermsOf(f, w)
	}
}

func (c *Core) readTermsOf(f *footing, w *watch) {
	if w.busy || !c.due(w.retry) {
		return
	}
	w.busy, w.retry = true, c.now.Add(c.interval()/2)
	c.do(ReadTerms{Datastore: f.ID, Host: w.host})
}

func (c *Core) onTermsRead(o TermsRead) {
	f := c.footing(o.Datastore)
	switch {
	case f == nil:
	case o.Host == c.cfg.Self.Host:
		c.onOwnTermsRead(f, o)
	default:
		c.onOtherTermsRead(f, o)
		for _, m := range c.machinesOn(f) {
			c.onOwnerRead(m, o)
		}
	}
}

func (c *Core) onOtherTermsRead(f *footing, o TermsRead) {
	w, _ := f.watches.begin(o.Host, o.Returned)
	w.busy = false
	w.absent = o.Err == "" && o.State == datastorehb.Absent
	if o.Err != "" || o.State != datastorehb.Valid && o.State != datastorehb.Absent {
		return
	}
	if t, known := w.Term(); known && o.Term.Number < t.Number {
		c.distrust(f, fmt.Sprintf("the newest term of %s reads %d, but term %d was seen before", c.HostName(o.Host), o.Term.Number, t.Number))
		return
	}
	if !w.absent {
		w.LearnTerm(o.Term, o.Returned)
	}
}

func (c *Core) onTermClaimed(o TermClaimed) {
	f := c.footing(o.Datastore)
	switch {
	case f == nil:
	case o.Term.Host == c.cfg.Self.Host:
		c.onOwnTermClaimed(f, o)
	default:
		c.onClosed(f, o)
	}
}

// examineOwnSlot finds out whether the own slot may be written (R1) and whether
// the datastore is still what it was (R14).
func (c *Core) examineOwnSlot(f *footing, o RegionRead) {
	i := slices.IndexFunc(o.Slots, func(s datastorehb.SlotReading) bool { return s.Host == c.cfg.Self.Host })
	if i < 0 {
		return
	}
	s := &o.Slots[i]
	if !f.cleared {
		c.clear(f, s, o)
		return
	}
	if f.expected == 0 {
		return
	}
	switch {
	case s.State == datastorehb.Absent:
		c.distrust(f, "the own slot is empty, though it was written")
	case s.State == datastorehb.Valid && s.Slot.Writer != c.cfg.Self:
		c.distrust(f, fmt.Sprintf("the own slot was written by another computer or agent (machine %s, boot %s)", s.Slot.Machine, s.Slot.Boot))
	case s.State == datastorehb.Valid && s.Slot.Sequence < f.expected:
		c.distrust(f, fmt.Sprintf("the own slot holds sequence %d, though %d was written", s.Slot.Sequence, f.expected))
	}
}

// writtenSince reports whether a slot was written between two readings. That
// it is damaged, or that others vouch for the host or cease to, is no such proof.
func writtenSince(before, now *datastorehb.SlotReading) bool {
	a, b := before.Slot, now.Slot
	return now.State == datastorehb.Valid && (before.State != datastorehb.Valid || a.Writer != b.Writer || a.Sequence != b.Sequence)
}

// keptByStranger reports whether the own slot says that another computer's machines
// are in custody (R11). Its silence then says nothing: until an operator's word, or
// that computer itself, has put an end to the term, this one keeps its hands off.
func (c *Core) keptByStranger(f *footing, s *datastorehb.SlotReading) bool {
	if s.State != datastorehb.Valid || s.Slot.Custody == 0 || f.own.Number > s.Slot.Custody {
		return false
	}
	if !f.busy && c.due(f.nextTerms) {
		f.busy, f.phase, f.nextTerms = true, termUnknown, c.now.Add(c.cfg.Timing.Takeover)
		c.do(ReadTerms{Datastore: f.ID, Host: c.cfg.Self.Host})
	}
	if !f.strangerKept {
		f.strangerKept = true
		c.journal(Event{Kind: "slot-foreign", Datastore: f.ID, Term: s.Slot.Custody, Rule: "R11",
			Text: fmt.Sprintf("host id %d on %s belongs to another computer, whose agent was stopped in good order and left machines in custody: this one does nothing there. If that computer is off, stop this agent, confirm it on another host with `storebeat host confirm-dead %s`, and start this agent again",
				c.cfg.Self.Host, f.Name, c.HostName(c.cfg.Self.Host))})
	}
	return true
}

// clear decides R1: a slot last written by another computer, or a term that one
// holds, is watched for T before it is taken over, and left alone if a sign of life appears.
func (c *Core) clear(f *footing, s *datastorehb.SlotReading, o RegionRead) {
	if !o.Full {
		return
	}
	ours := s.State == datastorehb.Absent || s.State == datastorehb.Valid && s.Slot.Machine == c.cfg.Self.Machine
	if ours && !f.strange {
		f.cleared, f.sequence = true, max(f.sequence, s.Slot.Sequence)
		return
	}
	now, ok := datastorehb.ProofOf(s.Host, o.Slots)
	if !ok || !ours && c.keptByStranger(f, s) {
		f.watched = 0
		return
	}
	before := f.foreign
	f.foreign = *s
	switch {
	case before.Host != 0 && s.Slot.Writer != c.cfg.Self && writtenSince(&before, s):
		c.distrust(f, fmt.Sprintf("host id %d is in use by another computer (machine %s): give this host an id of its own", c.cfg.Self.Host, s.Slot.Machine))
	case f.watched == 0 || f.stranger != now:
		f.watched, f.stranger = o.Returned, now
		if before.Host != 0 {
			return
		}
		c.journal(Event{Kind: "slot-foreign", Datastore: f.ID, Rule: "R1", Text: fmt.Sprintf("host id %d on %s was used by another computer (or its slot is damaged): it is watched for %v first", c.cfg.Self.Host, f.Name, c.cfg.Timing.Takeover)})
	case o.Issued.Sub(f.watched) >= max(c.cfg.Timing.Takeover, f.own.Timing.LeastTakeover()):
		f.cleared, f.sequence = true, max(f.sequence, s.Slot.Sequence)
	}
}
