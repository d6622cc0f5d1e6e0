package agent

import (
	"testing"

	"storebeat/agent/core"
	"storebeat/agent/hypervisor"
)

// Every incident that a driver may tell of has a kind of event.
func TestEveryIncidentHasAKind(t *testing.T) {
	for i := hypervisor.GuestPanicked; i <= hypervisor.GuestMemoryFailed; i++ {
		if _, ok := core.AboutKind(incidents[i]); !ok {
			t.Errorf("incident %d is no event: %q", i, incidents[i])
		}
	}
}
