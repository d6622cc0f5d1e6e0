package guard

import (
	"time"

	"github.com/google/uuid"

	"storebeat/agent/freeze"
	"storebeat/datastorehb"
)

// Machine is one machine that the guard knows.
type Machine struct {
	VM         uuid.UUID     `json:"vm"`
	Generation uint64        `json:"generation"`
	Datastore  uuid.UUID     `json:"datastore"`      // its home
	Term       uint64        `json:"term,omitempty"` // under which it was let go last, 0: never
	Handle     freeze.Handle `json:"handle"`
	// State is Running while the machine is let go, Freezing while it must be
	// frozen and has not been seen so, then Frozen; and Gone once it has ended.
	State freeze.State `json:"state,omitempty"`
	// Abandoned means that no agent was there for so long that the guard has ended
	// the machine. Until it is Gone its processes have yet to obey.
	Abandoned bool `json:"abandoned,omitempty"`
}

// LeaseState is the lease of one datastore as the guard holds it.
type LeaseState struct {
	Datastore uuid.UUID           `json:"datastore"`
	Term      uint64              `json:"term"`
	Length    time.Duration       `json:"length"`
	Deadline  datastorehb.Instant `json:"deadline"` // 0 in custody
	Valid     bool                `json:"valid"`
	Custody   bool                `json:"custody,omitempty"` // it lasts until the agent is back (R11)
}

// Inventory is all that a guard knows, sorted by datastore and machine.
type Inventory struct {
	Guard    freeze.Handle `json:"guard"` // the guard's own process, so that a hung one can be ended
	Leases   []LeaseState  `json:"leases"`
	Machines []Machine     `json:"machines"`
}

// AllFrozen tells whether no machine of the datastore can execute: the
// condition for claiming the datastore's next term (R5).
func (i Inventory) AllFrozen(datastore uuid.UUID) bool {
	for _, m := range i.Machines {
		if m.Datastore == datastore && m.State != freeze.Frozen && m.State != freeze.Gone {
			return false
		}
	}
	return true
}

// EventKind says what the guard reports on its own account.
type EventKind string

const (
	// Expired means that the lease of a datastore's term has run out and the
	// machines homed there are being frozen.
	Expired EventKind = "expired"
	// Frozen means that all machines of a datastore are seen frozen after their
	// lease had run out.
	Frozen EventKind = "frozen"
	// MachineFrozen means that one machine is seen frozen.
	MachineFrozen EventKind = "machine frozen"
	// MachineEscaped means that a machine that must be frozen was seen running,
	// as happens when somebody else sends SIGCONT. It is frozen again.
	MachineEscaped EventKind = "machine escaped"
	// MachineAbandoned means that no agent has been connected for long, and
	// that a frozen machine was ended for it, so that another host can have its disks.
	MachineAbandoned EventKind = "machine abandoned"
	// MachineGone means that nothing is left of a machine.
	MachineGone EventKind = "machine gone"
)

// Event is something that the guard reports. Fields that don't apply are zero.
type Event struct {
	Kind      EventKind           `json:"kind"`
	At        datastorehb.Instant `json:"at"`
	Datastore uuid.UUID           `json:"datastore"`
	Term      uint64              `json:"term,omitempty"` // of the lease held for the datastore
	VM        uuid.UUID           `json:"vm,omitzero"`
	Machines  int                 `json:"machines,omitempty"` // with Expired, how many have to be frozen
	Took      time.Duration       `json:"took,omitempty"`     // with Frozen, from the deadline; with MachineFrozen, from the order
}

// Refusal says why one machine was not let go.
type Refusal struct {
	VM  uuid.UUID `json:"vm"`
	Why string    `json:"why"`
}

// LetGoResult is the outcome of LetGo, machine by machine.
type LetGoResult struct {
	Running []uuid.UUID `json:"running"` // let go, now or before, under the term named
	Refused []Refusal   `json:"refused,omitempty"`
}
