package datastorehb

import (
	"fmt"
	"time"
	"unicode/utf8"
)

const (
	termSize   = 48
	termClosed = 1
)

func (t *Term) validate() error {
	switch {
	case t.Host == 0 || t.Number == 0:
		return fmt.Errorf("host id %d and number %d must not be 0", t.Host, t.Number)
	case t.First > t.Number || t.First == 0 && !t.Closed:
		return fmt.Errorf("first term %d of the chain is not between 1 and %d", t.First, t.Number)
	case t.Timing.Lease <= 0 && !t.Closed:
		return fmt.Errorf("lease %v of an open term is not positive", t.Timing.Lease)
	}
	for _, d := range []time.Duration{t.Timing.Interval, t.Timing.Lease, t.Timing.Freeze} {
		if d < 0 || d > MaxDuration {
			return fmt.Errorf("interval %v, lease %v and freeze %v must be between 0 and %v", t.Timing.Interval, t.Timing.Lease, t.Timing.Freeze, MaxDuration)
		}
	}
	return nil
}

// EncodeTerm returns the payload of a term's record. The takeover time is not
// part of it, and a reason longer than MaxReason is cut: it is for people, and
// must not stand in the way of a claim.
func EncodeTerm(t Term) ([]byte, error) {
	if err := t.validate(); err != nil {
		return nil, fmt.Errorf("encode term: %w", err)
	}
	reason := Shorten(t.Reason, MaxReason)
	b := make([]byte, termSize+len(reason))
	little.PutUint16(b, uint16(t.Host))
	if t.Closed {
		b[2] = termClosed
	}
	little.PutUint16(b[4:], uint16(len(reason)))
	little.PutUint64(b[8:], t.Number)
	little.PutUint64(b[16:], t.First)
	little.PutUint64(b[24:], uint64(t.Timing.Interval))
	little.PutUint64(b[32:], uint64(t.Timing.Lease))
	little.PutUint64(b[40:], uint64(t.Timing.Freeze))
	copy(b[termSize:], reason)
	return b, nil
}

// DecodeTerm is the inverse of EncodeTerm.
func DecodeTerm(payload []byte) (Term, error) {
	const what = "term"
	if len(payload) < termSize || len(payload) != termSize+int(little.Uint16(payload[4:])) || len(payload) > termSize+MaxReason {
		return Term{}, damaged(what, "length of %d bytes", len(payload))
	}
	if payload[2]&^termClosed != 0 || payload[3] != 0 || !isZero(payload[6:8]) {
		return Term{}, damaged(what, "unknown flags or reserved bytes")
	}
	t := Term{
		Host:   HostID(little.Uint16(payload)),
		Number: little.Uint64(payload[8:]),
		Closed: payload[2]&termClosed != 0,
		First:  little.Uint64(payload[16:]),
		Timing: Timing{
			Interval: time.Duration(little.Uint64(payload[24:])),
			Lease:    time.Duration(little.Uint64(payload[32:])),
			Freeze:   time.Duration(little.Uint64(payload[40:])),
		},
		Reason: string(payload[termSize:]),
	}
	if err := t.validate(); err != nil {
		return Term{}, damaged(what, "%v", err)
	}
	return t, nil
}

// Shorten cuts s to at most n bytes, between two characters.
func Shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
