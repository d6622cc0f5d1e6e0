package agent

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/control"
	"storebeat/agent/core"
	"storebeat/agent/hypervisor"
	"storebeat/datastorehb"
	"storebeat/poweron"
)

// GuestsResult are the guests that this host's hypervisor has of its own, by name.
type GuestsResult struct {
	Host   datastorehb.HostID `json:"host"`
	Driver string             `json:"driver"`
	Names  []string           `json:"names"`
}

// ExportRequest asks what it takes to protect one of them, or the guest behind a monitor
// of QEMU's.
type ExportRequest struct {
	Name    string `json:"name"`              // beside a monitor, the name that the machine shall have; "" for the guest's
	Monitor string `json:"monitor,omitempty"` // path of a unix socket
	Offer   bool   `json:"offer,omitempty"`   // have the machine's next start here take over the guest behind the monitor
}

// keeper returns the driver that is configured here and whose hypervisor has guests
// of its own, nil if there is none.
func (ms *machines) keeper() hypervisor.Keeper {
	for _, d := range ms.drivers {
		if k, ok := d.(hypervisor.Keeper); ok {
			return k
		}
	}
	return nil
}

var errNoKeeper = control.Errorf(control.Refused, "this host is not configured to look after guests of libvirt").WithRemedy("add \"libvirt\" to hypervisor.drivers and restart the agent")

func (a *Agent) guests(ctx context.Context, _ struct{}) (GuestsResult, error) {
	k := a.machines.keeper()
	if k == nil {
		return GuestsResult{}, errNoKeeper
	}
	names, err := k.Guests(ctx)
	if err != nil {
		return GuestsResult{}, control.Errorf(control.Unavailable, "%v", err)
	}
	return GuestsResult{Host: a.self.Host, Driver: k.Name(), Names: names}, nil
}

func (a *Agent) export(ctx context.Context, in ExportRequest) (hypervisor.Guest, error) {
	if in.Monitor != "" {
		return a.exportRunning(ctx, in)
	}
	k := a.machines.keeper()
	if k == nil {
		return hypervisor.Guest{}, errNoKeeper
	}
	g, err := k.Export(ctx, in.Name, a.otherPlaces(every), func(vm uuid.UUID) hypervisor.Former { return a.former(ctx, vm) })
	if err != nil {
		return g, control.Errorf(control.Unavailable, "guest %s: %v", in.Name, err)
	}
	a.machines.renditions.exported(&g)
	return g, nil
}

// every chooses all datastores.
func every(uuid.UUID) bool { return true }

// exportRunning reads the guest behind a monitor.
func (a *Agent) exportRunning(ctx context.Context, in ExportRequest) (hypervisor.Guest, error) {
	driver, ok := a.machines.drivers["qemu"].(hypervisor.Adopter)
	if !ok {
		return hypervisor.Guest{}, control.Errorf(control.Refused, "this host is not configured to run guests of QEMU").WithRemedy("add \"qemu\" to hypervisor.drivers and restart the agent")
	}
	g, err := driver.Read(ctx, in.Monitor, in.Name, a.otherPlaces(every))
	if err == nil && in.Offer && len(g.Problems) == 0 {
		err = driver.Offer(ctx, in.Monitor, g.VM, a.cfg.RunDirectory)
	}
	if err != nil {
		return g, control.Errorf(control.Unavailable, "the guest behind %s: %v", in.Monitor, err)
	}
	return g, nil
}

// former is what is stored of a machine: its home, and the definition if it is protected, or
// was until a moment ago and its hypervisor has not been given back yet what it was kept from.
func (a *Agent) former(ctx context.Context, vm uuid.UUID) (stored hypervisor.Former) {
	for _, d := range a.datastores.list() {
		e, known := a.entryOf(ctx, d.id, vm)
		home, err := a.settingsOf(d.id)
		if !known || err != nil {
			continue
		}
		stored.Home = home.Name
		if e.Protected || a.machines.renditions.knows(vm) {
			stored.Definition = e.Definition
		}
	}
	return stored
}

// entryOf returns the newest entry of a machine on a datastore, and whether it is known.
func (a *Agent) entryOf(ctx context.Context, datastore, vm uuid.UUID) (e poweron.Entry, known bool) {
	err := a.look(ctx, func(c *core.Core) { e, known = c.Entry(datastore, vm) })
	return e, known && err == nil
}

// tidyEvery is the time between two looks at what a hypervisor does by itself.
const tidyEvery = 10 * time.Second

// tidy sees to it that a hypervisor with a daemon and definitions of its own does
// nothing behind the agent's back: what it gives birth to late is ended, what it has
// of machines that run elsewhere is removed, and it starts none by itself.
func (ms *machines) tidy(ctx context.Context) {
	k := ms.keeper()
	if k == nil {
		return
	}
	t := ms.tidying(k)
	for ticks := time.NewTicker(tidyEvery); ; {
		t.round()
		t.endStrays(ctx)
		t.definitions(ctx)
		select {
		case <-ctx.Done():
			ticks.Stop()
			return
		case <-ticks.C:
		case <-ms.untidy:
		}
	}
}

// lookSoon has it looked at at once.
func (ms *machines) lookSoon() {
	select {
	case ms.untidy <- struct{}{}:
	default:
	}
}

type tidying struct {
	*machines
	hypervisor.Keeper
	told     map[string]bool        // what was logged in this round, or would have been
	known    map[string]bool        // the same of the round before
	before   map[string]bool        // what was found in the round before, and told then
	findings map[string]bool        // in this round
	remarks  map[uuid.UUID][]string // for people who look at a machine
	strays   map[uuid.UUID]int      // rounds in which a guest of the machine's UUID ran in nobody's care
}

func (ms *machines) tidying(k hypervisor.Keeper) *tidying {
	return &tidying{machines: ms, Keeper: k, told: map[string]bool{}, findings: map[string]bool{}, remarks: map[uuid.UUID][]string{}, strays: map[uuid.UUID]int{}}
}

// round begins a round of looks.
func (t *tidying) round() { t.known, t.told = t.told, map[string]bool{} }

// begin begins a round in which definitions are gone through.
func (t *tidying) begin() {
	t.before, t.findings, t.remarks = t.findings, map[string]bool{}, map[uuid.UUID][]string{}
}

// endStrays ends machines of this host that nobody has started: the agent had given
// up waiting for them, or a forerunner had. They have never been let go.
func (t *tidying) endStrays(ctx context.Context) {
	cfg := t.agent.cfg
	found, err := t.Find(ctx, cfg.Cluster.UUID, t.agent.self.Host, cfg.RunDirectory)
	if err != nil {
		t.tell("can't look for machines that were born late", "", err)
	}
	for _, f := range found {
		if m := t.get(f.VM); !t.idle(f) || m != nil && m.Handle().PID == f.Handle.PID {
			continue
		}
		t.agent.log.Warn("a machine was born after its start had failed; it is ended", "vm", f.VM, "generation", f.Generation, "process", f.Handle)
		t.end(ctx, f)
	}
}

// idle tells that nobody is starting the machine, or ending a process of it.
func (t *tidying) idle(f hypervisor.Found) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.busy[f.VM]) == 0
}

func (t *tidying) end(ctx context.Context, f hypervisor.Found) {
	ended := t.busyWith(f.VM, 0)
	p, err := t.Adopt(ctx, f)
	if err != nil {
		ended()
		if !errors.Is(err, hypervisor.ErrGone) {
			t.tell("can't take hold of a machine that was born late", f.VM.String(), err)
		}
		return
	}
	go func() {
		defer ended()
		t.kill(&machine{Machine: p, vm: f.VM, generation: f.Generation, home: f.Datastore})
		<-p.Done()
	}()
}

// definitions goes through what the hypervisor has of protected machines that have
// no process here.
func (t *tidying) definitions(ctx context.Context) {
	kept, err := t.Kept(ctx)
	if err != nil {
		t.tell("can't list what the hypervisor has", "", err)
		return
	}
	v, err := t.agent.view(ctx)
	if err != nil {
		return
	}
	if err := t.agent.rememberProtected(&v); err != nil {
		t.tell("can't write down which machines are protected, for the hook of libvirt", "", err)
	}
	t.begin()
	for i := range v.Machines {
		m := &v.Machines[i]
		if m.Driver != t.Name() {
			continue
		}
		at := slices.IndexFunc(kept, func(k hypervisor.Kept) bool { return k.VM == m.VM })
		switch {
		case at >= 0 && m.Protected:
			t.definition(ctx, m, &kept[at])
		case at >= 0:
			t.giveBack(ctx, m)
		default:
			t.giveUp(m)
		}
		if m.Protected {
			t.namesake(m, kept)
		}
	}
	t.noted.Store(&t.remarks)
}

// tell logs what does not go away by itself, once until it was away.
func (t *tidying) tell(what, name string, err error) {
	if !t.known[what+name] && !t.told[what+name] {
		t.agent.log.Error(what, "machine", name, "error", err)
	}
	t.told[what+name] = true
}
