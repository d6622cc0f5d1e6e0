package core

import (
	"fmt"

	"storebeat/datastorehb"
	"storebeat/poweron"
)

// Situation returns the cluster as this host knows it, to find out what the loss
// of hosts would mean. Only a master knows enough. It changes nothing, and what
// it returns is the caller's; the forecasts themselves, which take longer, are
// made from it outside of the core.
func (c *Core) Situation() poweron.Situation {
	s := poweron.Situation{Hosts: c.planHosts()}
	for _, l := range c.locate() {
		m := c.candidate(l.home, l.info)
		m.Failed = nil // what has failed lately says little of what is to come
		s.Machines = append(s.Machines, poweron.Situated{Machine: m, Host: l.host, Stays: c.named(c.stays(l))})
	}
	return s
}

// stays says why a machine would not be started if its host were lost, or why it
// is not started now.
func (c *Core) stays(l located) string {
	if l.GenerationState != datastorehb.Valid && l.GenerationState != datastorehb.Absent {
		return fmt.Sprintf("its newest generation is %s", l.GenerationState)
	}
	wants, why := poweron.Wants(l.Entry, l.Revision, l.newest(), true)
	if !wants {
		return why
	}
	if k := c.keeping(l.home, l.info); k.off() && l.host == 0 {
		return c.keptWords(l.info, k)
	}
	return ""
}
