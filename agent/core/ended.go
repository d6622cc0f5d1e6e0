package core

import (
	"fmt"

	"storebeat/poweron"
)

// onMachineGone takes in that nothing is left of a machine's process.
func (c *Core) onMachineGone(o MachineGone) {
	m := c.machine(o.VM)
	another := m != nil && o.Generation != 0 && o.Generation != m.process // an earlier process, reported late
	if m == nil || !m.hasProcess() || another {
		return
	}
	switch m.phase {
	case phaseStop:
		if c.astray(m, o) {
			c.ended(m, o)
			return
		}
		c.release(m, m.reason, m.detail)
	case phasePutDown:
		c.journalMachine(m, "machine-put-down", "R12", fmt.Sprintf("the former instance of %s is gone", m.entry.Name))
		c.drop(m)
	case phaseCreate, phaseLetGo:
		c.failStart(m, "it ended before it was let go: "+o.Detail)
	default:
		c.ended(m, o)
	}
}

// ended decides what follows when a machine ends that nobody asked to end.
func (c *Core) ended(m *machine, o MachineGone) {
	m.frozen, m.home.dirty = false, true
	if m.gen.Term == 0 { // It was found here, and what its generation says has not been read: it may be shared.
		c.cfg.Past = append(c.cfg.Past, o)
		c.drop(m)
		m.home.nextScan = c.now // and then it is disowned
		return
	}
	if m.gen.Shared() || m.move.receiving {
		c.endedMoving(m, o)
		return
	}
	if c.astray(m, o) {
		c.hold(m, o.Detail+fmt.Sprintf(", unasked: `storebeat vm protect %s` where it runs now; start it only if it runs nowhere", m.entry.Name))
		return
	}
	if c.shuttingDown() { // Whatever ended it was part of that, and nobody's will.
		c.release(m, poweron.HostShutdown, "ended while the host shuts down: "+o.Detail)
		return
	}
	if o.Ending == EndedByGuest && m.entry.Policy.OnGuestShutDown != poweron.StartAgain {
		c.journalMachine(m, "guest-shut-down", "", fmt.Sprintf("the guest of %s switched itself off", m.entry.Name), o.Detail)
		c.release(m, poweron.GuestShutDown, o.Detail)
		return
	}
	if o.Ending == EndedByUser {
		c.hold(m, o.Detail)
		return
	}
	r := poweron.Crash(m.entry.Policy, m.failures, c.now.Sub(m.since))
	m.failures = r.Failures
	c.journalMachine(m, "machine-crashed", "", fmt.Sprintf("%s ended unasked: %s", m.entry.Name, r.Why), o.Detail)
	if r.Action != poweron.RestartHere {
		c.release(m, r.Reason, r.Why)
		return
	}
	if m.move.unsure || m.move.target.Number != 0 { // it may be shared by now
		c.release(m, poweron.Crashed, r.Why)
		return
	}
	m.enter(phaseSpot)
	m.retry = c.now.Add(r.Delay)
}

// hold gives up a machine that was ended by a user of the hypervisor.
func (c *Core) hold(m *machine, detail string) {
	c.journalMachine(m, "machine-destroyed", "", fmt.Sprintf("%s was ended by a user of the hypervisor, and stays off until a user wants it started", m.entry.Name), detail)
	m.failures = 0
	c.release(m, poweron.Held, detail)
}

// astray reports whether a hypervisor has moved a machine away without asking any agent: it
// may run on where none knows of it.
func (c *Core) astray(m *machine, o MachineGone) bool {
	return o.Ending == EndedByMigration && !c.wasAsked(m)
}
