package core

import (
	"testing"
	"time"

	"storebeat/datastorehb"
)

// When a datastore is back for everybody, hosts claim one after the other, and
// the last one of a large cluster still within half an interval.
func TestTurns(t *testing.T) {
	crowd := make([]Member, 1000)
	for i := range crowd {
		crowd[i].ID = datastorehb.HostID(i + 1)
	}
	for _, test := range []struct {
		self  datastorehb.HostID
		hosts []Member
		want  time.Duration
	}{
		{1, crowd[:3], 0},
		{3, crowd[:3], 10 * time.Millisecond},
		{64, crowd[:64], 315 * time.Millisecond},
		{1000, crowd, timing.Interval / 2},
	} {
		d := newDesk(t, func(c *Config) { c.Self, c.Hosts = writer(test.self), test.hosts })
		if got := d.turn(); got != test.want {
			t.Errorf("host %d of %d waits %v, want %v", test.self, len(test.hosts), got, test.want)
		}
	}
}
