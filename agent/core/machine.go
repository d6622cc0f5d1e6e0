package core

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"storebeat/datastorehb"
	"storebeat/poweron"
)

// machine is one virtual machine that this host runs, is about to run, stops,
// or found when its agent started.
//
//	wait ▶ read ▶ owner ▶ claim ▶ publish ▶ recheck ▶ create ▶ let go ▶ run ▶ stop ▶ release
//	        ▲                │               ▲                    ▲      │ crash
//	        └── unknown ─────┘               └── on the spot ◀────│──────┤
//	                               adopt ──────────────────────────│─────▶│ chain broken, or found frozen
//	                               put down ◀── examine ▶ reclaim ─┘◀─────┘
type machine struct {
	vm       uuid.UUID
	home     *footing
	phase    machinePhase
	busy     bool                // an operation of this phase is under way
	retry    datastorehb.Instant // not before
	entry    poweron.Entry
	revision uint64              // of the entry
	gen      poweron.Generation  // the one that is held; Number 0 while none is
	checked  datastorehb.Instant // issue of the last look at the entry before a start, 0 for what was not started here
	process  uint64              // the generation under which the process was started; it may have been claimed anew since
	target   poweron.Generation  // the one that is being claimed
	asked    datastorehb.HostID  // whose terms are being read, of those that may hold target
	frozen   bool                // the process is there and executes nothing
	halted   bool                // the guest was told to halt before it is frozen, and not yet to go on
	haltAt   datastorehb.Instant // when it was told to halt last
	haltTold datastorehb.Instant // when people were told that it is halted
	since    datastorehb.Instant
	holding  holding
	list     uint64 // revision of the power-on list that names the machine
	anew     bool   // what the catalogue says of its generations is not good enough
	failures uint32
	reason   poweron.ReleaseReason // why it is stopped or released
	detail   string
	mercy    datastorehb.Instant // until when a machine that is stopped may be let go, to shut itself down
	master   datastorehb.HostID  // who ordered the start, 0 when nobody did
	order    uint64
	known    uint64              // the newest generation that whoever ordered the start knew
	leave    datastorehb.Instant // until when the master's order to hand it over holds
	refused  string              // why the start is refused, which is journalled once; empty: it is not
	move     migration
}

// machinePhase is a step of a machine's life on this host.
type machinePhase uint8

const (
	phaseWait    machinePhase = iota // to be started; the host needs a held term first
	phaseRead                        // what the datastore says of the machine
	phaseOwner                       // whether its last owner's chain is broken
	phaseClaim                       // the next generation
	phasePublish                     // the power-on list that names it
	phaseRecheck                     // the entry once more: the user may have stopped it (R8)
	phaseCreate                      // the process, born frozen
	phaseLetGo                       // by the guard, under the lease
	phaseRun
	phaseStop
	phaseRelease // the next generation, as released
	phaseSpot    // crashed, waits before it is started on the spot
	phaseAdopt   // found running: whose is it?
	phaseExamine // frozen under a broken chain, or found frozen: has anybody taken it?
	phaseReclaim // nobody has: the next generation, for the process that is there
	phasePutDown // somebody has
	phaseAsk     // a hypervisor wants to move it here: will its owner share it?
)

// String returns the phase in words, for status and explanations.
func (p machinePhase) String() string {
	return [...]string{"waiting for a term", "reading", "asking for the owner's term", "claiming", "publishing", "rechecking", "starting", "being let go",
		PhaseRunning, "stopping", "being released", "waiting to be restarted", "being adopted", "being examined", "being reclaimed", "being put down", "asking the host that runs it"}[p]
}

// PhaseRunning is the phase, in MachineView, of a machine that this host has let go.
const PhaseRunning = "running"

// hasProcess reports whether a process of the machine may be there.
func (m *machine) hasProcess() bool {
	switch m.phase {
	case phaseCreate, phaseLetGo, phaseRun, phaseStop, phaseAdopt, phaseExamine, phaseReclaim, phasePutDown:
		return true
	}
	return false
}

// begun reports whether the machine is about to be started and nothing has been
// claimed for it. Whoever wanted it so has given up waiting after a while, and
// it must not keep others from starting it.
func (m *machine) begun() bool {
	switch m.phase {
	case phaseWait, phaseRead, phaseOwner, phaseAsk:
		return true
	case phaseClaim:
		return !m.busy
	}
	return false
}

// starting reports whether the machine is being started here under a generation
// that is won, or may be.
func (m *machine) starting() bool {
	switch m.phase {
	case phaseClaim:
		return m.busy
	case phasePublish, phaseRecheck, phaseCreate, phaseLetGo:
		return true
	}
	return false
}

// listed reports whether the power-on list names the machine.
func (m *machine) listed() bool {
	return m.gen.Number > 0 && m.phase != phaseRelease && m.phase != phasePutDown
}

func (c *Core) machine(vm uuid.UUID) *machine {
	i, ok := slices.BinarySearchFunc(c.machines, vm, func(m *machine, vm uuid.UUID) int { return compareUUID(m.vm, vm) })
	if !ok {
		return nil
	}
	return c.machines[i]
}

func (c *Core) addMachine(m *machine) *machine {
	i, _ := slices.BinarySearchFunc(c.machines, m.vm, func(m *machine, vm uuid.UUID) int { return compareUUID(m.vm, vm) })
	c.machines = slices.Insert(c.machines, i, m)
	return m
}

// drop forgets a machine that has no process here any more.
func (c *Core) drop(m *machine) {
	c.orderEnded(m, false, "it was just being given up there")
	c.answerHypervisor(m, false, "it was just being given up here")
	c.machines = slices.DeleteFunc(c.machines, func(o *machine) bool { return o == m })
	m.home.dirty = true
}

func (c *Core) machinesOn(f *footing) (on []*machine) {
	for _, m := range c.machines {
		if m.home == f {
			on = append(on, m)
		}
	}
	return on
}

func (c *Core) hasProcess(f *footing) bool {
	return slices.ContainsFunc(c.machines, func(m *machine) bool { return m.home == f && m.hasProcess() })
}

// memoryUsed is how much memory the machines of this host need.
func (c *Core) memoryUsed() (bytes uint64) {
	for _, m := range c.machines {
		if m.phase != phaseRelease {
			bytes += m.entry.Memory
		}
	}
	return bytes
}

// adopt accounts for a process that was there when the agent started. One that
// runs under an inherited lease goes on; a frozen one may have been promised to
// another host by the forerunner, and needs a generation of its own (R8).
func (c *Core) adopt(found FoundMachine) {
	f := c.configured(found.Datastore)
	if f == nil {
		f = newFooting(Datastore{ID: found.Datastore, Name: "not configured"})
		f.settled = false
		c.footings = append(c.footings, f)
		slices.SortFunc(c.footings, func(a, b *footing) int { return compareUUID(a.ID, b.ID) })
	}
	m := &machine{vm: found.VM, home: f, phase: phaseAdopt, process: found.Generation, frozen: found.Frozen, halted: found.Halted, since: c.now}
	m.gen = poweron.Generation{VM: found.VM, Number: found.Generation, Kind: poweron.Run, Owner: c.cfg.Self.Host}
	m.move.receiving = found.Receiving
	if found.Frozen || f.inherited == nil {
		m.phase = phaseExamine
		f.settled = f.inherited != nil
	}
	c.addMachine(m)
}

// enter moves a machine to its next phase.
func (m *machine) enter(p machinePhase) { m.phase, m.busy, m.retry = p, false, 0 }

// mayRun reports whether R3 (2) and (3) hold for the machine's generation.
func (c *Core) mayRun(m *machine) bool {
	return m.home.held(c.now) && m.home.own.Carries(m.gen.TermOf(c.cfg.Self.Host))
}

// broken reports whether the machine's generation has lost its chain: this host
// holds a newer term that does not reach back.
func (c *Core) broken(m *machine) bool {
	return m.home.held(c.now) && !m.home.own.Carries(m.gen.TermOf(c.cfg.Self.Host))
}

// advance does the next thing for a machine, if nothing is under way.
func (c *Core) advance(m *machine) {
	if late := m.move.ask != 0 && !m.hasProcess(); (m.begun() || late) && c.due(m.since.Add(c.orderTime())) {
		c.failStart(m, fmt.Sprintf("%s for %v", m.phase, c.orderTime()))
		return
	}
	if m.busy || !c.due(m.retry) || !m.home.usable() && m.phase != phaseRun {
		return
	}
	switch m.phase {
	case phaseAsk:
		c.findOwner(m)
	case phaseWait:
		if m.home.held(c.now) && m.home.record.tried { // a host that was removed must have had the chance to learn it
			m.enter(phaseRead)
			c.advance(m)
		}
	case phaseRead:
		c.readForClaim(m)
	case phaseOwner:
		if !c.askHolder(m, 0) {
			c.failStart(m, fmt.Sprintf("generation %d is not known to be over", m.target.Number))
		}
	case phaseClaim, phaseReclaim:
		c.claimRun(m)
	case phaseRecheck:
		if c.mayRun(m) {
			c.readMachine(m, ForRecheck)
		} else if c.broken(m) {
			c.failStart(m, "the term was closed before the machine was started")
		}
	case phaseLetGo:
		c.letGo(m)
	case phaseRun:
		c.tend(m)
	case phaseStop:
		if m.frozen && c.guardUp && c.mayRun(m) && c.now < m.mercy {
			c.askGuard(m) // a frozen guest can't shut itself down
		}
	case phaseRelease:
		c.claimRelease(m)
	case phaseSpot:
		m.enter(phaseRecheck)
		c.advance(m)
	case phaseAdopt:
		c.readMachine(m, ForThaw)
	case phaseExamine:
		if m.home.held(c.now) {
			c.readMachine(m, ForThaw)
		}
	}
}

func (c *Core) readMachine(m *machine, p ReadPurpose) {
	m.busy = true
	c.do(ReadMachine{Datastore: m.home.ID, VM: m.vm, Purpose: p})
}

// tend looks after a running machine: thaws it after a lapse, hands it to
// examination when its chain is broken, stops it when the user wants it so or it is
// to run elsewhere.
func (c *Core) tend(m *machine) {
	if i := m.home.info(m.vm); i != nil && i.EntryState == datastorehb.Valid && i.Revision > m.revision {
		m.entry, m.revision = i.Entry, i.Revision
	}
	switch {
	case c.broken(m):
		m.enter(phaseExamine)
		c.advance(m)
	case c.tendMigration(m):
	case c.evict(m):
	case m.frozen && c.mayRun(m):
		c.letGo(m)
	case !m.frozen && m.entry.Desired == poweron.Stopped && c.mayRun(m):
		c.stop(m, poweron.StoppedByUser, "a user wants it stopped", true)
	case !m.frozen:
		c.handOver(m)
	}
}

// letGo asks the guard to let the machine go under the present lease. A machine
// whose chain broke before that is examined like any other frozen one.
func (c *Core) letGo(m *machine) {
	if c.broken(m) {
		m.enter(phaseExamine)
		c.answerHypervisor(m, false, "this host has lost its term")
		return
	}
	if !c.mayRun(m) || !c.guardUp {
		return
	}
	if m.phase == phaseLetGo && m.checked > 0 && c.now.Sub(m.checked) > c.cfg.Timing.Lease {
		c.readMachine(m, ForRecheck) // The start took long: the user may have stopped it meanwhile.
		return
	}
	c.askGuard(m)
}

// askGuard asks the guard to let the machine go under the present term.
func (c *Core) askGuard(m *machine) {
	m.busy = true
	c.do(GuardLetGo{Datastore: m.home.ID, Term: m.home.own.Number, VMs: []uuid.UUID{m.vm}})
}

func (c *Core) onGuardLetWent(o GuardLetWent) {
	f := c.footing(o.Datastore)
	for _, m := range c.machines {
		asked := slices.Contains(o.Asked, m.vm) && m.busy && (m.phase == phaseLetGo || m.phase == phaseRun || m.phase == phaseStop)
		if m.home != f || !asked {
			continue
		}
		if !slices.Contains(o.VMs, m.vm) {
			m.busy, m.retry = false, c.now.Add(c.interval()/4)
			continue
		}
		m.busy = false
		if !f.held(c.now) || f.own.Number != o.Term {
			continue
		}
		m.frozen = false
		f.dirty = true
		c.running(m)
	}
}

// running notes that a machine executes, for the first time or again.
func (c *Core) running(m *machine) {
	kind, text := Kind("machine-thawed"), "goes on"
	if m.phase == phaseLetGo {
		kind, text = "machine-started", "runs"
		m.enter(phaseRun)
		m.since, m.checked = c.now, 0
	}
	c.resume(m)
	c.orderEnded(m, true, "")
	if m.move.receiving {
		c.answerHypervisor(m, true, "")
		return
	}
	c.journalMachine(m, kind, "R3", fmt.Sprintf("%s %s on %s under generation %d and term %d", m.entry.Name, text, c.HostName(c.cfg.Self.Host), m.gen.Number, m.home.own.Number))
}

// stop ends a running machine for a reason; it is released once it is gone.
func (c *Core) stop(m *machine, why poweron.ReleaseReason, detail string, graceful bool) {
	c.answerHypervisor(m, false, detail)
	m.enter(phaseStop)
	m.reason, m.detail, m.mercy = why, detail, 0
	e := StopMachine{VM: m.vm}
	if graceful {
		// Not to the end: from there on the shell looks at its I/O, and what it
		// has frozen for that must stay so (R12).
		e.Graceful = m.entry.Policy.StopTime
		m.mercy = c.now.Add(e.Graceful - c.cfg.Timing.Freeze)
	}
	c.do(e)
	c.journalMachine(m, "machine-stopping", "", fmt.Sprintf("%s is being stopped: %s", m.entry.Name, detail))
}

func (c *Core) onMachineStarted(o MachineStarted) {
	m := c.machine(o.VM)
	if m == nil || m.phase != phaseCreate || m.gen.Number != o.Generation {
		return
	}
	switch {
	case o.Refused:
		if m.refused == "" {
			c.journalMachine(m, "start-refused", "R12", fmt.Sprintf("the start of %s is refused for now and tried again until it succeeds: %s", m.entry.Name, o.Err))
		}
		m.refused = cmp.Or(o.Err, "no reason is known")
		m.enter(phaseRecheck)
		m.retry = c.now.Add(c.interval())
		return
	case o.Err != "":
		c.failStart(m, o.Err)
		return
	}
	m.frozen, m.refused = true, ""
	m.enter(phaseLetGo)
}

// failStart ends an attempt to start a machine. A generation that was won is released.
func (c *Core) failStart(m *machine, why string) {
	if m.move.receiving {
		c.failIncoming(m, why)
		return
	}
	c.journalMachine(m, "start-failed", "", fmt.Sprintf("%s could not be started on %s", m.entry.Name, c.HostName(c.cfg.Self.Host)), why)
	c.orderEnded(m, false, why)
	if m.gen.Number == 0 {
		c.drop(m)
		return
	}
	r := poweron.StartFailure(m.entry.Policy, m.failures)
	m.failures = r.Failures
	c.release(m, r.Reason, r.Why+": "+why)
}

// onMachineMonitor tells the operator. Nothing follows from it: a monitor says
// nothing about the right to run.
func (c *Core) onMachineMonitor(o MachineMonitor) {
	m := c.machine(o.VM)
	switch {
	case m == nil:
	case o.Silent:
		c.journalMachine(m, "machine-silent", "", fmt.Sprintf("the monitor of %s does not answer", m.entry.Name), o.Detail)
	default:
		c.journalMachine(m, "machine-answers", "", fmt.Sprintf("the monitor of %s answers again", m.entry.Name))
	}
}

// journalMachine records an event about a machine.
func (c *Core) journalMachine(m *machine, kind Kind, rule, text string, evidence ...string) {
	c.journal(Event{Kind: kind, Host: c.cfg.Self.Host, Datastore: m.home.ID, VM: m.vm, Generation: m.gen.Number, Term: m.home.own.Number, Rule: rule, Text: text, Evidence: evidence})
}

// orderEnded tells the master who ordered a start how it went.
func (c *Core) orderEnded(m *machine, ok bool, why string) {
	if m.master == 0 {
		return
	}
	msg := Message{Kind: OrderEnded, Datastore: m.home.ID, VM: m.vm, Order: m.order, OK: ok, Why: why, Generation: m.gen.Number}
	c.endOrder(m.master, msg)
	m.master, m.order = 0, 0
}

func (c *Core) endOrder(master datastorehb.HostID, msg Message) {
	if master == c.cfg.Self.Host {
		c.onOrderEnded(c.cfg.Self.Host, msg)
	} else {
		c.do(Send{To: master, Message: msg})
	}
}
