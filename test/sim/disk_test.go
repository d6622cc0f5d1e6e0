package sim

import (
	"testing"
	"time"

	"storebeat/agent/core"
	"storebeat/datastorehb"
)

// lockBench is a bench whose datastore has image locks.
func lockBench(t *testing.T) *bench {
	return newBench(t, func(s *Setup) { s.Barrier, s.LockLease = datastorehb.BarrierLock, 8*time.Second })
}

// writes lets time pass until a guest of h has a write under way, and returns its process.
func (b *bench) writes() *process {
	b.t.Helper()
	p := b.h.process(b.vms[b.on(b.h)[0]-1])
	b.until("write under way", func() bool { return p.writing > 0 })
	return p
}

// TestLateWriteOfTheFormerInstance: a guest is frozen with a write under way, and its machine
// is started elsewhere as soon as the server lets go of its image lock. The
// write is refused later (R12). Without a barrier it reaches the disk.
func TestLateWriteOfTheFormerInstance(t *testing.T) {
	t.Parallel()
	for _, barrier := range []datastorehb.WriteBarrier{datastorehb.BarrierNone, datastorehb.BarrierLock, datastorehb.BarrierClusterFS} {
		b := lockBench(t)
		b.s.spec.Barrier = barrier
		m, lost := b.mark(), len(b.on(b.h))
		b.silence()
		p := b.writes()
		b.movesOn(15*time.Second, p)
		if p.state != frozen || p.writing == 0 {
			b.fatalf("the scenario missed: %d writes under way", p.writing)
		}
		b.heals()
		b.started(m, lost)
		met := writeRefused
		if barrier == datastorehb.BarrierNone {
			met = writeLate
		}
		if b.covered[string(met)] != 1 {
			b.fatalf("%s: not met: %s", barrier, met)
		}
	}
}

// movesOn lets time pass until the machine of a process executes on another host.
func (b *bench) movesOn(within time.Duration, p *process) {
	b.t.Helper()
	if _, ok := b.RunUntil(within, func() bool { return len(b.executing(p.vm)) == 1 && !p.executes() }); !ok {
		b.fatalf("%s runs nowhere else", b.nameOf(p.vm))
	}
}

// TestNoKillWithWritesUnderWay: a machine is stopped, and its path hangs. It is
// frozen at the deadline, and ended when its write has returned.
func TestNoKillWithWritesUnderWay(t *testing.T) {
	t.Parallel()
	b := lockBench(t)
	b.h.stopHangs = true // the guest does not listen either
	p := b.writes()
	m := b.mark()
	b.ask(b.h, core.Stop, int(p.vm[15]))
	b.until("stop", func() bool { return b.since(m, "machine-stopping") > 0 })
	b.hang(b.s, b.h)
	b.until("write under way", func() bool { return p.writing > 0 || p.state != running })
	b.h.stopHangs = false
	if p.writing == 0 {
		b.fatalf("the scenario missed")
	}
	b.Run(2 * time.Minute)
	if p.state != frozen {
		b.fatalf("the process is in state %d", p.state)
	}
	b.mend(b.s, b.h)
	b.settles(10 * time.Second)
	if p.state != gone {
		b.fatalf("the process is still there")
	}
}
