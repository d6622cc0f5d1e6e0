package core

import (
	"fmt"
	"slices"
	"time"

	"storebeat/datastorehb"
	"storebeat/poweron"
)

// When the host shuts down, its machines end with it: nothing is left in custody.
// Each is stopped in its own time and given up, with the reason "host shutdown",
// so that the master has it started elsewhere, or not, as its policy says.

// shuttingDown reports whether the agent stops because its host does.
func (c *Core) shuttingDown() bool {
	return c.leaving != nil && c.leaving.Why.By == datastorehb.LeftByShutdown && !c.leaving.AtOnce
}

// longestStop is the longest time that a machine of this host may take to stop.
func (c *Core) longestStop() (longest time.Duration) {
	for _, m := range c.machines {
		longest = max(longest, m.entry.Policy.StopTime)
	}
	return longest
}

// giveUpAll stops what runs, and releases what doesn't and is this host's.
func (c *Core) giveUpAll() {
	if !c.shuttingDown() {
		return
	}
	const why = "the host shuts down"
	for _, m := range slices.Clone(c.machines) {
		switch {
		case m.begun():
			c.failStart(m, why)
		case m.phase == phaseRun && !m.frozen && c.mayRun(m):
			c.stop(m, poweron.HostShutdown, why, true)
		case m.phase == phaseSpot, m.phase == phasePublish && !m.busy, m.phase == phaseRecheck && !m.busy:
			c.release(m, poweron.HostShutdown, why)
		}
	}
}

// notGivenUp names the machines that this host still has. It is worth waiting for
// those that it has a right to.
func (c *Core) notGivenUp() (missing []string, hope bool) {
	for _, m := range c.machines {
		missing = append(missing, fmt.Sprintf("%s is %s", firstName(m), m.phase))
		hope = hope || m.home.held(c.now) || m.phase == phasePutDown
	}
	return missing, hope
}

func firstName(m *machine) string {
	if m.entry.Name != "" {
		return m.entry.Name
	}
	return m.vm.String()
}
