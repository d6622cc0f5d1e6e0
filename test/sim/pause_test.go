package sim

import (
	"testing"
	"time"

	"storebeat/agent/core"
)

func (c *cluster) pauses(for_ time.Duration) string {
	c.t.Helper()
	return c.answer(c.order(c.master(), core.ClusterCommand{Verb: core.ClusterPause, For: for_, Why: "new switch"}))
}

// TestPause: during a pause the storage may stand still for all, the network may be
// gone and agents may restart: no machine is touched. It ends by itself.
func TestPause(t *testing.T) {
	t.Parallel()
	for seed := range uint64(15) {
		s := Default()
		s.Seed = seed + 1
		c := newCluster(t, s)
		c.agree()
		c.refused(c.pauses(0), "a pause of 0s")
		m := c.mark()
		c.recorded(c.pauses(10 * time.Minute))
		c.Run(10 * time.Second)
		for _, st := range c.stores {
			c.hang(st)
		}
		if seed%2 == 0 {
			c.part(c.hosts[:1], c.hosts[1:])
		}
		c.Run(2 * time.Minute)
		if c.counts["custody-begun"] < 6 {
			c.fatalf("custody began %d times", c.counts["custody-begun"])
		}
		c.quietMachines(m)
		c.heal()
		c.Run(30 * time.Second)
		if seed%3 == 0 {
			c.restartAgent(c.hosts[seed%3], time.Second)
			c.Run(20 * time.Second)
		}
		c.quietMachines(m)
		if seed%2 == 0 {
			c.recorded(c.answer(c.order(c.master(), core.ClusterCommand{Verb: core.ClusterResume})))
		} else {
			c.Run(9 * time.Minute)
		}
		c.Run(time.Minute)
		if r := c.agree(); r.Pause != nil {
			c.fatalf("the pause is not over")
		}
		c.quietMachines(m)
		lost := c.hosts[seed%3]
		lost.powerOff()
		c.Run(8 * time.Second)
		c.settles(20 * time.Second)
	}
}

// quietMachines asks that no machine was touched since the mark.
func (c *cluster) quietMachines(m mark) {
	c.t.Helper()
	c.sound()
	for _, kind := range []core.Kind{"lease-lapsed", "machines-frozen", "machine-started", "machine-stopping", "term-closed"} {
		if n := c.since(m, kind); n > 0 {
			c.fatalf("%d × %s during a pause", n, kind)
		}
	}
}
