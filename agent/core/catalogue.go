package core

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"storebeat/datastorehb"
	"storebeat/poweron"
)

// catalogue is what this host knows of the machines whose home a datastore is.
// It is a cache: before a claim and before a start the datastore is asked again.
type catalogue struct {
	infos    []*info // sorted by VM
	scanned  bool
	scanning bool
	nextScan datastorehb.Instant
}

// info is what is known of one machine.
type info struct {
	vm uuid.UUID
	MachineState
	at    datastorehb.Instant // by which the generation was there: when the read or claim that it comes from had returned
	since datastorehb.Instant // when this host first heard of the generation
}

// scanEvery is how often the whole catalogue is read again. Changes are told by
// message; the scan makes up for lost ones.
const scanEvery = time.Minute

func (f *footing) find(vm uuid.UUID) (int, bool) {
	return slices.BinarySearchFunc(f.infos, vm, func(i *info, vm uuid.UUID) int { return compareUUID(i.vm, vm) })
}

func (f *footing) info(vm uuid.UUID) *info {
	if at, ok := f.find(vm); ok {
		return f.infos[at]
	}
	return nil
}

// learn takes in what was read, or claimed, of a machine. Generations and
// revisions only rise, so an older reading changes nothing.
func (f *footing) learn(vm uuid.UUID, s MachineState, returned datastorehb.Instant, generation bool) {
	at, ok := f.find(vm)
	if !ok {
		f.infos = slices.Insert(f.infos, at, &info{vm: vm})
	}
	i := f.infos[at]
	if s.EntryState == datastorehb.Valid && s.Revision >= i.Revision || i.EntryState == datastorehb.Unreadable && s.EntryState != datastorehb.Unreadable {
		i.EntryState, i.Entry, i.Revision, i.Needs = s.EntryState, s.Entry, s.Revision, s.Needs
	}
	known := s.GenerationState == datastorehb.Valid || s.GenerationState == datastorehb.Absent
	if generation && known && s.Generation.Number >= i.Generation.Number {
		if s.Generation.Number != i.Generation.Number {
			i.since = returned
		}
		i.GenerationState, i.Generation, i.GenerationBy = s.GenerationState, s.Generation, s.GenerationBy
		i.at = max(i.at, returned)
	}
}

// names reports whether a generation here is held by the host.
func (f *footing) names(h datastorehb.HostID) bool {
	return slices.ContainsFunc(f.infos, func(i *info) bool {
		g := i.newest()
		return g != nil && g.Names(h)
	})
}

// newest returns the machine's newest known generation, nil if it never had one.
func (i *info) newest() *poweron.Generation {
	if i.GenerationState != datastorehb.Valid {
		return nil
	}
	return &i.Generation
}

// rolledBack reports that a machine reads older than it was known to be when the
// read was issued (R14). What was under way at the same time proves nothing.
func (i *info) rolledBack(s MachineState, issued datastorehb.Instant) bool {
	known := s.GenerationState == datastorehb.Valid || s.GenerationState == datastorehb.Absent
	return known && issued > i.at && s.Generation.Number < i.Generation.Number
}

// scan reads the catalogue when it is time.
func (c *Core) scan(f *footing) {
	if !f.usable() || f.scanning || !c.due(f.nextScan) {
		return
	}
	f.scanning, f.nextScan = true, c.now.Add(scanEvery)
	c.do(ReadCatalogue{Datastore: f.ID})
}

func (c *Core) onCatalogueRead(o CatalogueRead) {
	f := c.footing(o.Datastore)
	if f == nil {
		return
	}
	f.scanning = false
	if o.Err != "" {
		f.nextScan = c.now.Add(2 * c.interval())
		c.retryCommands()
		return
	}
	vms := make([]uuid.UUID, 0, len(o.Machines))
	for vm := range o.Machines {
		vms = append(vms, vm)
	}
	slices.SortFunc(vms, compareUUID)
	for _, vm := range vms {
		s := o.Machines[vm]
		if i := f.info(vm); i != nil && i.rolledBack(s, o.Issued) {
			c.distrust(f, fmt.Sprintf("generation %d of machine %s reads as %d", i.Generation.Number, vm, s.Generation.Number))
			return
		}
		f.learn(vm, s, o.Returned, true)
	}
	f.scanned, c.mastery.stale = true, true
	c.disown(f)
	c.retryCommands()
}

// disown releases the generations in this computer's own name that it does not
// run and will not start (R8).
func (c *Core) disown(f *footing) {
	if !f.held(c.now) {
		return
	}
	for _, i := range f.infos {
		g := i.newest()
		self := c.cfg.Self
		if g == nil || !g.Names(self.Host) || g.PartyOf(self.Host, i.GenerationBy).Machine != self.Machine ||
			!f.own.Carries(g.TermOf(self.Host)) || c.machine(i.vm) != nil {
			continue
		}
		m := c.addMachine(&machine{vm: i.vm, home: f, gen: *g, entry: i.Entry, revision: i.Revision, failures: g.Failures, since: c.now})
		why := "the generation is in its name, and no process of the machine is there"
		past, known := c.pastOf(m, i.GenerationBy)
		switch {
		case g.Shared(): // Whether the guest was here is not known.
			c.release(m, poweron.NotReleased, why)
		case g.Reason != poweron.NotReleased:
			c.release(m, g.Reason, cmp.Or(g.Detail, why))
		case known:
			c.ended(m, past)
		default:
			c.release(m, poweron.Abandoned, why)
		}
	}
}

// pastOf says how a machine ended that this host has no process of, if that is known.
func (c *Core) pastOf(m *machine, by datastorehb.Writer) (past MachineGone, known bool) {
	at := slices.IndexFunc(c.cfg.Past, func(o MachineGone) bool { return o.VM == m.vm && c.ranUnder(m.gen, by, o.Generation) })
	if at < 0 || m.revision == 0 {
		return MachineGone{}, false
	}
	m.process = m.gen.Number
	return c.cfg.Past[at], true
}

// ranUnder reports whether the process that was started here under a generation ran under g in
// the end. A process shows the one that it was started under; since then the machine may have been
// left to this host after a migration, or claimed anew for it, by an earlier run of the agent.
func (c *Core) ranUnder(g poweron.Generation, by datastorehb.Writer, started uint64) bool {
	if started == g.Number {
		return true
	}
	p, self := g.PartyOf(c.cfg.Self.Host, by), c.cfg.Self
	forerunner := p.Machine == self.Machine && p.Boot == self.Boot && p.Incarnation != self.Incarnation
	return forerunner && started > 0 && (g.Left() && started < g.Number || started+1 == g.Number)
}

// tellChanged tells others that a machine has changed: everybody when a user
// changed it, since its owner has to act, and else the master, who plans.
func (c *Core) tellChanged(f *footing, vm uuid.UUID, everybody bool) {
	c.mastery.stale = true
	msg := Message{Kind: MachineChanged, Datastore: f.ID, VM: vm}
	if i := f.info(vm); !everybody && i != nil && i.newest() != nil && i.Generation.Owner == c.cfg.Self.Host {
		claimed := i.Generation
		msg.Claimed = &claimed
	}
	for _, h := range c.cfg.Hosts {
		if h.ID != c.cfg.Self.Host && (everybody || h.ID == c.net.master) {
			c.do(Send{To: h.ID, Message: msg})
		}
	}
}

func (c *Core) onMessage(from datastorehb.HostID, msg Message) {
	if msg.Kind == HostHas {
		c.onCapabilities(from, msg)
		return
	}
	f := c.footing(msg.Datastore)
	if f == nil {
		return
	}
	switch msg.Kind {
	case StartOrder:
		c.onStartOrder(f, from, msg)
	case OrderEnded:
		c.onOrderEnded(from, msg)
	case MoveOrder:
		c.onMoveOrder(msg)
	case MigrationAsk:
		c.onMigrationAsk(f, from, msg)
	case MigrationAnswer:
		c.onMigrationAnswer(f, from, msg)
	case MachineChanged:
		c.onMachineChanged(f, from, msg)
	}
}

// onMachineChanged takes over a generation that its holder has claimed, and reads
// what else may have changed.
func (c *Core) onMachineChanged(f *footing, from datastorehb.HostID, msg Message) {
	g, i := msg.Claimed, f.info(msg.VM)
	if m := c.machine(msg.VM); m != nil {
		m.lookAtOnce()
	}
	if g != nil && g.VM == msg.VM && g.Owner == from && i != nil && i.EntryState == datastorehb.Valid {
		f.learn(msg.VM, MachineState{GenerationState: datastorehb.Valid, Generation: *g, GenerationBy: datastorehb.Writer{Host: from}}, c.now, true)
		c.mastery.stale = true
	} else if f.usable() {
		c.do(ReadMachine{Datastore: f.ID, VM: msg.VM, Purpose: ForCatalogue})
	}
}

// onStartOrder begins to start a machine, unless it is here already.
func (c *Core) onStartOrder(f *footing, from datastorehb.HostID, msg Message) {
	m := c.machine(msg.VM)
	if m == nil && c.leaving != nil {
		if from != c.cfg.Self.Host {
			c.do(Send{To: from, Message: Message{Kind: OrderEnded, Datastore: f.ID, VM: msg.VM, Order: msg.Order, Why: "the agent is being stopped"}})
		}
		return
	}
	if m == nil {
		m = &machine{vm: msg.VM, home: f, phase: phaseWait, since: c.now}
		var needs poweron.Needs
		if i := f.info(msg.VM); i != nil {
			m.entry, m.revision, needs = i.Entry, i.Revision, i.Needs
		}
		if why := c.forbidden(m.vm, &m.entry, needs); why != "" {
			c.endOrder(from, Message{Kind: OrderEnded, Datastore: f.ID, VM: msg.VM, Order: msg.Order, Why: why})
			return
		}
		c.addMachine(m)
	}
	m.master, m.order = from, msg.Order
	if m.begun() {
		m.since, m.known = c.now, msg.Generation
	}
	if m.phase == phaseRun && !m.frozen { // A frozen one is answered for when it goes on, or is given up.
		c.orderEnded(m, true, "")
	}
}
