package core

import (
	"cmp"
	"fmt"
	"time"

	"github.com/google/uuid"

	"storebeat/datastorehb"
	"storebeat/poweron"
)

// A hypervisor moves a running machine from its owner to a receiver (R15). Both are named
// by one generation, which is shared while both have a process of it. Whoever has no
// process any more leaves the machine to the other, by the next generation in its favour;
// whoever finds the other's chain broken claims the next one alone.
//
//	       the hypervisor asks      shared, read, listed,          the guest
//	       the receiver's agent     let go by the guard            executes here
//	receiver ────────▶ asking ─────────▶ receiving ──────────────────▶ running ─▶ alone
//	                      │ the owner     ▲ is named                               ▲
//	                      ▼ claims        │                  its process is gone   │
//	owner: running ─────────────▶ shared ─┴───────────────────────────▶ leaves it ─┘

// migration is where a machine that is being moved stands on this host.
type migration struct {
	receiving bool                  // its process here takes in memory, and the guest does not execute in it yet
	handed    datastorehb.Instant   // since when the guest has left its process here, 0 while it has not
	ask       uint64                // the hypervisor's question that has not been answered, 0 for none
	answered  string                // why the machine's owner does not let it go, as it said last
	looked    datastorehb.Instant   // when the generation was read last, or its owner was asked
	looking   bool                  // it is being read
	unsure    bool                  // what became of a claim is not known
	target    poweron.Generation    // that is being claimed while the machine runs, Number 0 for none
	alone     datastorehb.Instant   // since when nobody else can have the guest, and it does not execute here
	idle      datastorehb.Instant   // when the hypervisor was asked that said last that it does not
	returned  datastorehb.Instant   // since when this host, which it was moved from, has it alone again, 0 if that never came about
	ended     poweron.ReleaseReason // why it has ended, by the word of the host that left it to this one
}

// onIncomingAsked begins to find out whether a hypervisor may move a machine here.
func (c *Core) onIncomingAsked(o IncomingAsked) {
	f, i := c.find(o.VM)
	if why := c.unreceivable(f, i); why != "" {
		c.do(IncomingAnswer{VM: o.VM, Ask: o.Ask, Why: why})
		return
	}
	m := c.addMachine(&machine{vm: o.VM, home: f, phase: phaseAsk, entry: i.Entry, revision: i.Revision, failures: i.Generation.Failures, since: c.now})
	m.move.receiving, m.move.ask, m.target.Owner = true, o.Ask, o.From
}

// MayReceive says why a hypervisor may not move a machine here, "" if nothing is known that
// keeps it from that. Its answer entitles to nothing; IncomingAsked does.
func (c *Core) MayReceive(vm uuid.UUID) string {
	return c.named(c.unreceivable(c.find(vm)))
}

// unreceivable says why a machine can't be moved here.
func (c *Core) unreceivable(f *footing, i *info) string {
	self := c.HostName(c.cfg.Self.Host)
	switch {
	case i == nil:
		return "the machine is not known to " + self
	case c.level() < poweron.SharedLevel:
		return fmt.Sprintf("the cluster writes feature level %d, and a machine is moved from level %d on: raise it with `storebeat cluster upgrade`", c.level(), poweron.SharedLevel)
	case c.machine(i.vm) != nil:
		return fmt.Sprintf("%s is on %s already, and is %s", i.Entry.Name, self, c.machine(i.vm).phase)
	case !i.Entry.Protected || i.Entry.Desired != poweron.Running:
		return i.Entry.Name + " is not to run: start it with `storebeat vm start` first"
	case c.leaving != nil:
		return "the agent of " + self + " is being stopped"
	case !f.usable():
		return fmt.Sprintf("%s can't use %s, the home datastore of %s: %s", self, f.Name, i.Entry.Name, f.why)
	}
	return c.forbidden(i.vm, &i.Entry, i.Needs)
}

// findOwner reads who runs the machine, to ask that host, again and again: messages get lost.
func (c *Core) findOwner(m *machine) {
	if !m.home.held(c.now) || !m.home.record.tried || m.move.looking || !c.due(m.move.looked.Add(c.interval()/2)) {
		return
	}
	m.move.looked, m.move.looking = c.now, true
	c.do(ReadMachine{Datastore: m.home.ID, VM: m.vm, Purpose: ForMigration})
}

// onMigrationAsk shares a machine that runs here with a host that its hypervisor moves it to.
func (c *Core) onMigrationAsk(f *footing, from datastorehb.HostID, msg Message) {
	if msg.Receiver == nil || msg.Receiver.Writer.Host != from {
		return
	}
	m := c.machine(msg.VM)
	why := c.unshareable(m, *msg.Receiver)
	switch {
	case why != "":
		c.do(Send{To: from, Message: Message{Kind: MigrationAnswer, Datastore: f.ID, VM: msg.VM, Why: c.named(why)}})
	case m.gen.Shared():
		c.answerAsk(m)
	case m.move.target.Number == 0 && !m.move.unsure:
		c.claimWhileRunning(m, poweron.Share(m.gen, c.cfg.Self, m.home.own.Number, *msg.Receiver))
	}
}

// unshareable says why this host does not share a machine with another one.
func (c *Core) unshareable(m *machine, with poweron.Party) string {
	self := c.HostName(c.cfg.Self.Host)
	switch {
	case m == nil:
		return "it does not run on " + self
	case m.phase != phaseRun || m.frozen || m.move.receiving || m.move.handed != 0:
		return fmt.Sprintf("it is not running on %s, but %s", self, m.phase)
	case m.halted: // It would arrive halted, and nobody there would know why.
		return fmt.Sprintf("its guest is halted on %s, since the lease there is about to end", self)
	case m.gen.Shared() && m.gen.Receiver.Writer != with.Writer:
		return fmt.Sprintf("it is being moved to %s already, by an earlier migration whose end has to be seen first", c.HostName(m.gen.Other(c.cfg.Self.Host)))
	case c.level() < poweron.SharedLevel:
		return fmt.Sprintf("%s acts on feature level %d, and a machine is moved from level %d on", self, c.level(), poweron.SharedLevel)
	case !c.mayRun(m):
		return self + " has no lease on its home datastore"
	case c.leaving != nil:
		return "the agent of " + self + " is being stopped"
	case !m.entry.Protected || m.entry.Desired != poweron.Running:
		return "its user wants it stopped, or not protected"
	}
	return ""
}

// answerAsk tells the receiver that it shares the machine. It has to read that for itself.
// But without this word it does not act on what it reads: an owner may not know yet of a
// claim of its own that took effect late.
func (c *Core) answerAsk(m *machine) {
	c.do(Send{To: m.gen.Receiver.Writer.Host, Message: Message{Kind: MigrationAnswer, Datastore: m.home.ID, VM: m.vm, OK: true, Generation: m.gen.Number}})
}

// onMigrationAnswer goes on with what the owner says, or the receiver: that the guest executes there.
func (c *Core) onMigrationAnswer(f *footing, from datastorehb.HostID, msg Message) {
	m := c.machine(msg.VM)
	switch {
	case m == nil && msg.OK:
		f.nextScan = min(f.nextScan, c.now) // Nobody asks here any more: what was shared is left to its owner.
	case m != nil && m.gen.Shared() && msg.OK:
		c.onArrived(m, from, msg)
	case m == nil || m.phase != phaseAsk:
	case !msg.OK:
		m.move.answered = msg.Why
		c.failIncoming(m, fmt.Sprintf("%s does not let it go: %s", c.HostName(from), msg.Why))
	default:
		m.process, m.move.looked = msg.Generation, 0
	}
}

// onOwnerFound begins to receive a machine once its owner has said that it shares it with
// this very run of the agent, and the datastore says so. Until then the owner is asked, for a while.
func (c *Core) onOwnerFound(m *machine, o MachineRead) {
	g, self := o.Machine.Generation, c.cfg.Self
	switch {
	case unreadable(o) != "" || !m.home.held(c.now):
		return
	case g.Kind != poweron.Run || g.Owner == self.Host:
		c.failIncoming(m, "it runs on no other host")
		return
	case m.target.Owner != 0 && m.target.Owner != g.Owner: // what is being moved is not what runs
		c.failIncoming(m, fmt.Sprintf("it is moved from %s, and runs on %s", c.HostName(m.target.Owner), c.HostName(g.Owner)))
		return
	case c.knownOver(m.home, g): // It is to be started, and not to wait for the rest of the time.
		c.failIncoming(m, fmt.Sprintf("%s, which ran it, is lost", c.HostName(g.Owner)))
		return
	case g.Number != m.process || !g.Shared() || g.Receiver.Writer != self || !m.home.own.Carries(g.Receiver.Term):
		m.target = g
		c.do(Send{To: g.Owner, Message: Message{Kind: MigrationAsk, Datastore: m.home.ID, VM: m.vm, Receiver: &poweron.Party{Writer: self, Term: m.home.own.Number}}})
		return
	}
	m.gen, m.failures, m.entry, m.revision = g, g.Failures, o.Machine.Entry, o.Machine.Revision
	m.enter(phasePublish)
	m.list, m.home.dirty = 0, true
}

// answerHypervisor answers the question that a hypervisor waits with, if there is one.
func (c *Core) answerHypervisor(m *machine, allowed bool, why string) {
	if m.move.ask == 0 {
		return
	}
	c.do(IncomingAnswer{VM: m.vm, Ask: m.move.ask, Allowed: allowed, Why: c.named(why)})
	m.move.ask = 0
	if allowed {
		c.journalMachine(m, "machine-migrating", "R15", fmt.Sprintf("%s is being moved from %s to %s", m.entry.Name, c.HostName(m.gen.Other(c.cfg.Self.Host)), c.HostName(c.cfg.Self.Host)),
			fmt.Sprintf("generation %d is shared, here under term %d", m.gen.Number, m.home.own.Number))
	}
}

// failIncoming ends the receipt of a machine that has not begun. The hypervisor is told,
// and ends the process.
func (c *Core) failIncoming(m *machine, why string) {
	c.answerHypervisor(m, false, why)
	c.journalMachine(m, "machine-migration-failed", "R15", fmt.Sprintf("%s is not moved to %s", m.entry.Name, c.HostName(c.cfg.Self.Host)), why)
	if m.gen.Number == 0 {
		c.drop(m)
		return
	}
	c.release(m, poweron.NotReleased, why)
}

// claimWhileRunning claims a generation under which the machine goes on running here.
func (c *Core) claimWhileRunning(m *machine, g poweron.Generation) {
	g.Entry = m.revision
	m.move.target = g
	c.do(ClaimGeneration{Datastore: m.home.ID, Generation: g})
}

// onClaimedWhileRunning takes the result in. It reports false for another claim's.
func (c *Core) onClaimedWhileRunning(m *machine, o GenerationClaimed, won bool) bool {
	if m.move.target.Number == 0 || m.move.target != o.Generation {
		return false
	}
	m.move.target = poweron.Generation{}
	if here := m.phase == phaseRun || m.phase == phaseStop; won && here && m.gen.Number+1 == o.Generation.Number {
		c.take(m, o.Generation)
		return true
	}
	m.move.unsure, m.move.looked = true, 0
	return true
}

// take makes a newer generation that names this host the machine's.
func (c *Core) take(m *machine, g poweron.Generation) {
	before := m.gen
	c.noteReturn(m, &g)
	m.gen, m.home.dirty = g, true
	self, other := c.cfg.Self.Host, before.Other(c.cfg.Self.Host)
	switch {
	case g.Shared() && !before.Shared():
		c.journalMachine(m, "machine-migrating", "R15", fmt.Sprintf("%s is being moved from %s to %s", m.entry.Name, c.HostName(self), c.HostName(g.Other(self))),
			fmt.Sprintf("generation %d is shared, here under term %d", g.Number, g.TermOf(self)))
		c.answerAsk(m)
	case g.Shared() || other == 0:
	case before.Owner == self:
		c.journalMachine(m, "machine-migration-failed", "R15", fmt.Sprintf("%s stays on %s", m.entry.Name, c.HostName(self)), c.whyAlone(&g, other))
	case !m.move.receiving:
		c.journalMachine(m, "machine-migrated", "R15", fmt.Sprintf("%s was moved from %s to %s, where it runs on", m.entry.Name, c.HostName(other), c.HostName(self)), c.whyAlone(&g, other))
	}
	if g.Left() && g.Reason != poweron.NotReleased && before.Owner == self && m.phase == phaseRun {
		// The guest has ended where it was moved to: what is left here is its past.
		c.stop(m, g.Reason, cmp.Or(g.Detail, "it ended on "+c.HostName(other)), false)
	}
}

// noteReturn takes down what follows for a process from which its guest may have been moved away, when
// the newest generation is g: whether this host has the machine alone again, and why it has ended
// if it has. A process that was just found was there before it was shared if it is two generations older.
func (c *Core) noteReturn(m *machine, g *poweron.Generation) {
	shared := m.gen.Shared() && m.gen.Owner == c.cfg.Self.Host && !g.Shared()
	found := m.gen.Term == 0 && g.Left() && m.process+1 < g.Number
	if shared || found {
		m.move.returned = c.now
	}
	m.move.ended = g.Reason
}

func (c *Core) whyAlone(g *poweron.Generation, other datastorehb.HostID) string {
	if g.Left() {
		return fmt.Sprintf("%s has no process of it any more, and has left it to this host under generation %d", c.HostName(other), g.Number)
	}
	return fmt.Sprintf("%s has lost its part of it: its chain of terms is broken", c.HostName(other))
}

// onMigrationRead takes in what became of the generation of a machine that is being moved.
// One that does not name this host, while its chain is unbroken, can't be.
func (c *Core) onMigrationRead(o MachineRead) {
	m := c.machine(o.VM)
	if m == nil || !m.move.looking {
		return
	}
	m.move.looking = false
	if m.phase == phaseAsk {
		c.onOwnerFound(m, o)
		return
	}
	if m.phase != phaseRun || unreadable(o) != "" || o.Machine.GenerationState != datastorehb.Valid {
		return
	}
	g := o.Machine.Generation
	if m.move.target.Number == 0 && g.Number >= m.gen.Number {
		m.move.unsure = false
	}
	if g.Number > m.gen.Number && c.isPartyOf(o.Machine) {
		c.take(m, g)
	}
}

// isPartyOf reports whether a generation gives this computer, in this boot, a right to run.
// If the forerunner has claimed it for a process that is here, that had run under an earlier
// one, which is all that the process itself shows. A forerunner that found the machine taken
// by somebody else would have ended the process before it claimed again.
func (c *Core) isPartyOf(s MachineState) bool {
	self := c.cfg.Self
	p := s.Generation.PartyOf(self.Host, s.GenerationBy)
	return p.Host == self.Host && p.Machine == self.Machine && p.Boot == self.Boot
}

// tendMigration looks after a machine that is being moved, or was. It reports whether
// users' wishes have to wait for the end of that.
func (c *Core) tendMigration(m *machine) (waits bool) {
	v := &m.move
	if !m.gen.Shared() && !v.receiving && v.handed == 0 && !v.unsure && v.target.Number == 0 && !c.mistold(m) {
		return false
	}
	c.lookAfterMigration(m)
	over := !m.gen.Shared() || c.otherOver(m)
	if !over || m.frozen || !c.mayRun(m) {
		v.alone = 0
	}
	switch {
	case m.frozen && c.mayRun(m):
		c.letGo(m)
	case m.frozen || !c.mayRun(m) || v.target.Number != 0 || v.unsure || !over:
	case v.receiving || v.handed != 0 && !m.gen.Shared():
		c.awaitGuest(m)
	case m.gen.Shared() || c.mistold(m):
		c.claimWhileRunning(m, poweron.Next(m.vm, &m.gen, c.cfg.Self.Host, m.home.own.Number, m.revision))
	}
	return m.gen.Shared() || v.receiving || v.unsure || v.target.Number != 0
}

// mistold reports whether the machine was left to this host as ended, though its guest
// executes here: the other did not know yet that it had left the process that was ended
// there. Were this host lost, the machine would stay off for that reason. The hypervisor is given
// time to say that the guest is not here; an agent that was just started has not heard that yet.
func (c *Core) mistold(m *machine) bool {
	return m.gen.Left() && m.gen.Reason != poweron.NotReleased && !m.move.receiving && m.move.handed == 0 && c.due(m.since.Add(c.guestTime()))
}

// otherOver reports whether the other host has lost its part of a shared generation.
func (c *Core) otherOver(m *machine) bool {
	over, _ := poweron.PartOver(m.gen, m.gen.Other(c.cfg.Self.Host), c.termsOf(m.home))
	return over
}

// lookAfterMigration reads what has become of the generation and of the other's term.
func (c *Core) lookAfterMigration(m *machine) {
	if m.move.looking || !m.home.usable() || !c.due(m.move.looked.Add(c.interval())) {
		return
	}
	m.move.looked, m.move.looking = c.now, true
	c.do(ReadMachine{Datastore: m.home.ID, VM: m.vm, Purpose: ForMigration})
	if !m.gen.Shared() {
		return
	}
	other := m.gen.Other(c.cfg.Self.Host)
	c.learnTermsOf(m.home, other)
	if !m.move.receiving && other == m.gen.Owner {
		c.do(Send{To: other, Message: Message{Kind: MigrationAnswer, Datastore: m.home.ID, VM: m.vm, OK: true, Generation: m.gen.Number}})
	}
}

// onArrived ends a process that the guest has left, when the receiver says that it
// executes there, and the hypervisor has not ended it for a while.
func (c *Core) onArrived(m *machine, from datastorehb.HostID, msg Message) {
	late := m.move.handed != 0 && c.now.Sub(m.move.handed) >= c.guestTime()
	if m.phase == phaseRun && m.gen.Shared() && m.gen.Owner == c.cfg.Self.Host && m.gen.Other(c.cfg.Self.Host) == from && msg.Generation == m.gen.Number && late {
		c.stop(m, poweron.HandedOver, "it was moved to "+c.HostName(from)+" and executes there", false)
	}
}

// guestTime is how long a machine may be neither here nor there, once nobody else can have it.
func (c *Core) guestTime() time.Duration { return 2 * c.cfg.Timing.Takeover }

// awaitGuest ends a process in which the guest does not execute, when it executes nowhere
// else, the hypervisor has had time to bring it to life here, and says that it has not.
// One that does not answer may have done so: the process is left alone.
func (c *Core) awaitGuest(m *machine) {
	if m.move.alone == 0 {
		m.move.alone = c.now
	}
	if end := m.move.alone.Add(c.guestTime()); !c.due(end) || m.move.idle < end {
		return
	}
	reason, where := reasonOf(m), "nor anywhere else"
	if !c.wasAsked(m) {
		reason, where = poweron.Held, "and no agent was asked where it was moved to"
	}
	c.stop(m, reason, fmt.Sprintf("its migration has failed: for %v it has not executed here, %s", c.guestTime(), where), false)
}

// reasonOf says why a machine has ended that has come nowhere: its former owner may have
// told when it left it.
func reasonOf(m *machine) poweron.ReleaseReason {
	return cmp.Or(m.gen.Reason, m.move.ended, poweron.Crashed)
}

// onMigrationSeen takes in what the hypervisor says of a machine's process here.
func (c *Core) onMigrationSeen(o MigrationSeen) {
	m := c.machine(o.VM)
	switch {
	case m == nil:
	case m.move.receiving && o.Arrived:
		m.move.receiving, m.move.alone, m.home.dirty = false, 0, true
	case m.move.receiving:
		m.move.idle = o.Asked
	case o.HandedOver && m.move.handed == 0:
		m.move.handed, m.move.idle = c.now, o.Asked
	case o.HandedOver:
		m.move.idle = o.Asked
	default:
		m.move.handed, m.move.alone = 0, 0
	}
}

// wasAsked reports whether a machine whose guest has left the process here was moved by a
// migration that agents were asked about. Where it was not shared with anybody, that can only be one
// whose receiver was lost, or has left it, since the guest was on its way or shortly before.
func (c *Core) wasAsked(m *machine) bool {
	left := cmp.Or(m.move.handed, c.now)
	returned := m.move.returned != 0 && left.Sub(m.move.returned) < c.guestTime()
	return m.gen.Shared() || m.move.receiving || returned
}

// endedMoving gives up a machine whose process ended here while it was being moved: it is
// left to the other host, with the reason if the machine itself has ended.
func (c *Core) endedMoving(m *machine, o MachineGone) {
	switch {
	case !m.gen.Shared():
		c.release(m, reasonOf(m), "its migration has failed: "+o.Detail)
	case m.move.receiving || m.move.handed != 0 || o.Ending == EndedByMigration:
		c.release(m, poweron.NotReleased, o.Detail)
	case o.Ending == EndedByGuest && m.entry.Policy.OnGuestShutDown != poweron.StartAgain:
		c.release(m, poweron.GuestShutDown, o.Detail)
	case o.Ending == EndedByUser:
		c.release(m, poweron.Held, o.Detail)
	default:
		r := poweron.Crash(m.entry.Policy, m.failures, c.now.Sub(m.since))
		m.failures = r.Failures
		c.release(m, cmp.Or(r.Reason, poweron.Crashed), o.Detail)
	}
}

// leaveShared is the generation by which this host leaves a machine to the other one.
func (c *Core) leaveShared(m *machine) poweron.Generation {
	reason := m.reason
	switch {
	case m.move.receiving || m.move.handed != 0:
		reason = poweron.NotReleased // The guest is not here, so nothing has ended.
	case reason == poweron.HostShutdown:
		reason = poweron.HandedOver // It is not this host that the machine would be kept for.
	}
	return poweron.LeaveToOther(m.gen, c.cfg.Self.Host, reason, m.failures, m.detail)
}

// onLeft ends this host's part of a machine.
func (c *Core) onLeft(m *machine) {
	other := m.gen.Other(c.cfg.Self.Host)
	c.tellOther(m.home, m.vm, other)
	kind, text := Kind("machine-migrated"), "%s has left %s to %s"
	if m.move.receiving || m.gen.Owner != c.cfg.Self.Host {
		kind = "machine-migration-failed"
	}
	c.journalMachine(m, kind, "R15", fmt.Sprintf(text, c.HostName(c.cfg.Self.Host), firstName(m), c.HostName(other)), m.detail)
	c.drop(m)
}

// tellOther tells a host that a machine which it shares has a new generation.
func (c *Core) tellOther(f *footing, vm uuid.UUID, other datastorehb.HostID) {
	if other != 0 && other != c.cfg.Self.Host {
		c.do(Send{To: other, Message: Message{Kind: MachineChanged, Datastore: f.ID, VM: vm}})
	}
}

// lookAtOnce has a machine's generation read again: somebody says that it has changed.
func (m *machine) lookAtOnce() {
	if m.gen.Shared() {
		m.move.looked = 0
	}
}

// moving says in a few words that a machine is being moved, "" if it is not.
func (c *Core) moving(g *poweron.Generation) string {
	if g == nil || !g.Shared() {
		return ""
	}
	return fmt.Sprintf("a hypervisor moves it from %s to %s (R15)", c.HostName(g.Owner), c.HostName(g.Receiver.Writer.Host))
}

// termsOf returns the newest terms that are known on a datastore.
func (c *Core) termsOf(f *footing) poweron.Terms {
	return func(h datastorehb.HostID) (datastorehb.Term, bool) { return f.newestTerm(h, c.cfg.Self.Host) }
}
