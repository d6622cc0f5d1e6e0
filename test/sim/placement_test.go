package sim

import (
	"strings"
	"testing"
	"time"

	"storebeat/agent/core"
	"storebeat/datastorehb"
	"storebeat/poweron"
)

// ruled returns a cluster whose machines have rules, by their names.
func ruled(t *testing.T, seed uint64, rules map[string]poweron.Rules) *cluster {
	t.Helper()
	s := Default()
	s.Seed, s.Rules = seed, rules
	return newCluster(t, s)
}

func must(a poweron.Affinity, groups ...string) poweron.Rules {
	return poweron.Rules{Groups: groups, Must: a}
}

// viewOf returns what the master says of a machine.
func (c *cluster) viewOf(name string) core.MachineView {
	c.t.Helper()
	h := c.master()
	for _, m := range h.agent.core.View(h.now()).Machines {
		if m.Name == name {
			return m
		}
	}
	c.fatalf("the master knows nothing of %s", name)
	return core.MachineView{}
}

// hostOf returns the host that runs machine i, counted from 1.
func (c *cluster) hostOf(i int) *host {
	c.t.Helper()
	on := c.executing(c.vms[i-1])
	if len(on) != 1 {
		c.fatalf("vm%d runs on %d hosts", i, len(on))
	}
	return on[0]
}

// Of three that must be apart on three hosts, the one that loses its host waits,
// says for what, and starts once there is a host for it again.
func TestHostDeathWithMachinesApart(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		pair := must(poweron.Affinity{Apart: []string{"web"}}, "web")
		c := ruled(t, seed+1, map[string]poweron.Rules{"vm1": pair, "vm2": pair, "vm3": pair})
		lost := c.hostOf(2)
		lost.powerOff()
		c.Run(30 * time.Second)
		if on := c.executing(c.vms[1]); len(on) > 0 {
			c.fatalf("vm2 runs on %s beside another of its group", on[0].name)
		}
		for i := 4; i <= 6; i++ {
			c.hostOf(i)
		}
		v := c.viewOf("vm2")
		if v.State != "waiting" || !strings.HasPrefix(v.Why, "its rules leave it no usable host: ") || !strings.HasSuffix(v.Why, "and the two must be apart") || len(v.Refusals) != 3 {
			c.fatalf("vm2 is %s because %q: %q", v.State, v.Why, v.Refusals)
		}
		lost.powerOn()
		c.settles(time.Minute)
		if c.hostOf(2) != lost {
			c.fatalf("vm2 runs on %s", c.hostOf(2).name)
		}
	}
}

// Those that must be together are so after their host's death, and those that
// must run on certain hosts run there.
func TestHostDeathWithMachinesTogether(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		c := ruled(t, seed+1, map[string]poweron.Rules{
			"vm1": must(poweron.Affinity{Together: []string{"app"}, Hosts: []datastorehb.HostID{1, 2}}),
			"vm2": must(poweron.Affinity{}, "app"), "vm3": must(poweron.Affinity{}, "app"),
			"vm4": {Prefer: poweron.Affinity{Hosts: []datastorehb.HostID{3}}},
		})
		if c.hostOf(4).id != 3 {
			c.fatalf("vm4 runs on %s", c.hostOf(4).name)
		}
		c.hostOf(1).powerOff()
		c.settles(20 * time.Second)
		if c.hostOf(1) != c.hostOf(2) || c.hostOf(1) != c.hostOf(3) || c.hostOf(1).id == 3 {
			c.fatalf("vm1, vm2 and vm3 run on %s, %s and %s", c.hostOf(1).name, c.hostOf(2).name, c.hostOf(3).name)
		}
		c.hostOf(4).powerOff()
		c.settles(time.Minute)
	}
}

// A host does not start what a rule keeps off it, whoever orders it.
func TestHostRefusesAnOrderAgainstARule(t *testing.T) {
	t.Parallel()
	c := ruled(t, 1, map[string]poweron.Rules{
		"vm1": must(poweron.Affinity{Apart: []string{"vm2"}}), "vm3": must(poweron.Affinity{Hosts: []datastorehb.HostID{1}}),
	})
	h := c.hostOf(1)
	other := c.others(h, c.hostOf(2))[0]
	for _, i := range []int{2, 3} {
		c.ask(c.master(), core.Stop, i)
		c.Run(10 * time.Second)
		c.ask(c.master(), core.Start, i)
		on := h
		if i == 3 {
			on = c.hosts[2]
		}
		on.agent.observe(core.Received{From: other.id, Message: core.Message{Kind: core.StartOrder, Datastore: c.stores[(i-1)%2].id, VM: c.vms[i-1], Order: 99}})
		c.Run(10 * time.Second)
		if c.hostOf(i) == on {
			c.fatalf("vm%d runs on %s", i, on.name)
		}
	}
}

// A machine that can't be started is tried at growing intervals, says when, and
// is held only after minutes.
func TestFailedStartsAreSpaced(t *testing.T) {
	t.Parallel()
	c := newCluster(t, Default())
	for _, h := range c.hosts {
		h.badStart = true
	}
	m := c.mark()
	c.hostOf(1).process(c.vms[0]).end(core.EndedByCrash, "crashed")
	c.Run(70 * time.Second)
	if n := c.since(m, "start-failed"); n < 2 || n > 4 {
		c.fatalf("%d failed starts within 70 seconds", n)
	}
	if v := c.viewOf("vm1"); v.State != "waiting" || !strings.Contains(v.Why, "the next start is tried in") {
		c.fatalf("vm1 is %s: %s", v.State, v.Why)
	}
	c.Run(2 * time.Minute)
	if v := c.viewOf("vm1"); v.State != "held" {
		c.fatalf("vm1 is %s: %s", v.State, v.Why)
	}
	for _, h := range c.hosts {
		h.badStart = false
	}
	c.ask(c.master(), core.Start, 1)
	c.Run(10 * time.Second)
	c.settles(time.Second)
	c.hostOf(1)
}

// What a forecast says of the loss of a host is what happens.
func TestForecastComesTrue(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		c := ruled(t, seed+1, map[string]poweron.Rules{
			"vm1": must(poweron.Affinity{Apart: []string{"vm2"}}), "vm3": {Prefer: poweron.Affinity{Hosts: []datastorehb.HostID{3, 2}}},
			"vm4": must(poweron.Affinity{Hosts: []datastorehb.HostID{1, 2}}), "vm5": must(poweron.Affinity{Together: []string{"vm6"}}),
		})
		lost := c.hosts[int(seed)%3]
		f := c.master().agent.core.Situation().Lose(lost.id)
		lost.powerOff()
		c.Run(30 * time.Second)
		for _, fate := range f.Starts {
			if on := c.executing(fate.VM); len(on) != 1 || on[0] == lost {
				c.fatalf("%s was to start on %s, and runs on %d hosts", fate.Machine, fate.To, len(on))
			}
		}
		for _, fate := range f.Waits {
			if on := c.executing(fate.VM); len(on) > 0 {
				c.fatalf("%s was to wait (%s), and runs on %s", fate.Machine, fate.Why, on[0].name)
			}
		}
		c.sound()
	}
}
