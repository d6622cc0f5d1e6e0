package partition

import (
	"storebeat/datastorehb"
)

// Trail follows one host's slot on one datastore and keeps what Judge wants to
// know of it. datastorehb.Watch measures the silence that a right follows from (R7); a Trail
// tells the host's own writes from the vouches of others, and for how long
// reads have failed. The zero Trail has read nothing.
type Trail struct {
	begun     bool
	reading   datastorehb.ReadState
	readSince datastorehb.Instant
	why       string
	seen      bool // an unbroken interval of good reads is running
	print     slotPrint
	first     datastorehb.Instant // return of the first read that showed print
	last      datastorehb.Instant // issue of the last one
	known     bool                // print holds the newest slot read, in this interval or before
	changed   bool
	changedAt datastorehb.Instant
	vouched   bool
	vouchedAt datastorehb.Instant
}

// slotPrint is what tells two writes of a slot apart.
type slotPrint struct {
	state       datastorehb.ReadState
	incarnation uint64
	sequence    uint64
	sum         uint64
}

func printOf(r *datastorehb.SlotReading) slotPrint {
	if r.State == datastorehb.Valid {
		return slotPrint{state: r.State, incarnation: r.Slot.Incarnation, sequence: r.Slot.Sequence}
	}
	return slotPrint{state: r.State, sum: r.Sum}
}

// Observe takes in the host's slot from a good read. alive says that the read
// showed any sign of life of the host (datastorehb.Watch.Observe): if it was not
// the slot, it was a vouch.
func (s *Trail) Observe(issued, returned datastorehb.Instant, r *datastorehb.SlotReading, alive bool) {
	if r.State == datastorehb.Unreadable {
		s.Fail(returned, "the slot could not be read")
		return
	}
	if !s.begun || s.reading == datastorehb.Unreadable {
		s.readSince = returned
	}
	s.begun, s.reading, s.why = true, r.State, ""
	p := printOf(r)
	if p == s.print && s.seen {
		s.last = max(s.last, issued)
		s.vouched = s.vouched || alive
		if alive {
			s.vouchedAt = returned
		}
		return
	}
	if s.known && p != s.print && r.State != datastorehb.Absent {
		s.changed, s.changedAt = true, returned
	}
	s.seen, s.known, s.print, s.first, s.last = true, true, p, returned, issued
}

// Fail takes in a read that did not succeed: silence is measured anew.
func (s *Trail) Fail(now datastorehb.Instant, why string) {
	if !s.begun || s.reading != datastorehb.Unreadable {
		s.readSince = now
	}
	s.begun, s.reading, s.why = true, datastorehb.Unreadable, why
	s.Restart()
}

// Restart makes the silence measured so far void, because this host itself was
// away or did not read.
func (s *Trail) Restart() { s.seen, s.first, s.last = false, 0, 0 }

// Fill sets the fields of e that come from reading. What is silent here is
// believed and shown; the silence that a right follows from is measured by
// datastorehb.Watch, which begins anew with each term.
func (s *Trail) Fill(e *DatastoreEvidence) {
	e.Slot, e.ReadSince, e.Why = s.reading, s.readSince, s.why
	if !s.begun {
		e.Why = "nothing was read yet"
	}
	e.Changed, e.ChangedAt = s.changed, s.changedAt
	e.Vouched, e.VouchedAt = s.vouched, s.vouchedAt
	e.Silence, e.SlotSilence = 0, 0
	if !s.seen {
		return
	}
	e.SlotSilence = max(0, s.last.Sub(s.first))
	quiet := s.first
	if s.vouched {
		quiet = max(quiet, s.vouchedAt)
	}
	e.Silence = max(0, s.last.Sub(quiet))
}
