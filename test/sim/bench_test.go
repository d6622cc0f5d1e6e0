package sim

import (
	"testing"
	"time"
)

// BenchmarkRandomSchedules says what one random schedule costs.
func BenchmarkRandomSchedules(b *testing.B) {
	var virtual time.Duration
	for seed := uint64(1); b.Loop(); seed++ {
		s := RandomSetup(seed%100 + 1)
		s.Quiet = true
		virtual += Find(s).Virtual
	}
	b.ReportMetric(virtual.Hours()/b.Elapsed().Hours(), "virtual/real")
}
