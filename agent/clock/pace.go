package clock

import (
	"sync"
	"time"

	"storebeat/datastorehb"
)

// Pace lets one log line through per Every and counts those it held back. It
// may be used by several goroutines.
type Pace struct {
	Every time.Duration

	mu   sync.Mutex
	used bool
	last datastorehb.Instant
	held uint64
}

// Allow says whether a line may be written at now, and how many were held back
// since the last one that was.
func (p *Pace) Allow(now datastorehb.Instant) (ok bool, held uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.used && now.Sub(p.last) < p.Every {
		p.held++
		return false, 0
	}
	held = p.held
	p.used, p.last, p.held = true, now, 0
	return true, held
}
