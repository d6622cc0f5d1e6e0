package sim

import (
	"testing"
	"time"
)

// TestHeartbeatAnHourLate: a heartbeat hangs for an hour, of a host that is cut off, of one whose agent was
// killed meanwhile and started again, and of one that lost its power. It lands when the path works
// again. R1 says what protects: the next agent waits for it, a host that boots has begun
// anew, and a host that is cut off has one write under way at a time.
func TestHeartbeatAnHourLate(t *testing.T) {
	t.Parallel()
	for _, befall := range []func(h *host){
		func(*host) {},
		func(h *host) { h.w.restartAgent(h, time.Second) },
		func(h *host) { h.powerOff() },
	} {
		b := newBench(t, nil)
		m, lost := b.mark(), len(b.on(b.h))
		b.silence()
		b.until("heartbeat", func() bool { return len(b.h.paths[0].parked) > 0 })
		befall(b.h)
		b.Run(time.Hour)
		b.started(m, lost)
		b.mend(b.s, b.h)
		b.Run(10 * time.Second)
		b.join()
		b.h.powerOn()
		b.settles(30 * time.Second)
		b.started(m, lost)
		b.beaten(b.h)
	}
}
