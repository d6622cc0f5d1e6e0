package sim

import (
	"testing"
	"time"

	"storebeat/agent/core"
)

func TestSameSeedSameTrace(t *testing.T) {
	t.Parallel()
	run := func() string {
		c := newCluster(t, Default())
		c.master().powerOff()
		c.Run(30 * time.Second)
		return c.Trace().String()
	}
	if a, b := run(), run(); a != b {
		t.Fatal("two runs of one seed have different traces")
	}
}

func TestClusterComesUpAndStartsItsMachines(t *testing.T) {
	t.Parallel()
	c := newCluster(t, Default())
	if c.allStarts() != 6 {
		c.fatalf("%d starts of 6 machines", c.allStarts())
	}
	for _, h := range c.hosts {
		if len(c.on(h)) != 2 {
			c.fatalf("%s runs %v: the machines are not spread", h.name, c.on(h))
		}
	}
}

func TestAgentBackWithinItsLeaseDisturbsNothing(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		s := Default()
		s.Seed = seed + 1
		c := newCluster(t, s)
		m := c.mark()
		for _, h := range c.hosts {
			c.restartAgent(h, c.between(100*time.Millisecond, 2*time.Second))
			c.Run(12 * time.Second)
		}
		c.quiet(m)
	}
}

func TestAgentBackAfterItsLease(t *testing.T) {
	t.Parallel()
	for _, away := range []time.Duration{4200 * time.Millisecond, 4900 * time.Millisecond, 5300 * time.Millisecond, 6 * time.Second, 20 * time.Second} {
		for seed := range uint64(10) {
			s := Default()
			s.Seed = seed + 1
			c := newCluster(t, s)
			m := c.mark()
			h := c.hosts[int(seed)%3]
			lost := len(c.on(h))
			c.restartAgent(h, away)
			c.Run(away)
			c.settles(20 * time.Second)
			if n := c.allStarts() - m.starts; n > lost {
				c.fatalf("%d starts for %d lost machines", n, lost)
			}
			c.Run(30 * time.Second)
			c.settles(time.Second)
			if n := c.allStarts() - m.starts; n > lost {
				c.fatalf("%d starts for %d lost machines", n, lost)
			}
		}
	}
}

func TestGuardKilled(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		s := Default()
		s.Seed = seed + 1
		c := newCluster(t, s)
		m := c.mark()
		for _, h := range c.hosts {
			h.killGuard()
			c.settles(4 * time.Second)
			c.Run(5 * time.Second)
		}
		c.started(m, 0)
	}
}

// TestOutageEndsNothing: however long machines stand frozen for want of storage, their
// guards leave them, for their agents are there.
func TestOutageEndsNothing(t *testing.T) {
	t.Parallel()
	c := newCluster(t, Default())
	m := c.mark()
	for _, s := range c.stores {
		c.hang(s)
	}
	c.Run(10 * time.Minute)
	for _, s := range c.stores {
		c.mend(s)
	}
	c.settles(20 * time.Second)
	c.started(m, 0)
}

func TestAgentPaused(t *testing.T) {
	t.Parallel()
	for _, for_ := range []time.Duration{2 * time.Second, 4100 * time.Millisecond, 5 * time.Second, 7 * time.Second, 60 * time.Second} {
		s := Default()
		s.Seed = uint64(for_)
		c := newCluster(t, s)
		m := c.mark()
		h := c.others(c.master())[0]
		lost := len(c.on(h))
		h.agent.pause()
		c.Run(for_)
		h.agent.resume()
		c.settles(20 * time.Second)
		c.Run(20 * time.Second)
		if n := c.allStarts() - m.starts; n != 0 && n != lost {
			c.fatalf("%d starts for %d machines", n, lost)
		}
	}
}

func TestHostStandsStill(t *testing.T) {
	t.Parallel()
	for _, for_ := range []time.Duration{2 * time.Second, 4100 * time.Millisecond, 5 * time.Second, 5500 * time.Millisecond, 7 * time.Second, 60 * time.Second} {
		for seed := range uint64(5) {
			s := Default()
			s.Seed = seed + 1
			c := newCluster(t, s)
			m := c.mark()
			h := c.hosts[seed%3]
			lost := len(c.on(h))
			h.stop()
			c.Run(for_)
			h.goOn()
			c.settles(20 * time.Second)
			c.Run(20 * time.Second)
			if n := c.allStarts() - m.starts; n != 0 && n != lost {
				c.fatalf("%d starts for %d machines", n, lost)
			}
		}
	}
}

func TestUserCommands(t *testing.T) {
	t.Parallel()
	c := newCluster(t, Default())
	m := c.mark()
	vm := c.vms[0]
	c.ask(c.hosts[1], core.Stop, 1)
	if _, ok := c.RunUntil(10*time.Second, func() bool { return len(c.executing(vm)) == 0 }); !ok {
		c.fatalf("vm1 was not stopped")
	}
	c.Run(2 * time.Minute)
	c.started(m, 0)
	c.settles(time.Second)
	c.ask(c.hosts[2], core.Start, 1)
	if took, ok := c.RunUntil(10*time.Second, func() bool { return len(c.executing(vm)) == 1 }); !ok {
		c.fatalf("vm1 was not started")
	} else {
		t.Logf("started %v after the command", took)
	}
	c.ask(c.hosts[0], core.Unprotect, 1)
	c.Run(5 * time.Second)
	h := c.executing(vm)
	if len(h) != 1 {
		c.fatalf("an unprotected machine goes on running")
	}
	h[0].powerOff()
	c.Run(60 * time.Second)
	if len(c.executing(vm)) != 0 {
		c.fatalf("an unprotected machine was started")
	}
	h[0].powerOn()
	c.Run(60 * time.Second)
	if len(c.executing(vm)) != 0 {
		c.fatalf("an unprotected machine was started")
	}
	c.ask(c.hosts[0], core.Start, 99)
	c.Run(5 * time.Second)
	if n := len(c.replies); uint64(n) != c.commands {
		c.fatalf("%d replies to %d commands", n, c.commands)
	}
	c.sound()
}

// TestUserRaces has a user change their mind while a machine is being taken over.
func TestUserRaces(t *testing.T) {
	t.Parallel()
	for _, verb := range []core.Verb{core.Stop, core.Unprotect} {
		for at := 4 * time.Second; at < 6*time.Second; at += 50 * time.Millisecond {
			s := Default()
			s.Seed = uint64(at)
			c := newCluster(t, s)
			h := c.others(c.master())[0]
			vm := c.on(h)[0]
			h.powerOff()
			c.Run(at)
			c.ask(c.master(), verb, vm)
			c.Run(15 * time.Second)
			if verb == core.Stop && len(c.executing(c.vms[vm-1])) != 0 {
				c.fatalf("vm%d runs though its user stopped it", vm)
			}
			c.settles(10 * time.Second)
			c.command(c.master(), core.Command{Verb: core.Start, VM: c.vms[vm-1].String()})
			c.Run(10 * time.Second)
			c.settles(10 * time.Second)
			if len(c.executing(c.vms[vm-1])) != 1 {
				c.fatalf("vm%d does not run though its user started it", vm)
			}
		}
	}
}

func TestMachineCrashes(t *testing.T) {
	t.Parallel()
	c := newCluster(t, Default())
	vm := c.vms[0]
	first := c.executing(vm)[0]
	for i, want := range []struct {
		moves, held bool
	}{{}, {}, {moves: true}, {}, {}, {held: true}} {
		on := c.executing(vm)
		if len(on) != 1 {
			c.fatalf("crash %d: vm1 runs on %d hosts", i+1, len(on))
		}
		m := c.mark()
		on[0].process(vm).end(core.EndedByCrash, "crashed")
		if want.held {
			c.Run(3 * time.Minute)
			if len(c.executing(vm)) != 0 {
				c.fatalf("vm1 is not held")
			}
			continue
		}
		if _, ok := c.RunUntil(90*time.Second, func() bool { return len(c.executing(vm)) == 1 }); !ok {
			c.fatalf("crash %d: vm1 was not started again", i+1)
		}
		if moved := c.executing(vm)[0] != on[0]; moved != want.moves {
			c.fatalf("crash %d: moved is %t", i+1, moved)
		}
		c.started(m, 1)
	}
	_ = first
	c.settles(time.Second)
	c.ask(c.hosts[0], core.Start, 1)
	c.Run(5 * time.Second)
	if len(c.executing(vm)) != 1 {
		c.fatalf("a held machine is let go by its user")
	}
	c.sound()
}

func TestDatastoreReplacedOrRolledBack(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"replaced", "rolled back"} {
		c := newCluster(t, Default())
		s := c.stores[0]
		old := s.snapshot()
		h := c.executing(c.vms[0])[0]
		c.ask(c.hosts[0], core.Stop, 1)
		c.Run(20 * time.Second)
		c.ask(c.hosts[0], core.Start, 1)
		c.Run(20 * time.Second)
		m := c.mark()
		if how == "replaced" {
			s.replace()
		} else {
			s.restore(old)
		}
		c.Run(75 * time.Second)
		if n := c.since(m, "datastore-distrusted"); n != 3 {
			c.fatalf("%s: %d hosts distrust it", how, n)
		}
		h.powerOff()
		c.Run(30 * time.Second)
		for i, vm := range c.vms {
			if on := c.executing(vm); len(on) != i%2 {
				c.fatalf("%s: vm%d runs on %d hosts", how, i+1, len(on))
			}
		}
		if v := c.Violations(); len(v) > 0 {
			c.fatalf("%s: %s", how, v[0])
		}
	}
}

func TestTwoComputersWithOneID(t *testing.T) {
	t.Parallel()
	c := newCluster(t, Default())
	m := c.mark()
	twin := c.twin(c.hosts[1])
	twin.powerOn()
	c.Run(2 * time.Minute)
	c.sound()
	if n := c.since(m, "term-closed") + c.since(m, "lease-lapsed") + c.since(m, "machine-started"); n > 0 {
		c.fatalf("%d things happened to machines", n)
	}
	if c.since(m, "datastore-distrusted") == 0 {
		c.fatalf("nobody noticed")
	}
}

func TestComputerReplacedByAnotherWithItsID(t *testing.T) {
	t.Parallel()
	c := newCluster(t, Default())
	m := c.mark()
	h := c.others(c.master())[0]
	lost := len(c.on(h))
	h.powerOff()
	twin := c.twin(h)
	twin.powerOn()
	c.Run(60 * time.Second)
	c.settles(10 * time.Second)
	c.started(m, lost)
	twin.powerOff()
	c.Run(time.Second)
	c.settles(20 * time.Second)
}

// TestRebootIsNoticedOnEveryDatastore has hosts that boot so quickly that nobody calls them
// lost, with machines on a datastore that carries no heartbeats of theirs.
func TestRebootIsNoticedOnEveryDatastore(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		s := Default()
		s.Seed, s.Datastores = seed+1, 3
		c := newCluster(t, s)
		for _, h := range c.hosts {
			m, lost := c.mark(), len(c.on(h))
			h.powerOff()
			h.powerOn()
			c.settles(15 * time.Second)
			c.started(m, lost)
			c.Run(10 * time.Second)
		}
	}
}

// TestDamagedSlotOfARestartedAgent: while a damaged slot is watched (R1), the
// vouches for its host come and go; they are no sign of another computer.
func TestDamagedSlotOfARestartedAgent(t *testing.T) {
	t.Parallel()
	c := newCluster(t, Default())
	h := c.others(c.master())[0]
	for _, s := range c.stores {
		c.hang(s, h)
	}
	c.Run(10 * time.Second)
	h.killAgent()
	for _, s := range c.stores {
		s.tear(h.id)
	}
	c.heal()
	c.Run(2 * time.Second)
	for _, s := range c.stores {
		s.tear(h.id)
	}
	c.settles(30 * time.Second)
}

// TestFailedHeartbeatsAreTriedAgain: a datastore whose heartbeats failed on every host is
// given up for another one; it must be found to work again all the same.
func TestFailedHeartbeatsAreTriedAgain(t *testing.T) {
	t.Parallel()
	s := Default()
	s.Hosts, s.Datastores = 2, 3
	c := newCluster(t, s)
	for _, i := range []int{1, 4} {
		c.ask(c.hosts[0], core.Stop, i)
	}
	c.Run(10 * time.Second)
	// Reads go on, so nothing but heartbeats can tell.
	for _, h := range c.hosts {
		h.paths[0].lost = 1
	}
	c.Run(30 * time.Second)
	c.mend(c.stores[0], c.hosts...)
	c.Run(10 * time.Second)
	for _, i := range []int{1, 4} {
		c.ask(c.hosts[0], core.Start, i)
	}
	c.Run(10 * time.Second)
	for _, i := range []int{1, 4} {
		if len(c.executing(c.vms[i-1])) != 1 {
			c.fatalf("vm%d does not run", i)
		}
	}
}

// TestStoppedWhileItsStartHangs: the last look at the entry must not lie long
// before the machine runs, however long its start takes.
func TestStoppedWhileItsStartHangs(t *testing.T) {
	t.Parallel()
	for _, verb := range []core.Verb{core.Stop, core.Unprotect} {
		c := newCluster(t, Default())
		c.ask(c.hosts[0], core.Stop, 1)
		c.Run(10 * time.Second)
		for _, h := range c.hosts {
			h.slowStart = 12 * time.Second
		}
		m := c.mark()
		c.ask(c.hosts[0], core.Start, 1)
		c.Run(2 * time.Second)
		c.ask(c.hosts[0], verb, 1)
		c.Run(30 * time.Second)
		c.started(m, 0)
		c.settles(time.Second)
	}
}
