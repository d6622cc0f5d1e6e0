package datastorehb

import (
	"fmt"
	"time"
)

// Watch measures the silence of one host on one datastore, as R7 asks before a
// term may be closed: after the record of the host's newest term was read,
// during one interval, from the return of the first read to the issue of the
// last, in reads that all succeeded, the host's slot and every vouch for it
// stayed unchanged, and the slot did not say that the term is in custody (R11).
//
// The zero Watch knows no term and has seen nothing.
type Watch struct {
	term      Term
	termKnown bool
	termRead  Instant // when the read of the term's record had returned
	seen      bool
	proof     Proof
	first     Instant // return of the first read of the unchanged row
	last      Instant // issue of the last one
	why       string  // why the interval began anew, for explanations
}

// LearnTerm takes in the newest record of the host's terms, from a read that
// returned at returned. A newer term starts the interval anew.
func (w *Watch) LearnTerm(t Term, returned Instant) {
	if w.termKnown && t.Number <= w.term.Number {
		return
	}
	w.term, w.termKnown, w.termRead = t, true, returned
	w.restart(fmt.Sprintf("term %d was read", t.Number))
}

// Term returns the newest term known of the host.
func (w *Watch) Term() (Term, bool) { return w.term, w.termKnown }

// Observe takes in one complete successful read. It reports whether the host
// gave a sign of life since the read before.
func (w *Watch) Observe(issued, returned Instant, p Proof) (alive bool) {
	if w.termKnown && issued < w.termRead {
		return false
	}
	if w.seen && p == w.proof {
		w.last = max(w.last, issued)
		return false
	}
	alive = w.seen
	w.seen, w.proof, w.first, w.last = true, p, returned, issued
	w.why = "slot or vouch changed"
	return alive
}

// Fail takes in a read that did not succeed: the interval starts anew.
func (w *Watch) Fail(why string) { w.restart("read failed: " + why) }

func (w *Watch) restart(why string) {
	w.seen, w.proof, w.first, w.last, w.why = false, Proof{}, 0, 0, why
}

// Silence returns how long the host is known to have been silent.
func (w *Watch) Silence() time.Duration {
	if !w.seen || w.last < w.first {
		return 0
	}
	return w.last.Sub(w.first)
}

// Required returns the silence after which the host's term may be closed: the
// closer's own takeover time, or more if the term's record grants a longer lease.
func (w *Watch) Required(takeover time.Duration) time.Duration {
	return max(takeover, w.term.Timing.LeastTakeover())
}

// Closable reports whether R7a holds: exactly term Term().Number+1 may be
// claimed as closed. If not, why says what is missing.
func (w *Watch) Closable(takeover time.Duration) (ok bool, why string) {
	switch {
	case !w.termKnown:
		return false, "no term of the host has been read"
	case w.term.Closed:
		return false, fmt.Sprintf("term %d is closed already", w.term.Number)
	case w.seen && w.mayBeInCustody() != "":
		return false, w.mayBeInCustody()
	case w.Silence() < w.Required(takeover):
		return false, fmt.Sprintf("silent for %v of %v (%s)", w.Silence().Round(time.Millisecond), w.Required(takeover).Round(time.Millisecond), w.why)
	}
	return true, ""
}

// mayBeInCustody says why silence is no ground to close the term (R11): the host's
// slot says so, or it is not to be read and could. Closing is then for R7b alone.
func (w *Watch) mayBeInCustody() string {
	switch {
	case w.proof.state != Valid:
		return fmt.Sprintf("its slot is %s, and could say that term %d is in custody", w.proof.state, w.term.Number)
	case w.proof.custody >= w.term.Number:
		return fmt.Sprintf("term %d is in custody: its agent was stopped in good order", w.term.Number)
	}
	return ""
}

// Ends returns the instant from which a read may find the silence long enough.
// ok is false while no interval is running.
func (w *Watch) Ends(takeover time.Duration) (end Instant, ok bool) {
	if !w.seen || !w.termKnown || w.term.Closed || w.mayBeInCustody() != "" {
		return 0, false
	}
	return w.first.Add(w.Required(takeover)), true
}
