package sim

import (
	"testing"
	"time"

	"storebeat/agent/core"
)

// TestDamagedSlotWatchedTwice: a slot that is damaged while its writer watches it for a second
// time says nothing of the sequence; the next write must still be above those before.
func TestDamagedSlotWatchedTwice(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	lost := len(b.on(b.h))
	m := b.mark()
	b.h.exchange()
	b.Run(2 * time.Second)
	b.h.powerOn()
	b.until("second watch", func() bool { return b.since(m, "slot-foreign") == 2 })
	b.s.tear(b.h.id)
	b.settles(20 * time.Second)
	b.started(m, lost)
	b.beaten(b.h)
}

// TestTornHeartbeats: a write that lands in part leaves the copy beside it whole, so the
// host reads as one that is alive, and nothing of it is given away.
func TestTornHeartbeats(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	m := b.mark()
	for range 20 {
		b.h.paths[0].torn = 1
		b.Run(1200 * time.Millisecond)
		b.h.paths[0].torn = 0
		b.Run(1500 * time.Millisecond)
	}
	b.heals()
	if n := b.since(m, "term-closed"); n > 0 || len(b.Trace().Find("torn")) < 10 {
		b.fatalf("%d terms closed", n)
	}
}

// TestFullDatastore: on a full datastore machines run on, and a lost host's are taken over
// with the files that were prepared. New machines have to wait.
func TestFullDatastore(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	m, lost := b.mark(), len(b.on(b.h))
	b.s.fill(true)
	b.Run(time.Minute)
	b.quiet(m)
	b.h.powerOff()
	b.settles(10 * time.Second)
	b.started(m, lost)
	vm := b.on(b.k)[0]
	for i := 0; b.k.agent.ready[0] > 0; i++ {
		if i == 60 {
			b.fatalf("%d prepared files are left", b.k.agent.ready[0])
		}
		b.ask(b.k, core.Stop, vm)
		b.Run(5 * time.Second)
		b.ask(b.k, core.Start, vm)
		b.Run(5 * time.Second)
	}
	b.sound()
	b.s.fill(false)
	b.Run(40 * time.Second)
	b.settles(time.Second)
}

// TestSomethingElseAnswersPings: that a lost host's address answers keeps nobody from
// starting its machines.
func TestSomethingElseAnswersPings(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	m, lost := b.mark(), len(b.on(b.h))
	b.h.echo(true)
	b.h.powerOff()
	b.settles(7 * time.Second)
	b.started(m, lost)
}

// TestForgottenHeartbeats: a datastore that acknowledges heartbeats and loses them is found
// out by the host itself before others may close its term.
func TestForgottenHeartbeats(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		b := newBench(t, func(s *Setup) { s.Seed = seed + 1 })
		m := b.mark()
		b.forget(b.s, b.h)
		b.Run(30 * time.Second)
		if b.since(m, "datastore-distrusted") == 0 {
			b.fatalf("nobody noticed")
		}
		b.sound()
	}
}

// TestWallClockJumps: the day does not matter.
func TestWallClockJumps(t *testing.T) {
	t.Parallel()
	c := newCluster(t, Default())
	m := c.mark()
	for _, h := range c.hosts {
		h.jump(-1000 * time.Hour)
		c.Run(5 * time.Second)
		h.jump(9000 * time.Hour)
		c.Run(5 * time.Second)
	}
	c.quiet(m)
}

// TestStartThatSucceedsLate: a machine that is there after its start was reported as failed
// does not run. The next agent finds it, and ends it.
func TestStartThatSucceedsLate(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	vm := b.on(b.h)[0]
	b.ask(b.h, core.Stop, vm)
	b.Run(10 * time.Second)
	b.h.badStart, b.h.lateStart = true, 3*time.Second
	b.ask(b.h, core.Start, vm)
	b.until("stray", func() bool { p := b.h.process(b.vms[vm-1]); return p != nil && p.stray })
	b.h.badStart, b.h.lateStart = false, 0
	b.Run(60 * time.Second)
	if n := len(b.executing(b.vms[vm-1])); n != 1 {
		b.fatalf("it runs on %d hosts", n)
	}
	b.restartAgent(b.h, 100*time.Millisecond)
	b.settles(10 * time.Second)
}

// TestVouchesSurviveReordering: packets overtake each other, and a host that has lost its datastores
// learns all the same who has vouched for it.
func TestVouchesSurviveReordering(t *testing.T) {
	t.Parallel()
	c := newCluster(t, Default())
	for i := range c.network.links {
		for j := range c.network.links[i] {
			c.network.links[i][j].jitter = 200 * time.Millisecond
		}
	}
	c.Run(10 * time.Second)
	m := c.mark()
	h := c.others(c.master())[0]
	for _, s := range c.stores {
		c.hang(s, h)
	}
	c.Run(5 * time.Minute)
	c.quiet(m)
}

// TestMachineThatEndedWhileTheAgentWasAway: the next agent finds a generation in its host's name
// and no process. It gives the machine up as soon as it may, so that it is started again.
func TestMachineThatEndedWhileTheAgentWasAway(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		b := newBench(t, func(s *Setup) { s.Seed = seed + 1 })
		m := b.mark()
		b.beaten(b.h)
		b.h.killAgent()
		b.Run(500 * time.Millisecond)
		b.h.process(b.vms[b.on(b.h)[0]-1]).end(core.EndedByCrash, "crashed")
		b.h.startAgent()
		b.settles(5 * time.Second)
		b.started(m, 1)
	}
}
