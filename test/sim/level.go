package sim

import (
	"errors"
	"fmt"

	"github.com/google/uuid"

	"storebeat/agent/core"
	clusterrecord "storebeat/agent/core/cluster"
	"storebeat/datastorehb"
	"storebeat/poweron"
)

// written names one thing on a datastore, so that its feature level is known.
// What is not noted was written at level 1.
type written struct {
	kind   string
	host   datastorehb.HostID
	vm     uuid.UUID
	number int
}

// note notes at which level the agent has just written something.
func (s *store) note(what written, level uint16) {
	if level <= 1 {
		delete(s.levels, what)
	} else if s.levels == nil {
		s.levels = map[written]uint16{what: level}
	} else {
		s.levels[what] = level
	}
}

// noteClaim notes it of a claim that was won.
func (a *agent) noteClaim(s *store, outcome datastorehb.Outcome, what written) {
	if outcome == datastorehb.ClaimWon {
		s.note(what, a.level)
	}
}

// tooNew says why the agent's program can't read something, "" if it can.
func (a *agent) tooNew(s *store, what written) string {
	if level := s.levels[what]; level > a.h.levels.Highest {
		return fmt.Sprintf("%s is of a newer format version or feature level (%d)", what.kind, level)
	}
	return ""
}

// readSlot returns a slot as the agent's program reads it.
func (a *agent) readSlot(s *store, h datastorehb.HostID) datastorehb.SlotReading {
	r := s.slots[h]
	if why := a.tooNew(s, written{kind: "slot", host: h}); why != "" && r.State == datastorehb.Valid {
		return datastorehb.SlotReading{Host: h, State: datastorehb.Corrupt, Sum: r.Slot.Sequence, Why: why}
	}
	return r
}

// readState returns what a datastore says of a machine as the agent's program reads it.
func (a *agent) readState(s *store, vm uuid.UUID, generation bool) core.MachineState {
	m := a.machineState(s, vm, generation)
	if a.tooNew(s, written{kind: "entry", vm: vm, number: int(m.Revision)}) != "" {
		m = core.MachineState{EntryState: datastorehb.Corrupt, GenerationState: m.GenerationState, Generation: m.Generation, GenerationBy: m.GenerationBy}
	}
	if a.tooNew(s, written{kind: "generation", vm: vm, number: int(m.Generation.Number)}) != "" {
		m.GenerationState, m.Generation, m.GenerationBy = datastorehb.Corrupt, poweron.Generation{}, datastorehb.Writer{}
	}
	return m
}

// install puts another program on the host: with the agent's next start it knows
// levels up to highest.
func (h *host) install(highest uint16) {
	h.w.note(h.name, "gets a program that knows feature level %d", highest)
	h.levels = datastorehb.Levels{Lowest: max(1, highest-1), Highest: highest}
}

// refuses reports whether the agent does not start, because it knows that the
// cluster writes what its program can't read.
func (h *host) refuses() bool {
	_, err := clusterrecord.Decode(h.kept, h.levels)
	return h.kept != nil && errors.Is(err, clusterrecord.ErrNewer)
}
