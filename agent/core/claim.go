package core

import (
	"fmt"
	"slices"

	"storebeat/datastorehb"
	"storebeat/poweron"
)

// onMachineRead takes in what a datastore says of one machine, and goes on with
// whatever asked for it.
func (c *Core) onMachineRead(o MachineRead) {
	f := c.footing(o.Datastore)
	if f == nil {
		return
	}
	generation := o.Purpose != ForRecheck && o.Purpose != ForClaim
	if i := f.info(o.VM); o.Err == "" && generation && i != nil && i.rolledBack(o.Machine, o.Issued) {
		o.Err = fmt.Sprintf("generation %d of machine %s reads as %d", i.Generation.Number, o.VM, o.Machine.Generation.Number)
		c.distrust(f, o.Err)
	}
	if o.Err == "" {
		f.learn(o.VM, o.Machine, o.Returned, generation)
	}
	switch o.Purpose {
	case ForCommand:
		c.onCommandRead(f, o)
		return
	case ForMigration:
		c.onMigrationRead(o)
		return
	}
	m := c.machine(o.VM)
	if m == nil || !m.busy {
		return
	}
	switch {
	case o.Purpose == ForStart && m.phase == phaseRead:
		c.onStartRead(m, o)
	case o.Purpose == ForClaim && m.phase == phaseRead:
		c.onClaimRead(m, o)
	case o.Purpose == ForRecheck && m.phase == phaseRecheck:
		c.onRecheckRead(m, o)
	case o.Purpose == ForRecheck && m.phase == phaseLetGo:
		c.onLateRecheckRead(m, o)
	case o.Purpose == ForThaw && (m.phase == phaseAdopt || m.phase == phaseExamine):
		c.onThawRead(m, o)
	case o.Purpose == ForRelease && m.phase == phaseRelease:
		c.onReleaseRead(m, o)
	}
}

// onStartRead finds out whether the machine may be claimed at all.
func (c *Core) onStartRead(m *machine, o MachineRead) {
	m.busy = false
	s := o.Machine
	if why := unreadable(o); why != "" {
		c.failStart(m, why)
		return
	}
	m.entry, m.revision = s.Entry, s.Revision
	if s.Entry.Desired != poweron.Running || !s.Entry.Protected {
		c.failStart(m, "the user does not want it to run")
		return
	}
	c.aim(m, s)
}

// readForClaim reads what a claim follows from: the one record that it comes
// after, if the catalogue knows which one that is, or else all there is.
func (c *Core) readForClaim(m *machine) {
	i := m.home.info(m.vm)
	if m.anew || i == nil || i.EntryState != datastorehb.Valid || i.newest() == nil {
		c.readMachine(m, ForStart)
		return
	}
	m.entry, m.revision, m.busy = i.Entry, i.Revision, true
	c.do(ReadMachine{Datastore: m.home.ID, VM: m.vm, Purpose: ForClaim, Number: i.Generation.Number})
}

// onClaimRead goes on with the record that the catalogue named. If it is not
// there any more, there are newer ones.
func (c *Core) onClaimRead(m *machine, o MachineRead) {
	m.busy = false
	switch {
	case o.Err != "":
		c.failStart(m, o.Err)
	case o.Machine.GenerationState != datastorehb.Valid:
		m.anew = true
	default:
		c.aim(m, o.Machine)
	}
}

// aim makes the generation after the one read this host's aim, if it is over.
func (c *Core) aim(m *machine, s MachineState) {
	if why := unasked(m, s, c.cfg.Self.Host); why != "" {
		c.refuseStart(m, why)
		return
	}
	switch g := s.Generation; {
	case s.GenerationState == datastorehb.Absent:
		c.prepareClaim(m, nil)
	case !g.Shared() && g.Owner == c.cfg.Self.Host && g.OwnerBy(s.GenerationBy).Machine == c.cfg.Self.Machine:
		// What this computer held is over: every process here is accounted for,
		// and this machine's is not among them (R1).
		c.prepareClaim(m, &g)
	case c.knownOver(m.home, g):
		c.prepareClaim(m, &g)
	default:
		m.target = g
		m.enter(phaseOwner)
		c.advance(m)
	}
}

// unasked says why nobody wants a machine started that has been given up, or not
// here yet. Whoever ordered the start may not have heard how it ended.
func unasked(m *machine, s MachineState, self datastorehb.HostID) string {
	g := s.Generation
	if s.GenerationState != datastorehb.Valid || g.Kind != poweron.Released && g.Reason == poweron.NotReleased {
		return ""
	}
	if wants, why := poweron.Wants(m.entry, m.revision, &g, true); !wants {
		return why
	}
	if host, _ := poweron.Kept(m.entry, &g); host != 0 && host != self && g.Number > m.known {
		return fmt.Sprintf("it is kept for host %d, which was shut down", host)
	}
	return ""
}

// refuseStart gives an order to start a machine back, once all has been read anew
// that it goes by.
func (c *Core) refuseStart(m *machine, why string) {
	if !m.anew {
		m.anew = true
		m.enter(phaseRead)
		c.advance(m)
		return
	}
	c.journalMachine(m, "start-forbidden", "R6", fmt.Sprintf("%s is not started here: the order to do so was out of date", m.entry.Name), why)
	c.orderEnded(m, false, why)
	c.drop(m)
}

// unreadable says why what was read of a machine is no ground to act on.
func unreadable(o MachineRead) string {
	switch {
	case o.Err != "":
		return o.Err
	case o.Machine.EntryState != datastorehb.Valid:
		return fmt.Sprintf("its protected entry is %s", o.Machine.EntryState)
	case o.Machine.GenerationState == datastorehb.Unreadable || o.Machine.GenerationState == datastorehb.Corrupt:
		return fmt.Sprintf("its newest generation is %s", o.Machine.GenerationState)
	}
	return ""
}

// knownOver reports whether a generation is over by what is known already. What
// breaks a chain breaks it for ever, so old knowledge is good enough.
func (c *Core) knownOver(f *footing, g poweron.Generation) bool {
	over, _ := poweron.Over(g, c.termsOf(f))
	return over
}

// newestTerm returns the newest term known of a host.
func (f *footing) newestTerm(h, self datastorehb.HostID) (datastorehb.Term, bool) {
	if h == self {
		return f.own, f.phase != termUnknown && f.own.Number > 0
	}
	if w := f.watches.of(h); w != nil {
		return w.Term()
	}
	return datastorehb.Term{}, false
}

// askHolder reads the terms of the next host, after the one given, that may run the machine that
// is aimed at: one that is shared is over only if the chains of both hosts are broken (R15). It
// reports false once there is none left to be read.
func (c *Core) askHolder(m *machine, after datastorehb.HostID) bool {
	all := c.holdersOf(&m.target)
	next := slices.Index(all, after) + 1
	if next == len(all) {
		return false
	}
	m.busy, m.asked = true, all[next]
	c.do(ReadTerms{Datastore: m.home.ID, Host: m.asked})
	return true
}

// holdersOf are the other hosts that may run a machine under a generation.
func (c *Core) holdersOf(g *poweron.Generation) (all []datastorehb.HostID) {
	for _, h := range []datastorehb.HostID{g.Owner, g.Receiver.Writer.Host} {
		if g.Names(h) && h != c.cfg.Self.Host { // advanceTerm reads the own terms
			all = append(all, h)
		}
	}
	return all
}

// onOwnerRead goes on with a start that waited for the newest terms of those that held the machine last.
func (c *Core) onOwnerRead(m *machine, o TermsRead) {
	if m.phase != phaseOwner || !m.busy || m.asked != o.Host {
		return
	}
	m.busy = false
	if o.Err != "" || o.State != datastorehb.Valid {
		c.failStart(m, fmt.Sprintf("the newest term of %s is %s: %s", c.HostName(o.Host), o.State, o.Err))
		return
	}
	if c.askHolder(m, o.Host) {
		return
	}
	over, why := poweron.Over(m.target, c.termsOf(m.home))
	if !over && !m.anew { // There may be a newer one, by which it was released.
		m.anew = true
		m.enter(phaseRead)
		c.advance(m)
		return
	}
	if !over {
		c.failStart(m, fmt.Sprintf("generation %d of %s is not over: %s", m.target.Number, c.HostName(o.Host), why))
		return
	}
	c.prepareClaim(m, &m.target)
}

// prepareClaim makes the generation after g this host's aim; g is nil when the machine never ran.
func (c *Core) prepareClaim(m *machine, g *poweron.Generation) {
	m.target = poweron.Next(m.vm, g, c.cfg.Self.Host, 0, m.revision)
	m.failures = m.target.Failures
	m.enter(phaseClaim)
	c.advance(m)
}

// claimRun claims the generation that is aimed at, under the present term.
func (c *Core) claimRun(m *machine) {
	if !m.home.held(c.now) {
		return
	}
	if m.phase == phaseReclaim {
		m.target = poweron.Next(m.vm, &m.gen, c.cfg.Self.Host, 0, m.revision)
	}
	m.busy, m.target.Term = true, m.home.own.Number
	if m.phase == phaseReclaim && m.gen.Shared() {
		m.target = poweron.ShareAgain(m.gen, c.cfg.Self, m.home.own.Number)
	}
	c.do(ClaimGeneration{Datastore: m.home.ID, Generation: m.target})
}

func (c *Core) onGenerationClaimed(o GenerationClaimed) {
	f := c.footing(o.Datastore)
	m := c.machine(o.Generation.VM)
	if f == nil || m == nil {
		return
	}
	won := o.Outcome == datastorehb.ClaimWon && o.Returned.Sub(o.Issued) <= c.cfg.Timing.Lease
	if won && (o.Generation == m.target && m.busy || o.Generation == m.move.target) {
		f.learn(m.vm, MachineState{GenerationState: datastorehb.Valid, Generation: o.Generation, GenerationBy: c.cfg.Self}, o.Returned, true)
		c.tellChanged(f, m.vm, false)
	}
	if c.onClaimedWhileRunning(m, o, won) {
		return
	}
	if !m.busy || m.target != o.Generation { // An earlier claim may be of the same number.
		return
	}
	m.busy = false
	switch m.phase {
	case phaseClaim:
		c.onStartClaimed(m, o, won)
	case phaseReclaim:
		c.onReclaimed(m, o, won)
	case phaseRelease:
		c.onReleased(m, o)
	}
}

func (c *Core) onStartClaimed(m *machine, o GenerationClaimed, won bool) {
	switch {
	case won:
		m.gen = o.Generation
		m.enter(phasePublish)
		m.list, m.home.dirty = 0, true
		c.journalMachine(m, "generation-won", "R8", fmt.Sprintf("%s may start %s under generation %d", c.HostName(c.cfg.Self.Host), m.entry.Name, m.gen.Number))
	case o.Outcome == datastorehb.ClaimLost && m.anew:
		c.lost(m)
	case o.Outcome == datastorehb.ClaimLost:
		// The catalogue was behind: somebody had the machine, and may have given it up
		// again. Only what is read now can tell whether this host is entitled anew (R2).
		m.gen, m.anew = poweron.Generation{}, true
		m.enter(phaseRead)
		c.advance(m)
	default:
		// Nothing is known: the attempt may have won, or win later. Read again.
		m.gen, m.anew = poweron.Generation{}, true
		m.enter(phaseRead)
		m.retry = c.now.Add(c.interval() / 2)
	}
}

// lost ends a start whose claim somebody else won.
func (c *Core) lost(m *machine) {
	m.gen = poweron.Generation{}
	c.failStart(m, fmt.Sprintf("generation %d was won by somebody else", m.target.Number))
	c.do(ReadMachine{Datastore: m.home.ID, VM: m.vm, Purpose: ForCatalogue})
}

// onReclaimed: the process that is here may go on, or it has to be found out whose it is now.
func (c *Core) onReclaimed(m *machine, o GenerationClaimed, won bool) {
	switch {
	case won:
		m.gen = o.Generation
		m.home.dirty = true
		m.enter(phaseLetGo)
		c.journalMachine(m, "machine-reclaimed", "R8", fmt.Sprintf("nobody had taken %s: it goes on here under generation %d", m.entry.Name, m.gen.Number))
	case o.Outcome == datastorehb.ClaimLost:
		// By another host, or by an earlier attempt of our own whose reply was lost.
		m.enter(phaseExamine)
	default:
		m.enter(phaseExamine)
		m.retry = c.now.Add(c.interval() / 2)
	}
}

// onRecheckRead is the last look before the start: does the user still want it?
func (c *Core) onRecheckRead(m *machine, o MachineRead) {
	m.busy = false
	e := o.Machine
	switch {
	case o.Err != "" || e.EntryState != datastorehb.Valid:
		m.retry = c.now.Add(c.interval() / 2)
		return
	case e.Entry.Desired != poweron.Running || !e.Entry.Protected:
		m.entry, m.revision = e.Entry, e.Revision
		c.orderEnded(m, false, "the user stopped it meanwhile")
		c.release(m, poweron.StoppedByUser, "stopped by the user before it was started")
		return
	case !c.mayRun(m):
		return
	}
	m.entry, m.revision, m.checked = e.Entry, e.Revision, o.Issued
	if why := c.forbidden(m.vm, &m.entry, e.Needs); why != "" {
		c.journalMachine(m, "start-forbidden", "", fmt.Sprintf("%s may not start here: the master places it anew", m.entry.Name), why)
		c.orderEnded(m, false, why)
		c.release(m, poweron.HandedOver, why)
		return
	}
	m.enter(phaseCreate)
	m.busy, m.process = true, m.gen.Number
	if m.move.receiving {
		c.do(ReceiveMachine{Datastore: m.home.ID, VM: m.vm, Generation: m.gen.Number})
		return
	}
	m.move = migration{}
	c.do(StartMachine{Datastore: m.home.ID, VM: m.vm, Generation: m.gen.Number, Entry: m.entry})
}

// onLateRecheckRead is the same look for a process that is there already, and has never run.
func (c *Core) onLateRecheckRead(m *machine, o MachineRead) {
	m.busy = false
	e := o.Machine
	switch {
	case o.Err != "" || e.EntryState != datastorehb.Valid:
		m.retry = c.now.Add(c.interval() / 2)
	case e.Entry.Desired != poweron.Running || !e.Entry.Protected:
		m.entry, m.revision = e.Entry, e.Revision
		c.orderEnded(m, false, "the user stopped it meanwhile")
		c.stop(m, poweron.StoppedByUser, "stopped by the user before it ran", false)
	default:
		m.entry, m.revision, m.checked = e.Entry, e.Revision, o.Issued
	}
}

// onThawRead decides about a process that is here without a right to run.
func (c *Core) onThawRead(m *machine, o MachineRead) {
	m.busy = false
	s := o.Machine
	if s.EntryState == datastorehb.Valid {
		m.entry, m.revision = s.Entry, s.Revision
	}
	switch g := s.Generation; {
	case unreadable(o) != "":
		m.retry = c.now.Add(c.interval() / 2)
	case s.GenerationState == datastorehb.Absent || g.Number < m.gen.Number:
		c.distrust(m.home, fmt.Sprintf("the newest generation of %s reads %d, but %d was won before", m.vm, g.Number, m.gen.Number))
	case m.phase == phaseAdopt && (g.Number == m.gen.Number || c.isPartyOf(s)):
		c.noteReturn(m, &g)
		m.gen, m.failures = g, g.Failures
		m.enter(phaseRun)
		m.home.dirty = true
		c.journalMachine(m, "machine-adopted", "R3", fmt.Sprintf("%s was found running and goes on under generation %d", m.entry.Name, g.Number))
	case g.Number == m.gen.Number, (g.Shared() || g.Left()) && c.isPartyOf(s):
		c.noteReturn(m, &g)
		m.gen, m.failures = g, g.Failures
		m.enter(phaseReclaim)
		c.advance(m)
	case g.Kind == poweron.Run && g.Owner == c.cfg.Self.Host && s.GenerationBy == c.cfg.Self:
		// An own claim whose reply was lost.
		m.gen = g
		m.enter(phaseReclaim)
		c.advance(m)
	default:
		c.putDown(m, fmt.Sprintf("generation %d is held by %s", g.Number, c.HostName(g.Owner)))
	}
}

// putDown ends a process whose machine another host owns.
func (c *Core) putDown(m *machine, why string) {
	m.enter(phasePutDown)
	m.busy, m.home.dirty = true, true
	c.journalMachine(m, "machine-putting-down", "R12", fmt.Sprintf("%s runs elsewhere: its frozen former instance is ended once its I/O has returned", m.entry.Name), why)
	c.do(PutDown{VM: m.vm})
}

// publishList writes the own power-on list when it has changed. Machines that
// wait for it are looked at once more only after the write has completed (R10).
func (c *Core) publishList(f *footing) {
	if !f.usable() || !f.cleared || !f.dirty || f.publishing || !c.due(f.nextList) {
		return
	}
	f.revision++
	f.dirty, f.publishing = false, true
	list := poweron.List{Writer: c.cfg.Self, Revision: f.revision, Term: f.own.Number, Isolated: c.net.isolated}
	var after []Effect
	for _, m := range c.machinesOn(f) {
		if m.listed() {
			list.Machines = append(list.Machines, poweron.Listed{VM: m.vm, Generation: m.gen.Number, Frozen: m.frozen})
		}
		if m.phase == phasePublish {
			m.list = f.revision
			after = append(after, ReadMachine{Datastore: f.ID, VM: m.vm, Purpose: ForRecheck})
		}
	}
	c.do(PublishList{Datastore: f.ID, List: list, After: after})
}

func (c *Core) onListWritten(o ListWritten) {
	f := c.footing(o.Datastore)
	if f == nil || o.Revision != f.revision {
		return
	}
	f.publishing = false
	c.tellList(f, o.Err)
	if o.Err != "" {
		f.dirty, f.nextList = true, c.now.Add(c.interval()/2)
		return
	}
	for _, m := range c.machinesOn(f) {
		if m.phase == phasePublish && m.list == o.Revision {
			m.enter(phaseRecheck)
			m.busy = true // the read hangs on the write and is under way
		}
	}
}

// tellList tells once that the power-on list can't be written, and once that it is
// written again: until then no machine is started here, and the list that others
// read is out of date.
func (c *Core) tellList(f *footing, why string) {
	if was := f.listFails; was == (why != "") {
		return
	}
	f.listFails = why != ""
	if f.listFails {
		c.journal(Event{Kind: "list-failing", Host: c.cfg.Self.Host, Datastore: f.ID, Rule: "R10",
			Text: fmt.Sprintf("the power-on list of %s on %s can't be written, so nothing is started there", c.HostName(c.cfg.Self.Host), f.Name), Evidence: []string{why}})
		return
	}
	c.journal(Event{Kind: "list-recovered", Host: c.cfg.Self.Host, Datastore: f.ID,
		Text: fmt.Sprintf("the power-on list of %s on %s is written again", c.HostName(c.cfg.Self.Host), f.Name)})
}
