package check

import (
	"fmt"
	"time"

	"storebeat/datastorehb/device"
)

// Status is how good a finding is.
type Status uint8

const (
	// OK means that nothing needs to be done.
	OK Status = iota
	// Warning means that it works, but slower or with less to spare than it could.
	Warning
	// Unsafe means that a promise of Storebeat does not hold on this datastore.
	Unsafe
)

var statusNames = [...]string{OK: "ok", Warning: "warning", Unsafe: "unsafe"}

// String returns the status as printed.
func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return fmt.Sprintf("Status(%d)", uint8(s))
}

// MarshalText returns the status as printed.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText accepts a status as printed.
func (s *Status) UnmarshalText(text []byte) error {
	for i, n := range statusNames {
		if n == string(text) {
			*s = Status(i)
			return nil
		}
	}
	return fmt.Errorf("status %q is unknown; use one of ok, warning, unsafe", text)
}

// Finding is one thing that was looked at.
type Finding struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	What   string `json:"what"`
	Remedy string `json:"remedy,omitempty"` // empty when there is nothing to mend
}

// Latency is how long heartbeat-like writes took: one slot, durable on return.
type Latency struct {
	Writes int           `json:"writes"`
	Direct bool          `json:"direct"` // bypassing the page cache
	Min    time.Duration `json:"minNanoseconds"`
	Median time.Duration `json:"medianNanoseconds"`
	P99    time.Duration `json:"p99Nanoseconds"`
	Max    time.Duration `json:"maxNanoseconds"`
}

// Restart is the time from a host's last sign of life until its machines on the
// datastore can be started elsewhere.
type Restart struct {
	Takeover     time.Duration `json:"takeoverNanoseconds"`
	BarrierLease time.Duration `json:"barrierLeaseNanoseconds"`
	Expected     time.Duration `json:"expectedNanoseconds"` // at most; 0 when it is not known
}

// Report is everything that a check found out.
type Report struct {
	Path     string         `json:"path"`
	Device   device.Info    `json:"device"`
	Findings []Finding      `json:"findings"`
	Latency  *Latency       `json:"latency"`          // nil when it was not measured
	Loaded   *Latency       `json:"loaded,omitempty"` // the same under a bulk writer
	Barrier  device.Barrier `json:"barrier"`
	Restart  Restart        `json:"restart"`
	Unseen   []string       `json:"unseen"`   // what one host can't find out
	Complete bool           `json:"complete"` // every step came to an end
}

// Status returns the worst status of all findings; a check that did not come to
// its end is unsafe.
func (r *Report) Status() Status {
	worst := OK
	if !r.Complete {
		worst = Unsafe
	}
	for _, f := range r.Findings {
		worst = max(worst, f.Status)
	}
	return worst
}
