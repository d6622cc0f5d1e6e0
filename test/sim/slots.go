package sim

import (
	"storebeat/datastorehb"
)

// twoHalves is a slot as it lies on the disk: two copies, of which each write
// replaces one and repeats the other (docs/format.md). A half without a state was
// never written.
type twoHalves [2]datastorehb.SlotReading

// newest returns the half that holds the newest valid copy, -1 if there is none.
func (t *twoHalves) newest() int {
	newest := -1
	for i := range t {
		if t[i].State == datastorehb.Valid && (newest < 0 || t[i].Slot.Sequence > t[newest].Slot.Sequence) {
			newest = i
		}
	}
	return newest
}

// read returns what a reader makes of the two copies.
func (t *twoHalves) read(h datastorehb.HostID) datastorehb.SlotReading {
	if i := t.newest(); i >= 0 {
		return t[i]
	}
	for i := range t {
		if t[i].State == datastorehb.Corrupt {
			return datastorehb.SlotReading{Host: h, State: datastorehb.Corrupt, Sum: t[0].Sum ^ t[1].Sum<<1, Why: "damaged"}
		}
	}
	return datastorehb.SlotReading{Host: h, State: datastorehb.Absent}
}

// slotWriter is what an agent remembers of its own slot on a datastore, as the
// slot writer of package store does.
type slotWriter struct {
	known bool
	buf   twoHalves // as it was last written
	keep  int       // the half whose write is known to have completed, -1 while there is none
	half  int       // the one that the write under way goes to
	tried uint64    // the highest sequence that was ever written, or tried
}

// recall reads what a forerunner left, before the first write, and says why this
// write can't be made, if so.
func (s *store) recall(sw *slotWriter, slot *datastorehb.Slot) (why string) {
	if !sw.known {
		sw.known, sw.buf = true, s.halves[slot.Host]
		sw.keep, sw.tried = sw.buf.newest(), s.slots[slot.Host].Slot.Sequence
	}
	if slot.Sequence <= sw.tried {
		return "the sequence is not above one that was written before"
	}
	sw.tried = slot.Sequence
	return ""
}

// write puts a copy into the half that is not kept. A torn write damages that
// half, and no other.
func (s *store) write(sw *slotWriter, slot datastorehb.Slot, torn bool) {
	h := slot.Host
	switch sw.half = 0; sw.keep {
	case 0:
		sw.half = 1
	case -1:
		sw.buf = twoHalves{}
	}
	sw.buf[sw.half] = datastorehb.SlotReading{Host: h, State: datastorehb.Valid, Slot: slot}
	s.halves[h] = sw.buf
	if torn {
		s.halves[h][sw.half] = s.noise(h)
	}
	s.slots[h] = s.halves[h].read(h)
}

// noise is a copy whose checksum is wrong.
func (s *store) noise(h datastorehb.HostID) datastorehb.SlotReading {
	return datastorehb.SlotReading{Host: h, State: datastorehb.Corrupt, Sum: s.w.rng.Uint64(), Why: "damaged"}
}

// tear damages both halves of a host's slot until the host writes it again.
func (s *store) tear(h datastorehb.HostID) {
	if s.slots[h].State == datastorehb.Absent {
		return
	}
	s.w.note(s.name(), "the slot of host %d is damaged", h)
	s.trouble.note(s.w.now)
	s.halves[h] = twoHalves{s.noise(h), s.noise(h)}
	s.slots[h] = s.halves[h].read(h)
}

// scratch damages one half of a host's slot: the older copy, which nobody needs, or
// the newer one. A newer one whose write had completed is a write that the
// datastore has forgotten (R14), and what it shows then may be distrusted.
func (s *store) scratch(h datastorehb.HostID, newer bool) {
	i := s.halves[h].newest()
	if i < 0 {
		return
	}
	if newer {
		s.tampered = true
	} else {
		i = 1 - i
	}
	s.w.note(s.name(), "one half of the slot of host %d is damaged, the newer one: %t", h, newer)
	s.halves[h][i] = s.noise(h)
	s.slots[h] = s.halves[h].read(h)
}
