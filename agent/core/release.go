package core

import (
	"cmp"
	"fmt"

	"storebeat/datastorehb"
	"storebeat/poweron"
)

// release gives the machine up: whoever wins the generation after this one may start it.
func (c *Core) release(m *machine, why poweron.ReleaseReason, detail string) {
	c.answerHypervisor(m, false, detail)
	m.enter(phaseRelease)
	m.reason, m.detail = why, detail
	m.home.dirty = true
	c.advance(m)
}

func (c *Core) claimRelease(m *machine) {
	m.busy = true
	m.target = poweron.Release(m.gen, m.reason, m.home.own.Number, m.revision, m.failures, m.detail)
	if m.gen.Shared() {
		m.target = c.leaveShared(m)
	}
	c.do(ClaimGeneration{Datastore: m.home.ID, Generation: m.target})
}

// onReleased: a lost race means that somebody has taken the machine already, or that
// an earlier claim of this host took effect late. Only a read can tell.
func (c *Core) onReleased(m *machine, o GenerationClaimed) {
	switch o.Outcome {
	case datastorehb.ClaimFailed:
		m.retry = c.now.Add(c.interval())
	case datastorehb.ClaimLost:
		c.readMachine(m, ForRelease)
	default:
		c.released(m)
	}
}

// onReleaseRead releases what this run of the agent holds all the same, with the same reason.
func (c *Core) onReleaseRead(m *machine, o MachineRead) {
	m.busy = false
	s, self := o.Machine, c.cfg.Self
	switch g := s.Generation; {
	case o.Err != "" || s.GenerationState != datastorehb.Valid && s.GenerationState != datastorehb.Absent:
		m.retry = c.now.Add(c.interval() / 2) // The claim is repeated, loses again, and is looked up again.
	case g.Number > m.gen.Number && g.Names(self.Host) && g.PartyOf(self.Host, s.GenerationBy) == self:
		if !g.Shared() {
			m.reason = c.reasonOfBoth(m, &g)
		}
		m.gen = g
		c.claimRelease(m)
	default:
		m.home.nextScan = c.now // What else is in this host's name is found there.
		c.released(m)
	}
}

// reasonOfBoth says why a machine has ended that both hosts leave to each other, by generation g
// and by what this host was about to claim. Where its guest was moved to is known best there.
func (c *Core) reasonOfBoth(m *machine, g *poweron.Generation) poweron.ReleaseReason {
	if m.gen.Owner == c.cfg.Self.Host || m.move.receiving {
		return cmp.Or(g.Reason, m.reason, poweron.Abandoned)
	}
	return cmp.Or(m.reason, g.Reason, poweron.Abandoned)
}

// released ends this host's part of a machine that it has given up.
func (c *Core) released(m *machine) {
	if m.gen.Shared() {
		c.onLeft(m)
		return
	}
	kind := Kind("machine-released")
	if m.reason == poweron.Held {
		kind = "machine-held"
	}
	c.journalMachine(m, kind, "R8", fmt.Sprintf("%s gave %s up: %s", c.HostName(c.cfg.Self.Host), m.entry.Name, m.reason), m.detail)
	c.drop(m)
}
