package guard

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/freeze"
	"storebeat/datastorehb"
)

// keeperState is all that a Keeper knows, in the form in which it goes to the next program.
type keeperState struct {
	Leases   []keptLease          `json:"leases"`
	Machines []keptMachine        `json:"machines"`
	Left     *datastorehb.Instant `json:"left,omitempty"` // when the agent left; nil: it is there
}

// keptLease is the lease of one datastore.
type keptLease struct {
	Datastore uuid.UUID           `json:"datastore"`
	Term      uint64              `json:"term"`
	Length    time.Duration       `json:"length"`
	Deadline  datastorehb.Instant `json:"deadline"`
	Custody   bool                `json:"custody"`
	Expired   bool                `json:"expired"`
	Awaiting  bool                `json:"awaiting"`
}

// keptMachine is one machine.
type keptMachine struct {
	Machine
	Ordered  datastorehb.Instant `json:"ordered"`
	NextLook datastorehb.Instant `json:"next_look"`
}

// state returns all that the Keeper knows. What it has to report has been fetched before.
func (k *Keeper) state() (s keeperState) {
	for _, datastore := range k.datastores() {
		h := k.leases[datastore]
		s.Leases = append(s.Leases, keptLease{datastore, h.lease.Term(), h.lease.Length(), h.lease.Deadline(), h.lease.InCustody(), h.expired, h.awaiting})
	}
	for _, m := range k.sorted() {
		s.Machines = append(s.Machines, keptMachine{m.Machine, m.ordered, m.nextLook})
	}
	if k.alone {
		s.Left = &k.left
	}
	return s
}

// Export returns all that the Keeper knows, for Import.
func (k *Keeper) Export() ([]byte, error) { return json.Marshal(k.state()) }

// Import makes a new Keeper know what another one has exported.
func (k *Keeper) Import(raw []byte) error {
	var s keeperState
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("read the state of the guard before: %w", err)
	}
	if err := s.check(); err != nil {
		return err
	}
	k.restore(s)
	return nil
}

// check refuses what no Keeper could have left.
func (s keeperState) check() error {
	for _, l := range s.Leases {
		if l.Datastore == uuid.Nil || l.Term == 0 || l.Length <= 0 || l.Custody && l.Expired {
			return fmt.Errorf("state of the guard before: lease %+v can't be", l)
		}
	}
	for _, m := range s.Machines {
		if m.VM == uuid.Nil || m.Datastore == uuid.Nil || m.Handle.PID <= 0 || m.State < freeze.Running || m.State > freeze.Gone {
			return fmt.Errorf("state of the guard before: machine %+v can't be", m)
		}
	}
	return nil
}

// restore makes a Keeper that knows nothing know what another one knew. A lease that
// has run out since runs out at the next Tick, and one that had stays so: deadlines
// are what they were.
func (k *Keeper) restore(s keeperState) {
	for _, l := range s.Leases {
		lease := datastorehb.InheritedLease(l.Term, l.Deadline, l.Length)
		if l.Custody {
			lease = datastorehb.CustodyLease(l.Term, l.Length)
		}
		k.leases[l.Datastore] = &held{lease: lease, expired: l.Expired, awaiting: l.Awaiting}
	}
	if s.Left != nil {
		k.AgentLeft(*s.Left)
	}
	for _, m := range s.Machines {
		k.machines[m.VM] = &kept{Machine: m.Machine, ordered: m.Ordered, nextLook: m.NextLook}
	}
}
