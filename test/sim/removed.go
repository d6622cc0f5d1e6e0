package sim

import (
	"time"

	"github.com/google/uuid"

	"storebeat/agent/core"
	"storebeat/datastorehb"
)

// pruneAfter is how long the holder of a newer value waits before it removes old ones (R2).
const pruneAfter = 10 * time.Minute

// leastKept is how many values of a register are never removed (R2).
const leastKept = 3

// removed says which values of the registers were removed: those below these
// numbers. The observer keeps them all.
type removed struct {
	terms []uint64             // by host
	gens  map[uuid.UUID]uint64 // by machine
	void  map[voidName]genRecord
}

// voidName is a name that was removed and came into being again, by a late claim.
type voidName struct {
	vm     uuid.UUID
	number uint64
}

// create is the exclusive create of R2, and the listing that follows it: a name that is
// there can't be made, and one that was removed can, but the win is void since there
// are higher numbers.
func (s *store) create(newest, first, number uint64) datastorehb.Outcome {
	switch {
	case number > newest:
		return datastorehb.ClaimWon
	case number < first:
		s.w.note(s.name(), "number %d was removed and comes into being again, below %d: it is void", number, newest)
		s.w.met(voidWin)
	}
	return datastorehb.ClaimLost
}

// prune removes old values of a register, but never the newest ones.
func (s *store) prune(reg datastorehb.Register, below uint64) {
	newest := uint64(len(s.gens[reg.VM]))
	if reg.Kind == datastorehb.TermRegister {
		newest = uint64(len(s.terms[reg.Host]))
	}
	if below+leastKept > newest+1 {
		s.w.fail("R2", "%s on %s is to lose its values below %d, and the newest is %d", reg, s.name(), below, newest)
		return
	}
	s.w.note(s.name(), "%s loses its values below %d", reg, below)
	if reg.Kind == datastorehb.TermRegister {
		s.removed.terms[reg.Host] = max(s.removed.terms[reg.Host], below)
	} else {
		s.removed.gens[reg.VM] = max(s.removed.gens[reg.VM], below)
	}
}

// seePrune checks R2 when old values are to be removed: by the holder of a newer
// one, and ten minutes after that came into being, at least.
func (w *World) seePrune(s *store, e core.Prune, by datastorehb.HostID) {
	holder, at := datastorehb.HostID(0), w.now
	if reg := e.Register; reg.Kind == datastorehb.TermRegister {
		if r, ok := s.newestTerm(reg.Host); ok {
			holder, at = r.by.Host, r.at
		}
	} else if gs := s.gens[reg.VM]; len(gs) > 0 {
		holder, at = gs[len(gs)-1].gen.Owner, gs[len(gs)-1].at // by whom it was claimed or not (R15)
	}
	if !s.tampered && len(w.twins) == 0 && (holder != by || w.now-at < pruneAfter*98/100) {
		w.fail("R2", "host %d removes values of %s on %s: the newest is held by host %d, for %v", by, e.Register, s.name(), holder, w.now-at)
	}
}

// generation returns one value of a machine's generations by its number, without
// a listing.
func (a *agent) generation(s *store, vm uuid.UUID, number uint64) (m core.MachineState) {
	m.GenerationState = datastorehb.Absent
	g, there := s.removed.void[voidName{vm, number}]
	if gs := s.gens[vm]; number >= s.removed.gens[vm] && number > 0 && number <= uint64(len(gs)) {
		g, there = gs[number-1], true
	}
	if there && !a.h.paths[s.index].hides(g.at, a.h.w.now, g.by.Host != a.h.id) {
		m.GenerationState, m.Generation, m.GenerationBy = datastorehb.Valid, g.gen, g.by
	}
	return m
}
