package sim

import (
	"strings"
	"testing"
	"time"
)

// TestOldListings: a client that takes old listings of registers for good, as no file system may, may bring
// its host to distrust the datastore. Nothing runs twice, and no value has two holders.
func TestOldListings(t *testing.T) {
	t.Parallel()
	for seed := range uint64(15) {
		s := RandomSetup(seed + 1)
		s.Quiet = true
		w := New(s)
		w.PowerOn()
		w.Run(10 * time.Second)
		x := NewChaos(w)
		for range 6 {
			for _, h := range w.hosts {
				for _, p := range h.paths {
					p.old = w.between(0, 20*time.Second)
				}
			}
			x.Rage(15 * time.Second)
		}
		w.heal()
		w.Run(time.Minute)
		for _, v := range w.Violations() {
			if !strings.Contains(v, " R14: ") {
				t.Errorf("seed %d: %s", s.Seed, v)
			}
		}
	}
}
