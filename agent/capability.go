package agent

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"storebeat/agent/core"
	"storebeat/agent/hypervisor"
	"storebeat/poweron"
)

const (
	// capableEvery is the time between two looks at what the host has for machines, and
	// troubledEvery that while a driver does not work.
	capableEvery  = 10 * time.Second
	troubledEvery = 3 * time.Second
	// capableLimit bounds one look. A daemon that was just installed asks QEMU first.
	capableLimit = 30 * time.Second
)

// needsOf is what the machine's driver reads in its definition.
func (ms *machines) needsOf(e *poweron.Entry) poweron.Needs {
	if driver := ms.known[e.Driver]; driver != nil {
		return driver.Needs(e.Definition)
	}
	return poweron.Needs{Driver: e.Driver}
}

// watchCapabilities tells the core what the host has for machines, and of every change.
func (ms *machines) watchCapabilities(ctx context.Context) {
	looks := look{drivers: ms.drivers}
	for {
		now := looks.again(ctx)
		if ctx.Err() != nil {
			return
		}
		ms.agent.addDatastores(ctx, &now)
		ms.agent.observe(core.HostCapable{Capabilities: now})
		pause := capableEvery
		if slices.ContainsFunc(now.Drivers, func(d poweron.DriverState) bool { return d.Problem != "" }) || looks.doubtful() {
			pause = troubledEvery
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// addDatastores adds those that this host has opened and trusts, for machines that
// have disks on several.
func (a *Agent) addDatastores(ctx context.Context, c *poweron.Capabilities) {
	v, err := a.view(ctx)
	if err != nil {
		return // not known is not lacking
	}
	names := []string{}
	for i := range v.Datastores {
		if v.Datastores[i].State == "available" {
			names = append(names, v.Datastores[i].Name)
		}
	}
	slices.Sort(names)
	if c.Has == nil {
		c.Has = map[poweron.Kind][]string{}
	}
	c.Has[poweron.Datastore] = names
}

// look looks at what the host has, again and again.
type look struct {
	drivers map[string]hypervisor.Driver
	good    map[string]poweron.DriverState // the last look's word of drivers that worked
	doubted map[string]bool                // those that did not work at the last look, and did before
}

// again asks all drivers at a time. A driver that worked and does not answer once is
// believed to work still: a daemon may be restarting, or the host be busy.
func (l *look) again(ctx context.Context) poweron.Capabilities {
	ctx, cancel := context.WithTimeout(ctx, capableLimit)
	defer cancel()
	var c poweron.Capabilities
	if bridges, err := hypervisor.Bridges(); err == nil {
		c.Has = map[poweron.Kind][]string{poweron.Bridge: bridges}
	}
	states := make(chan poweron.DriverState, len(l.drivers))
	var asking sync.WaitGroup
	for _, d := range l.drivers {
		asking.Go(func() { states <- d.Capabilities(ctx) })
	}
	asking.Wait()
	close(states)
	good, doubted := map[string]poweron.DriverState{}, map[string]bool{}
	for s := range states {
		before, worked := l.good[s.Name]
		switch {
		case s.Problem == "":
			good[s.Name] = s
		case worked && !l.doubted[s.Name]:
			s, good[s.Name], doubted[s.Name] = before, before, true
		}
		c.Drivers = append(c.Drivers, s)
	}
	l.good, l.doubted = good, doubted
	slices.SortFunc(c.Drivers, func(a, b poweron.DriverState) int { return strings.Compare(a.Name, b.Name) })
	return c
}

func (l *look) doubtful() bool { return len(l.doubted) > 0 }
