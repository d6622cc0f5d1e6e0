package sim

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"storebeat/agent/core"
	"storebeat/datastorehb"
)

// nextLevel is the feature level of the next program.
const nextLevel = datastorehb.FeatureLevel + 1

// roll puts the next program on a host and starts its agent again, well within the lease.
func (c *cluster) roll(h *host, highest uint16) {
	h.install(highest)
	c.restartAgent(h, 500*time.Millisecond)
	c.Run(12 * time.Second)
	c.settles(20 * time.Second)
}

func (c *cluster) upgrade(without ...string) string {
	c.t.Helper()
	return c.answer(c.order(c.master(), core.ClusterCommand{Verb: core.ClusterUpgrade, Without: without}))
}

// writesAt asks at which level every host writes, by what its shell was told.
func (c *cluster) writesAt(level uint16) {
	c.t.Helper()
	for _, h := range c.hosts {
		if h.agent != nil && h.agent.level != level {
			c.fatalf("%s writes at level %d, not at %d", h.name, h.agent.level, level)
		}
	}
}

// TestRollingUpgrade: the next program on one host after the other, with a host
// lost on the way; then the level is raised, and nobody notices.
func TestRollingUpgrade(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		s := withDatastores(2)
		s.Machines, s.Seed = 6, seed+1
		c := newCluster(t, s)
		c.agree()
		c.refused(c.upgrade(), "nothing to raise")
		m := c.mark()
		for i, h := range c.hosts {
			c.roll(h, nextLevel)
			c.writesAt(datastorehb.FeatureLevel)
			c.quiet(m)
			if i < 2 {
				c.refused(c.upgrade(), fmt.Sprintf("h3 (version , feature level %s)", datastorehb.KnownLevels()))
			}
			if i == int(seed)%3 {
				c.loseAndBringBack(c.others(c.hosts[(i+1)%3])[seed%2])
				m = c.mark()
			}
		}
		c.recorded(c.upgrade())
		c.agree()
		c.Run(2 * time.Second)
		c.writesAt(nextLevel)
		c.quiet(m)
		c.refused(c.upgrade(), "nothing to raise")
		c.loseAndBringBack(c.hosts[seed%3])
		c.writesAt(nextLevel)
	}
}

func (c *cluster) loseAndBringBack(h *host) {
	c.t.Helper()
	h.powerOff()
	c.Run(8 * time.Second)
	c.settles(20 * time.Second)
	h.powerOn()
	c.Run(15 * time.Second)
	c.settles(20 * time.Second)
}

// TestUpgradeWithoutAHost: one that is away may be given up, and its old program
// does no harm when it is back, whether it knows of the upgrade or not.
func TestUpgradeWithoutAHost(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		s := withDatastores(2)
		s.Machines, s.Seed = 6, seed+1
		c := newCluster(t, s)
		c.agree()
		for _, h := range c.hosts[:2] {
			c.roll(h, nextLevel)
		}
		old := c.hosts[2]
		c.refused(c.upgrade("h3"), "h3 is heard")
		old.powerOff()
		c.Run(8 * time.Second)
		c.settles(20 * time.Second)
		c.refused(c.upgrade(), "h3 can't be heard")
		c.recorded(c.upgrade("h3"))
		before := c.counts["program-outdated"]
		old.powerOn()
		c.Run(40 * time.Second)
		if c.counts["program-outdated"] == before || len(c.on(old)) > 0 {
			c.fatalf("h3 does not know that its program is too old, or runs %v", c.on(old))
		}
		c.sound()
		c.roll(old, nextLevel)
		c.agree()
		c.loseAndBringBack(c.hosts[0])
	}
}

// TestOldProgramCutOff: a host that is cut off while the level is raised
// keeps its machines, with all it can read being its own.
func TestOldProgramCutOff(t *testing.T) {
	t.Parallel()
	c := newCluster(t, Default())
	c.agree()
	old := c.others(c.master())[1]
	for _, h := range c.others(old) {
		c.roll(h, nextLevel)
	}
	m := c.mark()
	c.part([]*host{old}, c.others(old))
	c.Run(20 * time.Second)
	var master *host
	for _, h := range c.masters() {
		if h != old {
			master = h
		}
	}
	c.recorded(c.answer(c.order(master, core.ClusterCommand{Verb: core.ClusterUpgrade, Without: []string{old.name}})))
	c.Run(60 * time.Second)
	c.sound()
	c.join()
	c.Run(60 * time.Second)
	c.sound()
	c.started(m, 0)
}

// TestDowngradeIsRefused: a program from before the upgrade does not start where
// the upgrade is known, and the right one takes over as if nothing had been.
func TestDowngradeIsRefused(t *testing.T) {
	t.Parallel()
	c := newCluster(t, Default())
	for _, h := range c.hosts {
		c.roll(h, nextLevel)
	}
	c.recorded(c.upgrade())
	c.agree()
	m := c.mark()
	h := c.hosts[1]
	h.install(datastorehb.FeatureLevel)
	c.restartAgent(h, 500*time.Millisecond)
	c.Run(time.Second)
	if h.agent != nil || c.counts["refused-to-start"] != 1 {
		c.fatalf("the old program runs")
	}
	h.install(nextLevel)
	h.startAgent()
	c.Run(15 * time.Second)
	c.quiet(m)
	if r := c.agree(); !strings.Contains(r.Change, fmt.Sprintf("feature level to %d", nextLevel)) {
		c.fatalf("%+v", r)
	}
}
