package agent

import (
	"context"
	"testing"

	"github.com/google/uuid"

	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/process"
	"storebeat/poweron"
)

// moody is a driver that works, or does not.
type moody struct {
	*process.Driver
	problem string
}

func (m *moody) Capabilities(context.Context) poweron.DriverState {
	return poweron.DriverState{Name: "process", Version: "1", Problem: m.problem}
}

// A driver that fails once is believed to work still, one that fails twice is not.
func TestOneFailureOfADriverIsNotTold(t *testing.T) {
	m := &moody{}
	l := look{drivers: map[string]hypervisor.Driver{"process": m}}
	for i, tt := range []struct{ problem, told string }{
		{"starting", "starting"}, {"", ""}, {"hangs", ""}, {"", ""}, {"hangs", ""}, {"gone", "gone"}, {"gone", "gone"}, {"", ""}, {"gone", ""},
	} {
		m.problem = tt.problem
		now := l.again(t.Context())
		if got := now.Drivers[0]; got.Problem != tt.told || now.Has[poweron.Bridge] == nil {
			t.Errorf("look %d: %+v, want problem %q", i, now, tt.told)
		}
		if l.doubtful() != (tt.problem != "" && tt.told == "") {
			t.Errorf("look %d: doubtful %v", i, l.doubtful())
		}
	}
}

// What a machine needs is read by its driver whether this host uses that driver or not.
func TestNeedsOfADriverThatIsNotUsed(t *testing.T) {
	ms := &machines{known: map[string]hypervisor.Driver{"process": process.New()}}
	e := poweron.Entry{VM: uuid.UUID{1}, Driver: "process"}
	if got := ms.needsOf(&e); got.Driver != "process" {
		t.Errorf("%+v", got)
	}
	e.Driver = "xen"
	if got := ms.needsOf(&e); got.Driver != "xen" {
		t.Errorf("%+v", got)
	}
}
