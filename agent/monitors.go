package agent

import (
	"context"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/core"
	"storebeat/agent/freeze"
	"storebeat/agent/hypervisor"
)

const (
	// monitorEvery is the time between two looks at what drivers know of monitors.
	monitorEvery = 5 * time.Second
	// silentLooks is at how many looks in a row a monitor must have been silent
	// before that is told: at births, and while a daemon is restarted, it is so for
	// a moment.
	silentLooks = 4
)

// watchMonitors tells of machines whose monitor does not answer though they run.
func (ms *machines) watchMonitors(ctx context.Context) {
	var silence silences
	for ticks := time.NewTicker(monitorEvery); ; {
		select {
		case <-ctx.Done():
			ticks.Stop()
			return
		case <-ticks.C:
		}
		all := ms.all()
		silence.keep(all)
		for _, m := range all {
			state, err := m.Handle().State()
			if o := silence.see(m.vm, err == nil && state == freeze.Running, m.Condition()); o != nil {
				ms.agent.observe(*o)
			}
		}
	}
}

// silences counts at how many looks in a row a machine's monitor was silent.
type silences struct{ looks map[uuid.UUID]int }

// keep forgets machines that are gone.
func (s *silences) keep(all []*machine) {
	kept := map[uuid.UUID]int{}
	for _, m := range all {
		kept[m.vm] = s.looks[m.vm]
	}
	s.looks = kept
}

// see takes in one look, and returns what there is to tell. The monitor of a machine
// that is frozen has no say.
func (s *silences) see(vm uuid.UUID, running bool, c hypervisor.Condition) *core.MachineMonitor {
	silent := c.Monitor == hypervisor.Silent || c.Monitor == hypervisor.Connecting
	if silent && !running {
		return nil
	}
	before := s.looks[vm]
	if !silent {
		s.looks[vm] = 0
		if before >= silentLooks {
			return &core.MachineMonitor{VM: vm}
		}
		return nil
	}
	if s.looks[vm]++; s.looks[vm] == silentLooks {
		return &core.MachineMonitor{VM: vm, Silent: true, Detail: "monitor " + c.Monitor.String() + ": " + c.Detail}
	}
	return nil
}
