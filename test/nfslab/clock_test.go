package nfslab_test

import (
	"fmt"
	"testing"

	"storebeat/test/nfslab"
)

// stepClock sets a host's wall clock by so many seconds.
func (r *trial) stepClock(h *nfslab.Host, seconds int) {
	r.Helper()
	out, err := h.Run(r.ctx, fmt.Sprintf("before=$(date +%%s); date -s @$((before + %d)) >/dev/null; echo $(($(date +%%s) - before))", seconds))
	r.Do(err)
	var by int
	if _, err := fmt.Sscan(out, &by); err != nil || by < seconds-60 || by > seconds+60 {
		r.Fatalf("the clock of %s went by %q s, not %d s", h.Name, out, seconds)
	}
}

// TestClockSteps sets the wall clock of the master's host forward by an hour and then
// back by two, with an NFS client that has leases and caches of its own. Each time for
// longer than a takeover takes: nothing happens to any machine, and nobody's verdict
// about anybody changes.
func TestClockSteps(t *testing.T) {
	r := newTrial(t, nfslab.Options{}, 3)
	want := r.Starts()
	v, err := r.Hosts[0].View(r.ctx)
	r.Do(err)
	master := r.Hosts[v.Master-1]
	for _, seconds := range []int{3600, -2 * 3600} {
		r.stepClock(master, seconds)
		r.AwaitCounts(200, r.Machines...) // 22 s of a guest's own time
		r.awaitWhole()
	}
	r.ExpectStarts(want)
	r.refuse(append(changes, restarts...)...)
	if v, err := r.Hosts[0].View(r.ctx); err != nil || r.Hosts[v.Master-1] != master {
		r.Errorf("%s is master no more: %v", master.Name, err)
	}
}
