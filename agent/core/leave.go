package core

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"storebeat/datastorehb"
	"storebeat/partition"
)

// An orderly stop leaves the machines in custody (R11): the own slot on each of
// their home datastores says so first, in both of its copies; then the guard is
// asked to hold their leases without limit; then the agent ends. Its successor
// has the guard end custody, and only then writes a slot that does not say so.

// custody is where an orderly stop stands on one datastore.
//
//	        the slot names the term,     the guard        the guard has
//	        twice, under its lease       is asked         said yes
//	none ───────────────────────▶ marked ───────▶ asked ───────────▶ sure
//	  ▲                                              │ lease ran out   │
//	  └──────────────────────────────────────────────┴─────────────────┘
//	        the guard has ended it, or the lease ran out before it began
type custody struct {
	marks   int    // such writes that completed, all under the lease of that term
	term    uint64 // that the guard was asked to hold without limit, 0 for none
	sure    bool   // the guard holds it so
	refused string // why the guard does not
	ending  bool   // the guard was asked to end that
}

// custodyMarks is how many completed writes name a term before the guard holds
// it without limit: one for each copy in the slot, so that damage to the newer
// one does not show an older slot that says nothing of custody.
const custodyMarks = 2

// leaveLeases is for how many leases an orderly stop waits for custody at most.
// One without a lease there is waited for only until the slot says no more that
// its machines are in custody.
const leaveLeases = 3

// leaving is an orderly stop of the agent under way.
type leaving struct {
	Leave
	until datastorehb.Instant // it waits no longer than that for custody
	waits bool                // the host waits with its shutdown, and the agent goes on until it is stopped
	let   bool                // the host was told to go on
}

// onLeave begins an orderly stop. Who asks once more does not want to wait.
func (c *Core) onLeave(o Leave) {
	switch l := c.leaving; {
	case l != nil && l.waits && !o.AtOnce:
		// The shutdown goes on, and what it was announced for goes on with it.
		l.waits, l.Command = false, o.Command
		return
	case l != nil:
		c.goAway()
		return
	}
	c.leaving = &leaving{Leave: o, until: c.now.Add(leaveLeases * c.cfg.Timing.Lease)}
	e := Event{Kind: "agent-stopping", Host: c.cfg.Self.Host, Rule: "R11",
		Text: fmt.Sprintf("this host's agent is being stopped by %s: its machines go into custody first", cmp.Or(o.Who, o.Why.String()))}
	switch {
	case o.AtOnce:
		c.leaving.until = c.now
	case c.shuttingDown():
		c.leaving.until = c.now.Add(c.longestStop() + leaveLeases*c.cfg.Timing.Lease)
		e.Kind, e.Rule, e.Text = "host-shutting-down", "R8", "this host shuts down: its machines are stopped and given up"
	}
	c.journal(e)
	for _, m := range slices.Clone(c.machines) {
		if m.begun() {
			c.failStart(m, "the agent is being stopped")
		}
	}
	for _, f := range c.footings {
		f.nextWrite = min(f.nextWrite, c.now)
	}
	c.net.nextBeat = c.now
}

// markOf returns the term that the next write of the own slot says is in
// custody, 0 for none. What the guard holds without limit is said until it does
// not any more.
func (c *Core) markOf(f *footing) uint64 {
	if f.custody.term != 0 {
		return f.custody.term
	}
	if c.keepsCustody() && f.custody.refused == "" && f.held(c.now) && c.hasProcess(f) {
		return f.own.Number
	}
	return 0
}

func (c *Core) leaveMark() datastorehb.Leave {
	if c.leaving == nil {
		return datastorehb.Leave{}
	}
	return c.leaving.Why
}

// custodyWritten takes in a completed write of the own slot. It counts only under
// the unbroken lease of the term that it names.
func (c *Core) custodyWritten(f *footing) {
	if c.leaving == nil && !c.paused() {
		return
	}
	f.leaveWritten = f.leaveWritten || f.leaveMarked
	f.custodySaid = f.custodyMark != 0
	k := &f.custody
	if !f.held(c.now) || f.custodyMark == 0 || f.custodyMark != f.lease.Term() {
		return
	}
	if k.marks++; k.marks < custodyMarks {
		f.nextWrite = c.now
		return
	}
	if k.term == 0 {
		k.term = f.custodyMark
		c.do(GuardCustody{Datastore: f.ID, Term: k.term, Begin: true})
	}
}

func (c *Core) onGuardCustody(o GuardCustodyDone) {
	f := c.footing(o.Datastore)
	if f == nil || f.custody.term != o.Term || f.lease.Term() != o.Term {
		return
	}
	switch {
	case o.Refused != "":
		f.custody = custody{refused: o.Refused}
		f.nextWrite = min(f.nextWrite, c.now) // The slot must not say what is not so.
	case o.Begun && f.lease.BeginCustody(c.now):
		f.custody.sure = true
		c.journal(Event{Kind: "custody-begun", Host: c.cfg.Self.Host, Datastore: f.ID, Term: o.Term, Rule: "R11",
			Text: fmt.Sprintf("this host's machines on %s are in custody: they run on without an agent, and nobody else starts them", f.Name)})
	case !o.Begun:
		f.lease = datastorehb.InheritedLease(o.Term, o.Deadline, f.lease.Length())
		f.custody = custody{}
		f.nextWrite = min(f.nextWrite, c.now)
		c.journal(Event{Kind: "custody-ended", Host: c.cfg.Self.Host, Datastore: f.ID, Term: o.Term, Rule: "R11",
			Text: fmt.Sprintf("this host's agent looks after its machines on %s again", f.Name)})
	}
}

// endCustody has the guard end custody once the term is known to be this host's
// still. The slot says that it goes on until the guard has answered: the lease is
// limited before anybody can read that it is.
func (c *Core) endCustody(f *footing) {
	k := &f.custody
	if c.leaving != nil || c.paused() || k.ending || !k.sure || !f.held(c.now) || !f.usable() {
		return
	}
	k.ending = true
	c.do(GuardCustody{Datastore: f.ID, Term: k.term})
}

// depart ends the agent once nothing is left to wait for.
func (c *Core) depart() {
	l := c.leaving
	if l == nil {
		return
	}
	c.giveUpAll()
	missing, hope := c.missing()
	over := len(missing) == 0 || !hope || c.due(l.until)
	switch {
	case l.waits && over:
		c.letShutDown(missing)
	case l.waits:
	case len(missing) == 0:
		c.goAway()
	case hope && !c.due(l.until):
	case l.OrStay:
		c.stay(missing)
	default:
		c.goAway()
	}
}

// missing says what an orderly stop still wants, and whether it is worth waiting for.
func (c *Core) missing() (missing []string, hope bool) {
	if c.shuttingDown() {
		return c.notGivenUp()
	}
	for _, f := range c.footings {
		switch {
		case c.hasProcess(f) && !f.custody.sure:
			missing = append(missing, fmt.Sprintf("its machines on %s are not in custody: %s", f.Name, c.whyNoCustody(f)))
			hope = hope || f.held(c.now) && f.custody.refused == "" || f.custodySaid
		case !c.hasProcess(f) && c.wantsSlot(f) && c.accessible(f) && !f.leaveWritten:
			missing, hope = append(missing, fmt.Sprintf("its slot on %s does not say so yet", f.Name)), true
		}
	}
	for _, m := range c.machines {
		if m.starting() && m.home.held(c.now) {
			missing, hope = append(missing, fmt.Sprintf("%s is %s", m.entry.Name, m.phase)), true
		}
	}
	return missing, hope
}

func (c *Core) whyNoCustody(f *footing) string {
	switch {
	case f.custodySaid && !f.held(c.now):
		return "they are frozen, but its slot there says that they are: nobody takes them over until the agent is back, or an operator confirms that the host is off"
	case !f.usable():
		return f.why
	case !f.held(c.now):
		return "this host has no lease there, and they are frozen"
	case f.custody.refused != "":
		return f.custody.refused
	case f.custody.term != 0:
		return "the guard has not answered"
	}
	return fmt.Sprintf("no write of its slot has completed since %v", f.completedI)
}

// goAway ends the agent as it stands. What is not in custody is frozen by the
// guard when its lease ends.
func (c *Core) goAway() {
	e := Event{Kind: "agent-stopped", Host: c.cfg.Self.Host, Rule: "R11", Text: "this host's agent ends"}
	e.Evidence, _ = c.missing()
	if c.shuttingDown() && len(e.Evidence) > 0 {
		e.Text += " with machines that are not given up: others take them when they have found this host silent"
	} else if slices.ContainsFunc(c.footings, func(f *footing) bool { return c.hasProcess(f) && !f.custody.sure }) {
		e.Text += " without custody of all its machines: those are frozen when their leases end, and others may take them"
	}
	c.journal(e)
	c.replyLeave(Reply{Text: e.Text + listed(e.Evidence)})
	c.left = true
	c.do(Left{})
}

// stay gives the orderly stop up: what is in custody is taken out of it again.
func (c *Core) stay(missing []string) {
	c.replyLeave(Reply{Err: fmt.Sprintf("the agent goes on, since not all of its machines could be left in custody%s; `storebeat agent stop --now` ends it all the same: the guard freezes those machines when their leases end",
		listed(missing))})
	c.takeBack()
	c.journal(Event{Kind: "agent-stays", Host: c.cfg.Self.Host, Rule: "R11", Text: "this host's agent goes on: it could not leave all its machines in custody", Evidence: missing})
}

// takeBack makes the agent go on as if it had never been asked to stop.
func (c *Core) takeBack() {
	c.leaving = nil
	for _, f := range c.footings {
		f.leaveMarked, f.leaveWritten = false, false
		if f.custody.term == 0 {
			f.custody = custody{}
		}
		f.nextWrite = min(f.nextWrite, c.now)
	}
	c.net.nextBeat = c.now
}

func (c *Core) replyLeave(r Reply) {
	if r.Command = c.leaving.Command; r.Command != 0 {
		c.do(r)
	}
}

func listed(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return " (" + strings.Join(lines, "; ") + ")"
}

// custodyAgain is how often the master says that a custody lasts.
const custodyAgain = time.Hour

// remind journals, as a master, that a host's machines are in custody still.
func (c *Core) remind(h datastorehb.HostID, s *hostStatus) {
	if !c.net.leading || s.Rule != partition.RuleCustody && s.Rule != partition.RuleNoAnswer {
		s.reminded = c.now
		return
	}
	if c.now.Sub(s.reminded) < custodyAgain {
		return
	}
	s.reminded = c.now
	c.journal(Event{Kind: "custody-lasts", Host: h, Rule: "R11", Evidence: slices.Clone(s.Evidence),
		Text: fmt.Sprintf("machines of %s are in custody for %v: nobody starts them elsewhere", c.HostName(h), c.now.Sub(s.Since).Round(time.Minute))})
}
