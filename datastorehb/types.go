package datastorehb

import (
	"fmt"
	"time"

	"github.com/google/uuid"
)

// HostID is the small integer that names a host in the cluster. It is also the
// index of the host's slot in every heartbeat region. Zero is no host.
type HostID uint16

// Instant is a reading of one host's CLOCK_BOOTTIME, in nanoseconds since its
// boot. Instants of different hosts, or of different boots, are never compared
// (docs/safety.md, R13).
type Instant int64

// Add returns the instant d later.
func (t Instant) Add(d time.Duration) Instant { return t + Instant(d) }

// Sub returns the time that passed from u to t.
func (t Instant) Sub(u Instant) time.Duration { return time.Duration(t - u) }

// String prints the instant as seconds since boot.
func (t Instant) String() string { return fmt.Sprintf("%.3fs", time.Duration(t).Seconds()) }

// Writer says who wrote a slot, a record or a packet.
type Writer struct {
	Host        HostID
	Machine     uuid.UUID // /etc/machine-id: tells two computers with one host id apart
	Boot        uuid.UUID // /proc/sys/kernel/random/boot_id: tells two boots apart
	Incarnation uint64    // random, non-zero: tells two runs of the agent apart
}

// Epsilon is the margin that R9 asks for on top of lease and freeze:
// 2 % of the takeover time for clocks that run at different rates, and 100 ms.
func Epsilon(takeover time.Duration) time.Duration {
	return takeover/50 + 100*time.Millisecond
}

// Timing holds the four durations that the safety argument speaks of.
// Lease, Freeze and Interval stand in each term's record and are fixed for the
// term; Takeover belongs to the host that closes.
type Timing struct {
	Interval time.Duration `json:"interval"` // i: from one slot write to the next
	Lease    time.Duration `json:"lease"`    // L: how long one proof of life lets a host run its machines
	Freeze   time.Duration `json:"freeze"`   // F: how long the guard may take to freeze everything
	Takeover time.Duration `json:"takeover"` // T: how long a slot must be silent before its term may be closed
}

// Validate checks the inequality R9, T ≥ L + F + ε, that a lease spans at least
// two heartbeat intervals, and that no duration exceeds MaxDuration. The error
// carries the numbers and the remedy.
func (t Timing) Validate() error {
	if t.Interval <= 0 || t.Lease <= 0 || t.Freeze <= 0 || t.Takeover <= 0 {
		return fmt.Errorf("interval %v, lease %v, freeze %v and takeover %v must all be positive", t.Interval, t.Lease, t.Freeze, t.Takeover)
	}
	if longest := max(t.Interval, t.Lease, t.Freeze, t.Takeover); longest > MaxDuration {
		return fmt.Errorf("%v is longer than %v, the most that interval, lease, freeze and takeover may be", longest, MaxDuration)
	}
	if t.Lease < 2*t.Interval {
		return fmt.Errorf("lease %v is shorter than two heartbeat intervals of %v: one late write would freeze machines; raise lease to at least %v", t.Lease, t.Interval, 2*t.Interval)
	}
	if least := t.LeastTakeover(); t.Takeover < least {
		return fmt.Errorf("takeover %v is less than lease %v + freeze %v + margin %v (2 %% of takeover + 100ms): a machine could run twice; raise takeover to at least %v", t.Takeover, t.Lease, t.Freeze, Epsilon(t.Takeover), least)
	}
	return nil
}

// LeastTakeover returns the shortest takeover time that satisfies R9 for the
// lease and freeze times of t: the solution of T = L + F + T/50 + 100 ms,
// rounded up to a millisecond.
func (t Timing) LeastTakeover() time.Duration {
	const margin = 100 * time.Millisecond
	least := (t.Lease + t.Freeze + margin) * 50 / 49
	if r := least % time.Millisecond; r != 0 {
		least += time.Millisecond - r
	}
	return least
}

// ReadState is the outcome of reading something from a datastore. "Could not
// read" is never "absent", and neither is "unchanged" (R7).
type ReadState uint8

const (
	// Unreadable means that the read failed or has not returned.
	Unreadable ReadState = iota
	// Absent means that the read succeeded and there is nothing there.
	Absent
	// Corrupt means that the read succeeded and what is there is not valid.
	Corrupt
	// Valid means that the read succeeded and the value is good.
	Valid
)

// String returns the word used in logs and explanations.
func (s ReadState) String() string {
	switch s {
	case Unreadable:
		return "unreadable"
	case Absent:
		return "absent"
	case Corrupt:
		return "corrupt"
	case Valid:
		return "valid"
	}
	return fmt.Sprintf("ReadState(%d)", uint8(s))
}
