package partition

import (
	"fmt"
	"testing"
	"time"
)

// clusterEvidence returns evidence about n hosts of which one in ten is dead,
// one in ten partitioned and one in ten without a datastore.
func clusterEvidence(n int) []Evidence {
	all := make([]Evidence, n)
	for i := range all {
		e := Evidence{Network: heardAgo(time.Second), Datastores: []DatastoreEvidence{silentFor(1, time.Second), silentFor(2, time.Second)}}
		switch i % 10 {
		case 0:
			e.Network, e.Datastores[0], e.Datastores[1] = heardAgo(9*time.Second), silentFor(1, 9*time.Second), silentFor(2, 9*time.Second)
		case 1:
			e.Network = heardAgo(9 * time.Second)
		case 2:
			e.Datastores[1].Access = Inaccessible
		}
		all[i] = e
	}
	return all
}

func BenchmarkVerdicts(b *testing.B) {
	timing := TimingOf(defaultTiming)
	for _, n := range []int{64, 1000} {
		evidence, verdicts := clusterEvidence(n), make([]Verdict, n)
		pass := func() {
			for i := range evidence {
				verdicts[i].Update(judged, &evidence[i], &timing)
			}
		}
		b.Run(fmt.Sprintf("unchanged/hosts=%d", n), func(b *testing.B) {
			pass()
			b.ReportAllocs()
			for b.Loop() {
				pass()
			}
		})
		b.Run(fmt.Sprintf("all changed/hosts=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				clear(verdicts)
				pass()
			}
		})
	}
}

func TestVerdictsOfUnchangedHostsAllocateNothing(t *testing.T) {
	timing := TimingOf(defaultTiming)
	evidence := clusterEvidence(64)
	verdicts := make([]Verdict, len(evidence))
	pass := func() {
		for i := range evidence {
			verdicts[i].Update(judged, &evidence[i], &timing)
		}
	}
	if n := testing.AllocsPerRun(10, pass); n != 0 {
		t.Errorf("a pass over unchanged hosts allocates %v times", n)
	}
}
