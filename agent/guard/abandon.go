package guard

import (
	"time"

	"github.com/google/uuid"

	"storebeat/agent/freeze"
	"storebeat/datastorehb"
)

// DefaultAbandon is how long no agent may be connected, and a datastore's lease be
// over, before the guard ends the machines that are frozen there. It is longer than
// an agent takes to come back, and than others take to close the term: their start
// of the machine then waits for nothing but the image lock, which a frozen process
// keeps.
const DefaultAbandon = time.Minute

// AgentCame tells that an agent is connected.
func (k *Keeper) AgentCame() { k.alone = false }

// AgentLeft tells that no agent is connected any more.
func (k *Keeper) AgentLeft(now datastorehb.Instant) { k.alone, k.left = true, now }

// Ended tells that a machine was ended on an order. It is gone only once it is seen so.
func (k *Keeper) Ended(now datastorehb.Instant, vm uuid.UUID) {
	if m := k.machines[vm]; m != nil && !m.Abandoned {
		m.Abandoned = true
		k.report(MachineAbandoned, now, m)
	}
}

// abandon decides whether a machine is to be ended.
func (k *Keeper) abandon(now datastorehb.Instant, m *kept) bool {
	if m.State != freeze.Frozen || !k.alone || now.Sub(k.left) < k.patience {
		return false
	}
	h := k.leases[m.Datastore]
	return h == nil || !h.lease.Valid(now) && now.Sub(h.lease.Deadline()) >= k.patience
}
