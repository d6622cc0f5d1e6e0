package sim

import (
	"fmt"
	"slices"
	"time"
)

// lastLanding waits until the last operation has landed that was reported as failed, an hour
// ago perhaps, when old values of registers have been removed.
func (w *World) lastLanding() (wrong []string) {
	seen := len(w.violations)
	w.Run(w.lateUntil - w.now + calm)
	if why := w.Unsettled(); len(why) > 0 {
		wrong = append(wrong, fmt.Sprintf("rest: it did not last until the last claim had landed: %q", why))
	}
	return append(wrong, w.violations[seen:]...)
}

// loseOne takes one host, for good, from a cluster at rest, and asks that each of its
// machines is started elsewhere, once and in time, and no other one (I2).
func (w *World) loseOne() (wrong []string) {
	var up []*host
	for _, h := range w.hosts {
		if h.powered {
			up = append(up, h)
		}
	}
	if len(up) < 2 || len(up) == 2 && w.setup.Rules != nil {
		return nil // nobody is left, or rules need more than one
	}
	h := up[w.rng.IntN(len(up))]
	lost, starts := map[int]int{}, map[int]int{}
	for i, vm := range w.vms {
		starts[i] = w.starts[vm]
		if on := w.executing(vm); slices.Contains(on, h) && w.wanted(vm) {
			lost[i] = 1
		}
	}
	seen := len(w.violations)
	h.powerOff()
	t := w.setup.Timing
	limit := t.Takeover*103/100 + t.Interval*3/2 + w.setup.LockLease + 2*time.Second
	took, ok := w.RunUntil(limit, func() bool { return len(w.Unsettled()) == 0 })
	if !ok {
		wrong = append(wrong, fmt.Sprintf("I2: %v after the loss of %s: %q", took, h.name, w.Unsettled()))
	}
	w.Run(10 * time.Second)
	for i, vm := range w.vms {
		if n := w.starts[vm] - starts[i]; n != lost[i] {
			wrong = append(wrong, fmt.Sprintf("I2: %d starts of %s after the loss of %s, want %d", n, w.nameOf(vm), h.name, lost[i]))
		}
	}
	return append(wrong, w.violations[seen:]...)
}
