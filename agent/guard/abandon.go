package guard

import (
	"time"

	"storebeat/agent/freeze"
	"storebeat/datastorehb"
)

// DefaultAbandon is how long no agent may be connected, and a datastore's lease be
// over, before the guard ends the machines that are frozen there. It is longer than
// an agent takes to come back, and than others take to close the term: their start
// of the machine then waits for nothing but the image lock, which a frozen process
// keeps.
const DefaultAbandon = time.Minute

// AgentCame tells that an agent is connected. What lives is its own to decide about.
func (k *Keeper) AgentCame() {
	k.alone = false
	for _, m := range k.machines {
		m.Abandoned = m.Abandoned && m.State == freeze.Gone
	}
}

// AgentLeft tells that no agent is connected any more.
func (k *Keeper) AgentLeft(now datastorehb.Instant) { k.alone, k.left = true, now }

// abandon decides whether a machine is to be ended, and reports it the first time.
func (k *Keeper) abandon(now datastorehb.Instant, m *kept) bool {
	if m.State != freeze.Frozen || !k.alone || now.Sub(k.left) < k.patience {
		return false
	}
	if h := k.leases[m.Datastore]; h != nil && (h.lease.Valid(now) || now.Sub(h.lease.Deadline()) < k.patience) {
		return false
	}
	if !m.Abandoned {
		m.Abandoned = true
		k.report(MachineAbandoned, now, m)
	}
	return true
}
