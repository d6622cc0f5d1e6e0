package datastorehb

import "time"

// Lease is the time for which one host may run its machines on one datastore
// under one term (R4). It is created at the issue of the claim that won the
// term and renewed from the issue of each proof of life. Once it has run out it
// stays run out, whatever proof arrives later: only another term has another
// lease. The zero Lease has run out.
//
// Agent and guard use the same type and reach the same verdict, because both
// compare the old deadline with the time at which they handle the renewal.
type Lease struct {
	term     uint64
	length   time.Duration
	deadline Instant
	running  bool
	custody  bool // it runs without limit
}

// NewLease returns the lease of a term whose claim was issued at issued.
func NewLease(term uint64, issued Instant, length time.Duration) Lease {
	return Lease{term: term, length: length, deadline: issued.Add(length), running: true}
}

// InheritedLease returns the lease of a term with a deadline that somebody else
// kept: the guard for a restarted agent, the agent for its guard.
func InheritedLease(term uint64, deadline Instant, length time.Duration) Lease {
	return Lease{term: term, length: length, deadline: deadline, running: true}
}

// CustodyLease returns the lease of a term that somebody else keeps in custody.
func CustodyLease(term uint64, length time.Duration) Lease {
	return Lease{term: term, length: length, running: true, custody: true}
}

// BeginCustody makes a running lease last until EndCustody (R11). It reports
// whether the lease was running still.
func (l *Lease) BeginCustody(now Instant) bool {
	if l.custody = l.Valid(now); l.custody {
		l.deadline = 0
	}
	return l.custody
}

// EndCustody limits the lease again: it runs on for L from now. Whoever calls
// it issues the write that ends custody on the datastore only afterwards.
func (l *Lease) EndCustody(now Instant) {
	if l.custody {
		l.custody, l.deadline = false, now.Add(l.length)
	}
}

// InCustody reports whether the lease has no deadline for now.
func (l *Lease) InCustody() bool { return l.custody }

// Term returns the term that the lease belongs to, 0 for the zero lease.
func (l *Lease) Term() uint64 { return l.term }

// Deadline returns the instant at which the lease runs out, or ran out; 0 in custody.
func (l *Lease) Deadline() Instant { return l.deadline }

// Length returns L, as it stands in the term's record.
func (l *Lease) Length() time.Duration { return l.length }

// Valid reports whether the lease is running at now, and latches its end.
func (l *Lease) Valid(now Instant) bool {
	if l.running && !l.custody && now >= l.deadline {
		l.running = false
	}
	return l.running
}

// Renew carries the lease on to issued + L, where issued is when the proof of
// life was sent on its way. It reports whether the lease is running.
func (l *Lease) Renew(now, issued Instant) bool {
	return l.Extend(now, issued.Add(l.length))
}

// Extend moves the deadline to a later one, but never further than L from now:
// no proof of life was issued later than it is. An earlier deadline changes
// nothing, nor does any in custody. It reports whether the lease is running.
func (l *Lease) Extend(now, deadline Instant) bool {
	if !l.Valid(now) {
		return false
	}
	if !l.custody {
		l.deadline = max(l.deadline, min(deadline, now.Add(l.length)))
	}
	return true
}
