package core

import (
	"time"

	"storebeat/datastorehb"
)

// Old values of a register are removed only by the holder of a newer one, which
// has held it for pruneAfter on its own clock, and the newest pruneKeep stay (R2).
const (
	pruneAfter = 10 * time.Minute
	pruneKeep  = 3
)

// holding is a register's value in this host's hands.
type holding struct {
	number uint64              // that is held, 0 for none
	since  datastorehb.Instant // when it was first seen in hand
	pruned bool                // what lies far enough below it was removed
}

// prune removes the old values of the registers in this host's hands: of its own
// term on a datastore, of the machines that run here, and a master's of the
// cluster record.
func (c *Core) prune(f *footing) {
	if best := c.record.standing.Best; f.usable() && c.net.leading && c.record.standing.Counts && f.record.Record != nil && f.record.Record.Revision == best.Revision {
		c.pruneBelow(f, &f.record.holding, datastorehb.ClusterRecords(), best.Revision)
	}
	if !f.usable() || !f.held(c.now) {
		return
	}
	c.pruneBelow(f, &f.holding, datastorehb.TermsOf(c.cfg.Self.Host), f.own.Number)
	for _, m := range c.machines {
		if m.home == f && m.phase == phaseRun && c.mayRun(m) && !m.gen.Shared() {
			c.pruneBelow(f, &m.holding, datastorehb.GenerationsOf(m.vm), m.gen.Number)
		}
	}
}

func (c *Core) pruneBelow(f *footing, h *holding, reg datastorehb.Register, number uint64) {
	if h.number != number {
		*h = holding{number: number, since: c.now}
	}
	if h.pruned || number <= pruneKeep || c.now.Sub(h.since) < pruneAfter {
		return
	}
	h.pruned = true
	c.do(Prune{Datastore: f.ID, Register: reg, Below: number - pruneKeep + 1})
}
