package notify

import "time"

// bucket holds back what comes more often than its rate: it has room for a
// rate's worth of tokens, which come back one by one.
type bucket struct {
	rate   Rate
	tokens float64
	at     time.Time // of tokens
}

func newBucket(r Rate, now time.Time) bucket {
	return bucket{rate: r, tokens: float64(r.Count), at: now}
}

// each is the time in which one token comes back.
func (b *bucket) each() time.Duration { return b.rate.Per / time.Duration(b.rate.Count) }

// take takes a token if there is one.
func (b *bucket) take(now time.Time) bool {
	if passed := now.Sub(b.at); passed > 0 {
		b.tokens = min(float64(b.rate.Count), b.tokens+float64(passed)/float64(b.each()))
		b.at = now
	}
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// wait is how long it takes until there is a token.
func (b *bucket) wait() time.Duration {
	return max(0, time.Duration((1-b.tokens)*float64(b.each()))) + time.Millisecond
}
