package agent

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/google/uuid"

	"storebeat/agent/core"
	"storebeat/agent/freeze"
	"storebeat/agent/hypervisor"
	"storebeat/datastorehb"
)

// conditions are those of this host's machines with which not all is well.
func (a *Agent) conditions() map[uuid.UUID]core.Condition {
	all := map[uuid.UUID]core.Condition{}
	self, _ := a.member(a.self.Host)
	for _, m := range a.machines.all() {
		if why := m.pending.Load(); why != nil {
			all[m.vm] = core.Condition{Guest: core.KillPending, Remarks: []string{fmt.Sprintf("it is to be ended on %s, and can't be yet: %s", self.Name, *why)}}
			continue
		}
		// The monitor of a machine that is frozen has no say.
		if state, err := m.Handle().State(); err != nil || state != freeze.Running {
			continue
		}
		if c := conditionOf(m.Condition()); c.Guest != "" || c.Why != "" {
			all[m.vm] = c
		}
	}
	if noted := a.machines.noted.Load(); noted != nil {
		for vm, remarks := range *noted {
			c := all[vm]
			c.Remarks = append(c.Remarks, remarks...)
			all[vm] = c
		}
	}
	return all
}

// conditionOf leaves out what is as it should be.
func conditionOf(c hypervisor.Condition) core.Condition {
	switch c.Monitor {
	case hypervisor.Silent, hypervisor.Connecting:
		if c.Detail == "" {
			break // it has just been made, or found
		}
		return core.Condition{Why: "its monitor is " + c.Monitor.String() + ": " + c.Detail}
	case hypervisor.Answering:
		if c.Guest != core.PhaseRunning && c.Guest != "prelaunch" {
			return core.Condition{Guest: c.Guest, Why: c.Detail}
		}
	}
	return core.Condition{}
}

// withConditions adds to a view what the hosts say of their machines' guests. A host that
// does not answer in time adds nothing.
func (a *Agent) withConditions(ctx context.Context, v *core.View) {
	hosts := asked(v)
	answers := make([]map[uuid.UUID]core.Condition, len(hosts))
	var asking sync.WaitGroup
	for i, host := range hosts {
		if host == a.self.Host {
			answers[i] = a.conditions()
			continue
		}
		asking.Go(func() {
			if err := a.ask(ctx, host, envelope{Conditions: true}, &answers[i]); err != nil {
				a.log.Debug("the condition of another host's machines can't be had", "host", host, "error", err)
			}
		})
	}
	asking.Wait()
	for i := range v.Machines {
		m := &v.Machines[i]
		for at, host := range hosts {
			c := answers[at][m.VM]
			if m.Host == host {
				m.Condition.Guest, m.Condition.Why = c.Guest, c.Why
			}
			m.Condition.Remarks = append(m.Condition.Remarks, c.Remarks...)
		}
	}
}

// asked are the hosts that can be heard.
func asked(v *core.View) (hosts []datastorehb.HostID) {
	for i := range v.Hosts {
		if h := &v.Hosts[i]; h.ID == v.Host || slices.Contains([]string{"live", "maintenance", "storage-lost"}, h.State) {
			hosts = append(hosts, h.ID)
		}
	}
	return hosts
}
