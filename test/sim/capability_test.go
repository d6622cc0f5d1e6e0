package sim

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"storebeat/agent/core"
	"storebeat/test/sim/scenario"
)

// needy returns a cluster of hosts that have things, one string each, and machines that
// need things, likewise.
func needy(t *testing.T, seed uint64, hosts, machines []string) *cluster {
	t.Helper()
	s := Default()
	s.Seed = seed
	for i, has := range hosts {
		s.HostSpecs = append(s.HostSpecs, scenario.HostSpec{Name: fmt.Sprintf("h%d", i+1), Memory: 64 << 30, Datastores: []string{"ds1", "ds2"}, Has: append([]string{}, strings.Fields(has)...)})
	}
	for i, needs := range machines {
		s.MachineSpecs = append(s.MachineSpecs, scenario.MachineSpec{Name: fmt.Sprintf("vm%d", i+1), Memory: 1 << 30, Policy: s.Policy, Needs: strings.Fields(needs)})
	}
	return newCluster(t, s)
}

// Machines are ordered only to hosts that have what they need, also by the next master.
// One that no host can take waits, says why, and starts when one can. The observer judges
// every order (I3).
func TestNeedsAreHeeded(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		c := needy(t, seed+1, []string{"a b", "a b", "a"}, []string{"a", "b", "a b", "", "a", "b"})
		c.master().powerOff()
		c.Run(40 * time.Second)
		if c.hosts[2].powered && c.hosts[0].powered != c.hosts[1].powered {
			for _, h := range c.hosts[:2] {
				h.powerOff() // now nobody has b
			}
			c.Run(30 * time.Second)
			for _, i := range []int{2, 3, 6} {
				if on := c.executing(c.vms[i-1]); len(on) > 0 {
					c.fatalf("vm%d runs on %s", i, on[0].name)
				}
				if v := c.viewOf(fmt.Sprintf("vm%d", i)); v.State != "waiting" || !strings.Contains(strings.Join(v.Refusals, "\n"), "h3 has no thing b") {
					c.fatalf("vm%d is %s because %q: %q", i, v.State, v.Why, v.Refusals)
				}
			}
			c.hosts[2].give([]string{"b"})
		}
		c.Run(30 * time.Second)
		for i := range c.vms {
			c.hostOf(i + 1)
		}
		for _, kind := range []string{"start-failed", "start-forbidden"} {
			if c.counts[kind] > 0 {
				c.fatalf("%d events %s", c.counts[kind], kind)
			}
		}
		c.sound()
	}
}

// A host whose agent was started again says anew what it has, and one that has lost
// something keeps what runs.
func TestThingsTakenAway(t *testing.T) {
	t.Parallel()
	c := needy(t, 1, []string{"a", "a", ""}, []string{"a", "a", "a", "a", "a", "a"})
	h := c.hostOf(1)
	m := c.mark()
	h.take([]string{"a"})
	c.Run(20 * time.Second)
	if c.hostOf(1) != h || c.since(m, "machine-stopping") > 0 {
		c.fatalf("vm1 was disturbed")
	}
	h.killAgent()
	c.Run(100 * time.Millisecond)
	h.startAgent()
	c.Run(20 * time.Second)
	h.process(c.vms[0]).end(core.EndedByCrash, "crashed")
	c.Run(40 * time.Second)
	if on := c.hostOf(1); on == h || on == c.hosts[2] {
		c.fatalf("vm1 runs on %s", on.name)
	}
}
