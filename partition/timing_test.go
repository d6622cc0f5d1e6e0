package partition

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"storebeat/datastorehb"
)

// defaultTiming is the default profile.
var defaultTiming = datastorehb.Timing{Interval: time.Second, Lease: 4 * time.Second, Freeze: 500 * time.Millisecond, Takeover: 5 * time.Second}

func TestTimingOf(t *testing.T) {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	want := Timing{
		Beat: ms(500), Suspect: ms(750), MasterLost: ms(1500), Heard: ms(2500), Echo: ms(2500), Reply: ms(500),
		Late: ms(2000), Outdone: ms(10000), Patience: ms(1000), Isolated: ms(3000), Settle: ms(3000),
		DiskAlive: ms(2500), DiskLost: ms(4000), DiskSilent: ms(5000), Answered: ms(2500),
	}
	if diff := cmp.Diff(want, TimingOf(defaultTiming)); diff != "" {
		t.Errorf("default profile (-want +got):\n%s", diff)
	}
}
