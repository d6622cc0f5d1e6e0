package core

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"storebeat/poweron"
)

// A freeze from outside stops a guest and not the clock of its emulated watchdog, which
// would reset the guest at the thaw. So a guest that has one is halted through its monitor just
// before its lease ends, with its clock, and goes on when the lease is renewed or it has been
// thawed. Nothing hangs on it: a monitor that does not answer, or an agent that is not there,
// leaves the guest to the guard, which freezes at the end of the lease whatever was done before.

// haltTellEvery is how often it is told at most that one machine is halted, if it goes on each time.
const haltTellEvery = time.Minute

// haltMargin is how long before the end of its lease a guest is halted: a quarter of what is
// left of a lease when the next heartbeat is due, so that one which is a little late halts
// nothing.
func (c *Core) haltMargin(f *footing) time.Duration {
	return min((f.lease.Length()-c.interval())/4, time.Second)
}

// halts reports whether a machine's guest is to be halted before it is frozen.
func (c *Core) halts(m *machine) bool {
	switch m.entry.Policy.Pause {
	case poweron.Freeze:
		return false
	case poweron.StopThenFreeze:
		return true
	}
	i := m.home.info(m.vm)
	return i != nil && i.Needs.Watchdog
}

// isMoved reports whether a hypervisor's tools move the machine just now, or may. One that is
// halted in the middle would stand still where it arrives, and nobody there would know why.
func (m *machine) isMoved() bool {
	return m.gen.Shared() || m.move.receiving || m.move.handed != 0 || m.move.unsure || m.move.target.Number != 0
}

// tendHalts halts the guests whose lease is about to run out, and has those go on whose
// lease was renewed in time.
func (c *Core) tendHalts(f *footing) {
	if f.phase != termHeld && f.inherited == nil || !f.lease.Valid(c.now) {
		return
	}
	ends := !f.lease.InCustody() && c.due(f.lease.Deadline().Add(-c.haltMargin(f)))
	var halt, resume []uuid.UUID
	for _, m := range c.machines {
		if m.home != f || m.frozen || m.phase != phaseRun && m.phase != phaseStop {
			continue
		}
		switch {
		case ends && !m.halted && m.phase == phaseRun && !m.isMoved() && c.halts(m):
			m.halted = true
			halt = append(halt, m.vm)
			c.tellHalt(m)
		case !ends && m.halted:
			m.halted = false
			resume = append(resume, m.vm)
		}
	}
	if halt != nil {
		c.do(HaltGuests{VMs: halt})
	}
	if resume != nil {
		c.do(ResumeGuests{VMs: resume})
	}
}

// tellHalt tells that a machine is halted, but not again and again: under storage that is always
// a little too slow it is with each heartbeat.
func (c *Core) tellHalt(m *machine) {
	m.haltAt = c.now
	if m.haltTold == 0 || c.now.Sub(m.haltTold) >= haltTellEvery {
		m.haltTold = c.now
		c.journalMachine(m, "machine-halted", "R5", fmt.Sprintf("%s is halted, with its clock: its lease ends in %v unless it is renewed", m.entry.Name, rounded(m.home.lease.Deadline().Sub(c.now))))
	}
}

// tellHalted tells which machines were halted before a lease ended, as far as that was not told.
func (c *Core) tellHalted(f *footing) {
	for _, m := range c.machinesOn(f) {
		if m.halted && m.haltTold < m.haltAt {
			m.haltTold = c.now
			c.journalMachine(m, "machine-halted", "R5", fmt.Sprintf("%s was halted, with its clock, %v before its lease ended", m.entry.Name, rounded(c.now.Sub(m.haltAt))))
		}
	}
}

// resume has the guest of a machine go on that has been thawed, if it was halted before.
func (c *Core) resume(m *machine) {
	if m.halted {
		m.halted = false
		c.do(ResumeGuests{VMs: []uuid.UUID{m.vm}})
	}
}
