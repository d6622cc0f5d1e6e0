package core

import (
	"fmt"
	"slices"
	"time"

	"storebeat/datastorehb"
)

// termPhase is where a host stands with its own term on a datastore.
//
//	        own terms read        claim won
//	unknown ──────────▶ lapsed ──────────▶ held
//	   ▲                  ▲  lease ran out   │
//	   │ claim lost       └──────────────────┘
//	   └── (read again)
type termPhase uint8

const (
	termUnknown termPhase = iota
	termLapsed            // known, but without a lease
	termHeld              // open, won by this incarnation, under a lease
)

// String returns the phase's name.
func (p termPhase) String() string {
	return [...]string{"unknown", "lapsed", "held"}[p]
}

// held reports whether this host may run machines here right now.
func (f *footing) held(now datastorehb.Instant) bool {
	return f.phase == termHeld && f.lease.Valid(now)
}

// proveLife carries the lease on from the issue of a proof of life (R4).
func (c *Core) proveLife(f *footing, issued datastorehb.Instant) {
	before := f.lease.Deadline()
	if !f.lease.Renew(c.now, issued) || f.lease.Deadline() == before {
		return
	}
	c.tellGuard(f)
}

func (c *Core) tellGuard(f *footing) {
	c.do(GuardLease{Datastore: f.ID, Term: f.lease.Term(), Length: f.lease.Length(), Deadline: f.lease.Deadline()})
}

// checkLease notices that the lease has run out, and makes sure that everything
// under it is frozen.
func (c *Core) checkLease(f *footing) {
	if f.phase == termHeld || f.inherited != nil {
		if f.lease.Valid(c.now) {
			c.due(f.lease.Deadline())
		} else {
			c.lapse(f, "the lease ran out: no proof of life since "+f.lease.Deadline().Add(-f.lease.Length()).String())
		}
	}
	if f.phase != termHeld && f.inherited == nil && !f.settled {
		c.awaitFreeze(f)
	}
}

// lapse ends the host's right to run machines on a datastore until it wins its
// next term. The guard freezes them at the same deadline.
func (c *Core) lapse(f *footing, why string) {
	if f.phase == termHeld {
		f.phase = termLapsed
	}
	c.tellHalted(f)
	f.inherited = nil
	f.lapsedTerm = f.lease.Term()
	f.lease = datastorehb.Lease{}
	f.custody = custody{}
	f.settled, f.frozeAt, f.lapsedAt = false, 0, c.now
	text := "the machines of %s on %s are frozen until it wins its next term"
	if !c.hasProcess(f) {
		text = "%s runs nothing on %s, and starts nothing there until it wins its next term"
		if !c.wantsSlot(f) || c.paused() {
			return // The host has ceased to write heartbeats, or the storage is being worked on.
		}
	}
	c.journal(Event{Kind: "lease-lapsed", Host: c.cfg.Self.Host, Datastore: f.ID, Term: f.own.Number, Rule: "R4",
		Text: fmt.Sprintf(text, c.HostName(c.cfg.Self.Host), f.Name), Evidence: []string{why}})
}

// awaitFreeze waits for the guard's report that everything is frozen. When it
// does not come within half of F, the agent freezes by itself.
func (c *Core) awaitFreeze(f *footing) {
	if !c.hasProcess(f) {
		f.settled = true
		return
	}
	if f.frozeAt == 0 && c.due(f.lapsedAt.Add(c.cfg.Timing.Freeze/2)) {
		f.frozeAt = c.now
		c.do(FreezeMachines{Datastore: f.ID})
	} else if f.frozeAt != 0 && c.due(f.frozeAt.Add(c.interval())) {
		f.frozeAt = 0
	}
}

func (c *Core) onGuardFrozen(o GuardFrozen) {
	f := c.footing(o.Datastore)
	late := o.Term != 0 && f != nil && o.Term != f.lapsedTerm // about an earlier term
	if f == nil || f.phase == termHeld || f.inherited != nil || f.settled || late {
		return
	}
	f.settled = true
	for _, m := range c.machinesOn(f) {
		m.frozen = true
	}
	f.dirty = true
	c.journal(Event{Kind: "machines-frozen", Datastore: f.ID, Term: o.Term, Rule: "R5",
		Text: fmt.Sprintf("every machine of %s on %s is seen frozen", c.HostName(c.cfg.Self.Host), f.Name), Evidence: []string{fmt.Sprintf("the guard took %v", rounded(o.Took))}})
}

// onGuardRefused: the guard saw the lease run out before the renewal came. Its word counts.
func (c *Core) onGuardRefused(o GuardRefused) {
	f := c.footing(o.Datastore)
	if f == nil || f.lease.Term() != o.Term {
		return
	}
	c.lapse(f, "the guard refused the lease: "+o.Why)
}

func (c *Core) onGuardGone(o GuardGone) {
	if !c.guardUp {
		return
	}
	c.guardUp = false
	c.journal(Event{Kind: "guard-gone", Host: c.cfg.Self.Host, Rule: "R11", Text: "the guard is gone: all machines are frozen and a new guard is started", Evidence: []string{o.Why}})
	for _, f := range c.footings {
		if f.phase == termHeld || f.inherited != nil {
			c.lapse(f, "the guard is gone")
		}
		f.settled, f.frozeAt = false, c.now
		c.do(FreezeMachines{Datastore: f.ID})
	}
	c.do(RestartGuard{})
}

func (c *Core) onGuardBack() {
	c.guardUp = true
	for _, m := range c.machines {
		m.frozen = m.hasProcess()
		if m.phase == phaseLetGo || m.phase == phaseRun || m.phase == phaseStop {
			m.busy = false // whatever the old guard was asked will not be answered
		}
	}
	for _, f := range c.footings {
		if f.phase != termHeld && f.inherited == nil {
			f.settled, f.dirty = true, true
		}
	}
	c.journal(Event{Kind: "guard-back", Host: c.cfg.Self.Host, Rule: "R11", Text: "a new guard holds every machine frozen"})
}

// advanceTerm reads the own terms and claims the next one when the way is clear.
func (c *Core) advanceTerm(f *footing) {
	if !f.usable() || f.busy {
		return
	}
	wanted := f.cleared && c.wantsSlot(f)
	// What another computer held under this host's id is found out before it matters:
	// it may have to be watched.
	if stranger := f.foreign.Host != 0; f.phase == termUnknown && (wanted || stranger) && c.due(f.nextTerms) {
		f.busy = true
		c.do(ReadTerms{Datastore: f.ID, Host: c.cfg.Self.Host})
		return
	}
	if !wanted || c.record.outcast != "" { // what is frozen on a host that takes no part stays so, and others take over
		return
	}
	if f.phase == termLapsed && c.guardUp && f.settled && f.proven() && c.due(f.nextClaim) {
		c.claimOwn(f)
	}
}

// proven reports whether the datastore took a heartbeat that was issued since
// the lease lapsed. Heartbeats go before claims (R5).
func (f *footing) proven() bool {
	return f.completed > 0 && f.completedI >= f.lapsedAt
}

// turn is how long this host lets others go first when a datastore is back for
// all at once: claims must not come as a stampede (R5). Hosts take their turns by
// their place among the members.
func (c *Core) turn() time.Duration {
	place := slices.IndexFunc(c.cfg.Hosts, func(m Member) bool { return m.ID == c.cfg.Self.Host })
	return min(time.Duration(max(place, 0))*5*time.Millisecond, c.interval()/2)
}

// claimOwn claims the next own term: as a continuation when this incarnation
// held the newest one, as a new chain otherwise.
func (c *Core) claimOwn(f *footing) {
	next := datastorehb.Term{Host: c.cfg.Self.Host, Number: f.own.Number + 1, First: f.own.Number + 1, Timing: c.cfg.Timing, Reason: "new chain"}
	if f.mine && !f.own.Closed && f.own.Number > 0 {
		next.First, next.Reason = f.own.First, fmt.Sprintf("continues %d", f.own.Number)
	}
	next.Timing.Takeover = 0
	f.busy, f.nextClaim = true, c.now.Add(c.interval())
	c.do(ClaimTerm{Datastore: f.ID, Term: next})
}

func (c *Core) onOwnTermsRead(f *footing, o TermsRead) {
	if f.phase != termUnknown {
		return // Read on another's behalf: it must not end a lease, nor free the way for a second claim.
	}
	f.busy = false
	if o.Err != "" || o.State == datastorehb.Unreadable || o.State == datastorehb.Corrupt {
		f.nextTerms = c.now.Add(c.interval() / 2)
		return
	}
	if o.Term.Number < f.own.Number {
		c.distrust(f, fmt.Sprintf("the newest own term reads %d, but term %d was won or seen before", o.Term.Number, f.own.Number))
		return
	}
	byUs := o.State == datastorehb.Valid && o.Writer == c.cfg.Self
	f.mine = (byUs || f.mine && o.Term.Number == f.own.Number) && !o.Term.Closed
	f.own, f.phase = o.Term, termLapsed
	if strange := o.State == datastorehb.Valid && !o.Term.Closed && o.Writer.Machine != c.cfg.Self.Machine; strange && f.strangerTerm != o.Term.Number {
		f.strange, f.strangerTerm, f.cleared, f.watched, f.foreign = true, o.Term.Number, false, 0, datastorehb.SlotReading{}
	}
	c.takeOver(f, o)
}

// takeOver makes an inherited lease this incarnation's own, if its term is
// still the newest, open, and of the same computer and boot.
func (c *Core) takeOver(f *footing, o TermsRead) {
	in := f.inherited
	if in == nil {
		return
	}
	same := o.State == datastorehb.Valid && o.Writer.Machine == c.cfg.Self.Machine && o.Writer.Boot == c.cfg.Self.Boot
	if !same || o.Term.Closed || o.Term.Number != in.Term || !f.lease.Valid(c.now) {
		c.lapse(f, fmt.Sprintf("the guard's term %d can't be taken over: the newest is %d", in.Term, o.Term.Number))
		f.frozeAt = c.now
		c.do(FreezeMachines{Datastore: f.ID})
		return
	}
	f.inherited, f.mine, f.phase = nil, true, termHeld
	c.journal(Event{Kind: "term-taken-over", Host: c.cfg.Self.Host, Datastore: f.ID, Term: f.own.Number, Rule: "R4",
		Text: fmt.Sprintf("the restarted agent goes on under term %d on %s", f.own.Number, f.Name)})
	c.disown(f)
}

func (c *Core) onOwnTermClaimed(f *footing, o TermClaimed) {
	f.busy = false
	if o.Outcome != datastorehb.ClaimWon {
		// Lost or unknown: what the newest term is now, only a read can tell.
		f.phase = termUnknown
		return
	}
	f.own, f.mine = o.Term, true
	if !f.usable() {
		return // It was found not to be what it was while the claim was under way.
	}
	if took := o.Returned.Sub(o.Issued); took > o.Term.Timing.Lease {
		c.journal(Event{Kind: "claim-too-slow", Datastore: f.ID, Term: o.Term.Number, Rule: "R2",
			Text: fmt.Sprintf("the claim of term %d took %v, longer than its lease: it proves nothing", o.Term.Number, rounded(took))})
		return
	}
	lease := datastorehb.NewLease(o.Term.Number, o.Issued, o.Term.Timing.Lease)
	if !lease.Valid(c.now) || !c.guardUp || !f.settled {
		return
	}
	f.lease, f.phase = lease, termHeld
	c.tellGuard(f)
	c.journal(Event{Kind: "term-won", Host: c.cfg.Self.Host, Datastore: f.ID, Term: o.Term.Number, Rule: "R5",
		Text: fmt.Sprintf("%s may run machines on %s under term %d (%s)", c.HostName(c.cfg.Self.Host), f.Name, o.Term.Number, o.Term.Reason)})
	c.disown(f)
}
