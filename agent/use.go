package agent

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/control"
	"storebeat/agent/hypervisor"
)

const (
	// useEvery is the time between two looks at what machines use, for metrics.
	useEvery = 10 * time.Second
	// useLimit is how long one machine may take to say so.
	useLimit = 2 * time.Second
)

// UseRequest asks what a machine has used since its process began.
type UseRequest struct {
	VM uuid.UUID `json:"vm"`
}

// uses are the newest statistics of this host's machines.
type uses struct {
	mu  sync.Mutex
	all map[uuid.UUID]hypervisor.Statistics
}

func (u *uses) newest() map[uuid.UUID]hypervisor.Statistics {
	u.mu.Lock()
	defer u.mu.Unlock()
	return maps.Clone(u.all)
}

// watchUse asks all machines again and again. One that hangs holds up no other, and is
// shown with what is known without it.
func (ms *machines) watchUse(ctx context.Context) {
	for ticks := time.NewTicker(useEvery); ; {
		now := map[uuid.UUID]hypervisor.Statistics{}
		var mu sync.Mutex
		var asking sync.WaitGroup
		for _, m := range ms.all() {
			asking.Go(func() {
				if s, err := m.use(ctx); err == nil {
					mu.Lock()
					now[m.vm] = s
					mu.Unlock()
				}
			})
		}
		asking.Wait()
		ms.uses.mu.Lock()
		ms.uses.all = now
		ms.uses.mu.Unlock()
		select {
		case <-ctx.Done():
			ticks.Stop()
			return
		case <-ticks.C:
		}
	}
}

func (m *machine) use(ctx context.Context) (hypervisor.Statistics, error) {
	ctx, cancel := context.WithTimeout(ctx, useLimit)
	defer cancel()
	return m.Statistics(ctx)
}

// use asks a machine of this host, or the host that has it.
func (a *Agent) use(ctx context.Context, in UseRequest) (s hypervisor.Statistics, err error) {
	if m := a.machines.get(in.VM); m != nil {
		return m.use(ctx)
	}
	v, err := a.clusterView(ctx)
	if err != nil {
		return s, err
	}
	for i := range v.Machines {
		if m := &v.Machines[i]; m.VM == in.VM && m.Host != 0 && m.Host != a.self.Host {
			err := a.ask(ctx, m.Host, envelope{Use: &in}, &s)
			return s, err
		}
	}
	return s, errNotHere
}

var errNotHere = control.Errorf(control.NotFound, "no host is known to have a process of the machine")

// useHere answers another host.
func (a *Agent) useHere(ctx context.Context, in UseRequest) (hypervisor.Statistics, error) {
	if m := a.machines.get(in.VM); m != nil {
		return m.use(ctx)
	}
	return hypervisor.Statistics{}, errNotHere
}
