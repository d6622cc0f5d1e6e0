package sim

import (
	"testing"
	"time"
)

// TestTwinsUnderFaults: a second computer comes up with the host id of one that faults
// take from the others' sight now and then. Each of the two may find the other's signs of life and keep its hands
// off the datastore (R1, R14), until one of them is gone and the agents are started
// again. Nothing runs twice meanwhile.
func TestTwinsUnderFaults(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		s := RandomSetup(seed + 1)
		s.Quiet = true
		w := New(s)
		w.PowerOn()
		w.Run(10 * time.Second)
		x := NewChaos(w)
		h := w.hosts[w.rng.IntN(len(w.hosts))]
		twin := w.twin(h)
		x.Rage(w.between(0, 10*time.Second))
		twin.powerOn()
		x.Rage(40 * time.Second)
		w.Run(x.most)
		w.heal()
		w.Run(20 * time.Second)
		twin.powerOff()
		w.admit(h) // whichever of the two the cluster had taken for the member
		for _, o := range w.hosts[:s.Hosts] {
			w.restartAgent(o, 100*time.Millisecond)
		}
		w.Run(time.Second)
		if _, ok := w.RunUntil(calm, func() bool { return len(w.Unsettled()) == 0 }); !ok {
			t.Errorf("seed %d: %q", s.Seed, w.Unsettled())
		}
		for _, v := range w.Violations() {
			t.Errorf("seed %d: %s", s.Seed, v)
		}
	}
}
