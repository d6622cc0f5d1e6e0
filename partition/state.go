package partition

import "fmt"

// State is what has happened to a host, as far as one other host can tell.
//
// Every verdict follows from the present evidence alone, so a host may go from any state to
// any other. These are the ways it usually goes:
//
//	              network and disk of the host fail together
//	      ┌───────────────────────────────────────────────────────┐
//	      │                                                       ▼
//	┌───────────┐  not heard,   ┌─────────────┐  no change   ┌─────────────┐
//	│   live    │─────────────▶ │ partitioned │────────────▶ │ unreachable │
//	└───────────┘  disk alive   │ or isolated │  on disk     └─────────────┘
//	  │  ▲  ▲  ▲                └─────────────┘                │       │ silent for T
//	  │  │  │  └───────── heard ───────┘                       │       │ on every datastore
//	  │  │  └──────────── heard ───────────────────────────────┘       ▼
//	  │  │                                              answers pings ╱ ╲ does not
//	  │  └─────────────── heard ───────────────────────┐             ╱   ╲
//	  │                                            ┌────────────┐◀──╱     ╲──▶┌──────┐
//	  │ heard, a datastore lost: storage-lost      │ agent-down │◀──────────▶ │ dead │
//	  │ heard, says so: maintenance                └────────────┘             └──────┘
//	  ▼
//	undetermined, from and to any state but live: not heard, no sign of life on
//	disk, and something that must be read for a verdict can't be read.
type State uint8

const (
	// Undetermined means that the evidence is too thin for any other state; the
	// evidence says why. "Could not read" is never "silent".
	Undetermined State = iota
	// Live means heard on the network.
	Live
	// Maintenance means heard, and in maintenance by its own word.
	Maintenance
	// StorageLost means heard, but without one datastore or more.
	StorageLost
	// Isolated means not heard, alive on disk, and isolated by its own word.
	Isolated
	// Partitioned means not heard, and alive on disk.
	Partitioned
	// Unreachable means neither heard nor alive on disk, for too short a time for more.
	Unreachable
	// AgentDown means that the host is silent on the network and on every heartbeat
	// datastore but answers pings, or that it left in good order.
	AgentDown
	// Dead means that the host is silent everywhere.
	Dead
)

// String returns the state's name as in the glossary.
func (s State) String() string {
	names := [...]string{"undetermined", "live", "maintenance", "storage-lost", "isolated", "partitioned", "unreachable", "agent-down", "dead"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// MarshalText writes the state's name.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the state's name.
func (s *State) UnmarshalText(text []byte) error {
	for c := Undetermined; c <= Dead; c++ {
		if c.String() == string(text) {
			*s = c
			return nil
		}
	}
	return fmt.Errorf("%q is no host state", text)
}
