package scenario

import (
	"time"

	"storebeat/datastorehb"
	"storebeat/poweron"
)

// Scenario is a file that makes sense.
type Scenario struct {
	File       string
	Title      string
	Timing     datastorehb.Timing
	Addresses  []string
	Datastores []DatastoreSpec
	Hosts      []HostSpec
	Machines   []MachineSpec
	Master     string        // at the start; "" leaves it to the election
	LockLease  time.Duration // of image locks
	End        time.Duration // at the latest time that a range allows
	Settle     time.Duration // for convergence after the end, 0 when none is expected
	Events     []Event
	Expected   []Expectation
}

// DatastoreSpec is one declared datastore.
type DatastoreSpec struct {
	Name                string
	Device              string // "" is one of its own
	Type                string // of file system, "" leaves it to the simulator
	Barrier             datastorehb.WriteBarrier
	Preferred, Excluded bool
}

// HostSpec is one declared host.
type HostSpec struct {
	Name       string
	Memory     uint64   // bytes
	Datastores []string // that it accesses
	Drift      *float64 // of its clock, as a share; nil leaves it to the seed
	Watchdog   bool     // its guard feeds one
	Has        []string // what machines may need; nil stands for all there is
	Silent     bool     // it does not say so, as hosts of an older version
}

// MachineSpec is one declared machine.
type MachineSpec struct {
	Name    string
	Home    string
	Host    string // where it runs at the start; "" leaves it to the master
	Memory  uint64 // bytes
	Policy  poweron.Policy
	Rules   poweron.Rules
	Needs   []string // of its host
	Stopped bool
}

// Moment says when something happens: at a time, or after a condition holds.
type Moment struct {
	Form      *Form
	Time      Span    // for At; for After, how long after
	Condition *Phrase // for When and After
}

// Event is something that happens.
type Event struct {
	Pos  Pos
	Text string // the line
	When Moment
	Do   Phrase
}

// Expectation is something that must hold.
type Expectation struct {
	Pos   Pos
	Text  string // the line
	When  *Phrase
	After *Phrase // for ExpectWithin
	What  Phrase
}
