package partition

import (
	"time"

	"storebeat/datastorehb"
)

// Timing holds every threshold of this package. None of them carries a right:
// they say when something is believed and shown.
type Timing struct {
	Beat       time.Duration // from one network heartbeat to the next
	Suspect    time.Duration // network silence after which a careful host begins to read more
	MasterLost time.Duration // network silence after which a master counts as lost
	Heard      time.Duration // a host counts as heard for this long after its last fresh packet
	Echo       time.Duration // an echo of an own packet sent longer ago proves nothing
	Reply      time.Duration // least time between two replies to one unproven sender
	Late       time.Duration // an own step later than this makes measured silence void
	Outdone    time.Duration // a master that accesses fewer datastores than another host for this long stands down
	Patience   time.Duration // how long the best candidate stands before it is master
	Isolated   time.Duration // without any traffic, before a host may hold itself for isolated
	Settle     time.Duration // in isolation, before the response to it may begin
	DiskAlive  time.Duration // a host counts as alive on disk for this long after a change was seen
	DiskLost   time.Duration // slot silence after which a living host has lost a datastore
	DiskSilent time.Duration // slot silence on every heartbeat datastore after which a host is gone
	Answered   time.Duration // a ping counts as answered for this long
}

// TimingOf derives all thresholds from the four durations of the safety
// argument.
//
// Packets go out twice per interval, so that one lost packet is no news and
// suspicion still starts early: a master is lost after three beats, which is
// one and a half intervals, while a host is called anything but live only after
// five. DiskSilent is T, the silence that closing a term needs too (R7), and
// DiskLost is L: after it the host's machines there would be frozen unless
// others vouch for it.
func TimingOf(d datastorehb.Timing) Timing {
	beat := d.Interval / 2
	return Timing{
		Beat:       beat,
		Suspect:    3 * beat / 2,
		MasterLost: 3 * beat,
		Heard:      5 * beat,
		Echo:       5 * beat,
		Reply:      beat,
		Late:       2 * d.Interval,
		Outdone:    2 * d.Takeover,
		Patience:   2 * beat,
		Isolated:   3 * d.Interval,
		Settle:     3 * d.Interval,
		DiskAlive:  5 * d.Interval / 2,
		DiskLost:   d.Lease,
		DiskSilent: d.Takeover,
		Answered:   5 * d.Interval / 2,
	}
}
