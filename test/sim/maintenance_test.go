package sim

import (
	"slices"
	"testing"
	"time"

	"storebeat/agent/core"
)

// maintain asks the master to begin or end a host's maintenance.
func (c *cluster) maintain(h *host, on, full bool) string {
	c.t.Helper()
	return c.answer(c.order(c.master(), core.ClusterCommand{Verb: core.ClusterMaintenance, Host: h.name, On: on, Move: on && full, Return: !on && full}))
}

func (c *cluster) becomesEmpty(h *host, within time.Duration) {
	c.t.Helper()
	if _, ok := c.RunUntil(within, func() bool { return len(h.processes) == 0 }); !ok {
		c.fatalf("%s still runs %v", h.name, c.on(h))
	}
}

// atMost asks that never more than so many wanted machines stand still while time passes.
func (c *cluster) atMost(missing int, d time.Duration) {
	c.t.Helper()
	for end := c.now + d; c.now < end; c.Run(20 * time.Millisecond) {
		off := 0
		for _, vm := range c.vms {
			if c.wanted(vm) && len(c.executing(vm)) == 0 {
				off++
			}
		}
		if off > missing {
			c.fatalf("%d machines stand still at a time", off)
		}
	}
}

func TestMaintenance(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		s := Default()
		s.Seed, s.Machines = seed+1, 9
		c := newCluster(t, s)
		c.agree()
		h := c.hosts[seed%3] // the master as well
		were := c.on(h)
		m := c.mark()
		c.recorded(c.maintain(h, true, false))
		c.agree()
		c.Run(30 * time.Second)
		c.quiet(m) // without --move nothing leaves
		if seed%2 == 0 {
			other := c.others(h)[0]
			other.powerOff()
			c.Run(8 * time.Second)
			c.settles(20 * time.Second)
			if got := c.on(h); !slices.Equal(got, were) {
				c.fatalf("%s got new machines in maintenance: %v, then %v", h.name, were, got)
			}
			other.powerOn()
			c.Run(15 * time.Second)
			c.settles(20 * time.Second)
		}
		c.recorded(c.maintain(h, true, true))
		c.atMost(1, 40*time.Second)
		c.becomesEmpty(h, 2*time.Minute)
		c.settles(20 * time.Second)
		h.powerOff()
		c.Run(20 * time.Second)
		h.powerOn()
		c.Run(20 * time.Second)
		c.settles(20 * time.Second)
		if len(c.on(h)) > 0 {
			c.fatalf("%s forgot its maintenance", h.name)
		}
		c.recorded(c.maintain(h, false, true))
		if _, ok := c.RunUntil(3*time.Minute, func() bool { return slices.Equal(c.on(h), were) }); !ok {
			c.fatalf("%s ran %v before, and runs %v", h.name, were, c.on(h))
		}
		c.Run(30 * time.Second)
		c.settles(20 * time.Second)
		if r := c.agree(); len(r.Member(h.id).Returning) > 0 {
			c.fatalf("the return is not over: %+v", r.Member(h.id))
		}
		m = c.mark()
		c.Run(time.Minute)
		c.quiet(m)
	}
}

// TestMaintenanceSurvivesTheMaster: the next one goes on where it was lost.
func TestMaintenanceSurvivesTheMaster(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		s := Default()
		s.Seed, s.Machines, s.Hosts = seed+1, 8, 4
		c := newCluster(t, s)
		c.agree()
		h := c.others(c.master())[seed%3]
		c.recorded(c.maintain(h, true, true))
		c.Run(c.between(0, 6*time.Second))
		old := c.master()
		old.powerOff()
		c.becomesEmpty(h, 3*time.Minute)
		c.settles(30 * time.Second)
		old.powerOn()
		c.Run(20 * time.Second)
		c.settles(30 * time.Second)
		c.sound()
	}
}

func TestMaintenanceIsRefused(t *testing.T) {
	t.Parallel()
	c := newCluster(t, Default())
	c.agree()
	h := c.others(c.master())[0]
	c.refused(c.answer(c.order(c.master(), core.ClusterCommand{Verb: core.ClusterMaintenance, Host: "nobody", On: true})), "no member")
	h.powerOff()
	c.Run(10 * time.Second)
	c.refused(c.maintain(h, true, true), "is not heard")
	c.refused(c.maintain(c.master(), false, true), "nothing to bring back")
}

// TestMaintenanceWithoutRoom: what fits nowhere else stays where it is and runs on,
// and is told with the reason. It leaves once there is room.
func TestMaintenanceWithoutRoom(t *testing.T) {
	t.Parallel()
	s := Default()
	s.Machines = 6
	c := newCluster(t, s)
	c.agree()
	h := c.others(c.master())[0]
	others := c.others(h)
	for _, o := range others { // room for one more machine altogether
		o.memory = 2 << 30
		o.agent.observe(core.MemoryState{Total: o.memory})
	}
	others[0].memory = 3 << 30
	others[0].agent.observe(core.MemoryState{Total: others[0].memory})
	c.recorded(c.maintain(h, true, true))
	c.Run(90 * time.Second)
	c.settles(20 * time.Second)
	if len(c.on(h)) != 1 || c.counts["machine-not-moved"] == 0 {
		c.fatalf("%s runs %v", h.name, c.on(h))
	}
	stuck := c.master().agent.core.View(c.master().now()).Hosts[h.index].Stuck
	if len(stuck) != 1 {
		c.fatalf("it is not told why: %q", stuck)
	}
	t.Log(stuck[0])
	others[1].memory = 8 << 30
	others[1].agent.observe(core.MemoryState{Total: others[1].memory})
	c.becomesEmpty(h, 2*time.Minute)
	c.settles(20 * time.Second)
}
