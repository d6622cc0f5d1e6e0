package datastorehb

import "time"

// Profile names a set of timings.
type Profile string

// The profiles, from the quickest to the calmest.
const (
	// Fast suits storage that never stalls for more than a second.
	Fast Profile = "fast"
	// Normal is the default.
	Normal Profile = "default"
	// Relaxed suits slow or busy storage.
	Relaxed Profile = "relaxed"
)

// Timing returns the profile's timings. An unknown profile has those of Normal.
func (p Profile) Timing() Timing {
	const freeze = 500 * time.Millisecond
	switch p {
	case Fast:
		return Timing{Interval: 250 * time.Millisecond, Lease: 1500 * time.Millisecond, Freeze: freeze, Takeover: 2200 * time.Millisecond}
	case Relaxed:
		return Timing{Interval: 2 * time.Second, Lease: 10 * time.Second, Freeze: freeze, Takeover: 12 * time.Second}
	}
	return Timing{Interval: time.Second, Lease: 4 * time.Second, Freeze: freeze, Takeover: 5 * time.Second}
}
