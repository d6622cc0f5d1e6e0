package sim

import (
	"testing"
	"time"

	"storebeat/datastorehb"
)

// TestMovedBehindTheAgentsBack: somebody moves a machine with other tools. Its host takes that for a
// crash, and no host can start it while the other one holds the image lock. That the
// machine runs elsewhere nobody sees: no observation tells the core of it.
func TestMovedBehindTheAgentsBack(t *testing.T) {
	t.Parallel()
	b := lockBench(t)
	vm := b.vms[b.on(b.h)[0]-1]
	m := b.mark()
	b.h.moveBehind(vm, b.v)
	b.Run(3 * time.Minute)
	b.started(m, 0)
	if b.covered[string(startRefused)] == 0 {
		b.fatalf("nobody tried")
	}
	b.v.endBehind()
	b.settles(40 * time.Second)
	b.started(m, 1)
}

// TestStartedBehindTheAgentsBack: without image locks a machine can be started beside the one that
// runs, and the product neither sees it nor does anything about it. With them it can't.
func TestStartedBehindTheAgentsBack(t *testing.T) {
	t.Parallel()
	for _, barrier := range []datastorehb.WriteBarrier{datastorehb.BarrierNone, datastorehb.BarrierLock} {
		b := lockBench(t)
		b.s.spec.Barrier = barrier
		m := b.mark()
		if b.v.startBehind(b.vms[b.on(b.h)[0]-1], b.s) != (barrier == datastorehb.BarrierNone) {
			b.fatalf("%s: the image lock decides", barrier)
		}
		b.Run(2 * time.Minute)
		b.v.endBehind()
		b.quiet(m)
	}
}
