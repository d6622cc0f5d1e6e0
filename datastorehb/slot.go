package datastorehb

import (
	"fmt"

	"github.com/google/uuid"
)

// SlotSize is the size of one host's slot in the heartbeat region, in bytes.
const SlotSize = 4096

// MaxVouches is how many vouches one slot holds: as many as fit half of it.
const MaxVouches = 55

// SlotFlags are facts about the writer that others must see on disk when the
// network is gone.
type SlotFlags uint32

const (
	// SlotMaster is set while the writer is a master.
	SlotMaster SlotFlags = 1 << iota
	// SlotIsolated is set while the writer holds itself for isolated.
	SlotIsolated
	// SlotMaintenance is set while the writer is in maintenance.
	SlotMaintenance
)

// Slot is what a host writes to a heartbeat region at every interval.
type Slot struct {
	Writer
	Sequence uint64    // grows with every write to this datastore, over incarnations too; not 0
	Term     uint64    // the writer's newest open term on this datastore, 0 while it has none
	Master   HostID    // the master the writer follows, 0 while there is none
	Flags    SlotFlags //
	Revision uint64    // of the cluster record that the writer acts on, 0 while it knows none
	Levels   Levels    // that the writer's program knows
	Custody  uint64    // the term that R7b alone may close, until the writer's agent is back (R11); 0 for none
	Leave    Leave     // why the writer's agent does not run, zero while it does
	Vouches  []Vouch   // at most MaxVouches, sorted by host
}

// Leave says that an agent stopped in good order, and at whose wish. It is for
// people: nothing but the words of an explanation follows from it.
type Leave struct {
	By   LeaveCause `json:"by,omitempty"`   // 0: the agent did not stop in good order
	User uint32     `json:"user,omitempty"` // the user id behind LeftByUser
	Wall int64      `json:"wall,omitempty"` // seconds since 1970 by the host's own wall clock
}

// LeaveCause says what made an agent stop.
type LeaveCause uint8

const (
	// LeftByUser means that a user asked the agent itself.
	LeftByUser LeaveCause = iota + 1
	// LeftBySystemd means that systemd stopped or restarts its service.
	LeftBySystemd
	// LeftBySignal means a signal, from whomever.
	LeftBySignal
	// LeftByShutdown means that the host shuts down or reboots.
	LeftByShutdown
)

// String says who stopped the agent.
func (l Leave) String() string {
	switch l.By {
	case 0:
		return "nobody"
	case LeftByUser:
		if l.User == 0 {
			return "root"
		}
		return fmt.Sprintf("the user with id %d", l.User)
	case LeftBySystemd:
		return "systemd"
	case LeftBySignal:
		return "a signal"
	case LeftByShutdown:
		return "the shutdown of its host"
	}
	return fmt.Sprintf("cause %d", uint8(l.By))
}

// Vouch is the writer's record that it heard another host on the network (R4b).
// It names the newest heartbeat that it heard.
type Vouch struct {
	Host        HostID
	Boot        uuid.UUID
	Incarnation uint64
	Sequence    uint64 // of the network heartbeat
}

// SlotReading is one slot as a reader found it.
type SlotReading struct {
	Host  HostID // whose slot it is: its index in the region
	State ReadState
	Slot  Slot   // meaningful only when State is Valid
	Sum   uint64 // of the raw bytes of a corrupt slot: lets it be compared with itself; else 0
	Why   string // why a slot is corrupt: the text of one of the decoders' errors
}
