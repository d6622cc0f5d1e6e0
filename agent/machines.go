package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/clock"
	"storebeat/agent/core"
	"storebeat/agent/freeze"
	"storebeat/agent/guard"
	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/libvirt"
	"storebeat/agent/hypervisor/process"
	"storebeat/agent/hypervisor/qemu"
	"storebeat/poweron"
)

// startTime is how long a driver may take to bring a machine to life.
const startTime = time.Minute

// machines are the machine processes of this host.
type machines struct {
	agent   *Agent
	drivers map[string]hypervisor.Driver // those that machines may be started with
	known   map[string]hypervisor.Driver // all, for machines that are there already
	freezes freezes
	uses    uses

	renditions *renditions
	untidy     chan struct{}                          // has the hypervisor's house looked at soon
	noted      atomic.Pointer[map[uuid.UUID][]string] // what was found there

	mu      sync.Mutex
	running map[uuid.UUID]*machine
	busy    map[uuid.UUID][]uint64 // generations that are being started, 0 for a process that is being ended
}

// machine is one machine process of this host.
type machine struct {
	hypervisor.Machine
	vm         uuid.UUID
	generation uint64
	home       uuid.UUID
	orders     queue                  // to the guest, by its monitor
	unhalted   time.Time              // when it was logged last that it can't be halted; of one order at a time
	pending    atomic.Pointer[string] // why it can't be ended yet, though it is to be
}

func newMachines(a *Agent) *machines {
	all := map[string]hypervisor.Driver{"process": process.New(), "qemu": qemu.New(""), "libvirt": libvirt.New(a.cfg.Hypervisor.LibvirtURI)}
	m := &machines{agent: a, drivers: map[string]hypervisor.Driver{}, known: all, running: map[uuid.UUID]*machine{}, busy: map[uuid.UUID][]uint64{},
		renditions: newRenditions(a.cfg.StateDirectory), untidy: make(chan struct{}, 1)}
	for _, name := range a.cfg.Hypervisor.Drivers {
		m.drivers[name] = all[name]
	}
	return m
}

// registration is what the guard is told of the machine.
func (m *machine) registration() guard.Machine {
	return guard.Machine{VM: m.vm, Generation: m.generation, Datastore: m.home, Handle: m.Handle()}
}

func (ms *machines) all() (all []*machine) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	for _, m := range ms.running {
		all = append(all, m)
	}
	return all
}

func (ms *machines) get(vm uuid.UUID) *machine {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	return ms.running[vm]
}

// remember counts a machine among those of this host, so that it is frozen with
// them and told to every guard.
func (ms *machines) remember(m *machine) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	ms.running[m.vm] = m
}

// busyWith notes that a generation of a machine is being started, or that a process
// of it is being ended (0), until the function that it returns is called.
func (ms *machines) busyWith(vm uuid.UUID, generation uint64) (ended func()) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	ms.busy[vm] = append(ms.busy[vm], generation)
	return func() {
		ms.mu.Lock()
		defer ms.mu.Unlock()
		at := slices.Index(ms.busy[vm], generation)
		if ms.busy[vm] = slices.Delete(ms.busy[vm], at, at+1); len(ms.busy[vm]) == 0 {
			delete(ms.busy, vm)
		}
	}
}

// starting tells whether this very generation is being started.
func (ms *machines) starting(vm uuid.UUID, generation uint64) bool {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	return generation > 0 && slices.Contains(ms.busy[vm], generation)
}

// absent tells whether a machine has no process here that the agent cares for, and
// is not about to have one.
func (ms *machines) absent(vm uuid.UUID) bool {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	return ms.running[vm] == nil && len(ms.busy[vm]) == 0
}

// lose forgets a machine that has ended.
func (ms *machines) lose(m *machine) {
	ms.mu.Lock()
	delete(ms.running, m.vm)
	ms.mu.Unlock()
	ms.agent.guard.forget(m.vm)
}

// watch reports the end of a machine.
func (ms *machines) watch(m *machine) {
	go ms.tellMovements(m)
	go func() {
		ms.tellIncidents(m)
		ms.lose(m)
		exit := m.Exit()
		ms.agent.observe(core.MachineGone{VM: m.vm, Generation: m.generation, Ending: endings[exit.Kind], Detail: exit.Detail})
	}()
}

// tellIncidents reports what is heard of a machine until its end.
func (ms *machines) tellIncidents(m *machine) {
	tell := func(i hypervisor.Incident) {
		ms.agent.observe(core.MachineIncident{VM: m.vm, Generation: m.generation, Kind: incidents[i.Kind], Detail: i.Detail})
	}
	for over := false; !over; {
		select {
		case i := <-m.Incidents():
			tell(i)
		case <-m.Done():
			over = true
		}
	}
	for {
		select {
		case i := <-m.Incidents():
			tell(i)
		default:
			return
		}
	}
}

var incidents = map[hypervisor.IncidentKind]core.Kind{
	hypervisor.GuestPanicked:      "guest-panicked",
	hypervisor.GuestCrashKernel:   "guest-crash-kernel",
	hypervisor.GuestWatchdog:      "guest-watchdog",
	hypervisor.GuestReset:         "guest-reset",
	hypervisor.GuestPaused:        "guest-paused",
	hypervisor.GuestResumed:       "guest-resumed",
	hypervisor.GuestDiskFailed:    "guest-disk-failed",
	hypervisor.GuestDiskRecovered: "guest-disk-recovered",
	hypervisor.GuestJobFailed:     "guest-job-failed",
	hypervisor.GuestDeviceRemoved: "guest-device-removed",
	hypervisor.GuestMemoryFailed:  "guest-memory-failed",
}

var endings = map[hypervisor.ExitKind]core.Ending{
	hypervisor.Crashed:       core.EndedByCrash,
	hypervisor.GuestShutDown: core.EndedByGuest,
	hypervisor.Killed:        core.EndedByUs,
	hypervisor.Destroyed:     core.EndedByUser,
	hypervisor.Migrated:      core.EndedByMigration,
}

// start creates a machine's process, born frozen, and registers it with the guard.
func (ms *machines) start(e core.StartMachine) {
	ended := ms.busyWith(e.VM, e.Generation)
	go func() {
		defer ended()
		o := core.MachineStarted{VM: e.VM, Generation: e.Generation}
		if err := ms.startNow(e); err != nil {
			// Neither a disk that somebody has not let go of yet nor the want of a
			// guard is a failure of the machine.
			o.Err, o.Refused = err.Error(), errors.Is(err, hypervisor.ErrLocked) || errors.Is(err, errUnguarded) || errors.Is(err, errRedefined)
		}
		ms.agent.observe(o)
	}()
}

func (ms *machines) startNow(e core.StartMachine) error {
	driver := ms.drivers[e.Entry.Driver]
	if driver == nil {
		return fmt.Errorf("this host has no hypervisor driver %q: add it to hypervisor.drivers", e.Entry.Driver)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	home, err := ms.agent.settingsOf(e.Datastore)
	if err != nil {
		return err
	}
	if ms.storedBefore(ctx, e.Datastore, &e.Entry) {
		return errRedefined
	}
	others, err := ms.usablePlaces(ctx, e.Datastore)
	if err != nil {
		return err
	}
	p, err := driver.Start(ctx, ms.spec(e.Datastore, home.Path, &e.Entry, e.Generation, others))
	if err != nil {
		ms.awaitLeftover(err)
		return err
	}
	return ms.care(ctx, &machine{Machine: p, vm: e.VM, generation: e.Generation, home: e.Datastore})
}

// spec says what a driver has to know of a generation of a machine.
func (ms *machines) spec(datastore uuid.UUID, path string, e *poweron.Entry, generation uint64, others []hypervisor.Place) hypervisor.Spec {
	cfg := ms.agent.cfg
	return hypervisor.Spec{Cluster: cfg.Cluster.UUID, Host: ms.agent.self.Host, VM: e.VM, Name: e.Name, Generation: generation, Datastore: datastore,
		DatastorePath: path, Others: others, Definition: e.Definition, RunDir: cfg.RunDirectory, CgroupRoot: ms.agent.cgroupRoot}
}

// care counts a machine that is there, and stopped, among those of this host. If the guard
// can't be told of it the machine is ended.
func (ms *machines) care(ctx context.Context, m *machine) error {
	ms.remember(m) // before the guard knows it: if that one dies now, the next is told of it
	if err := ms.agent.guard.register(ctx, m.registration()); err != nil {
		ms.kill(m)
		<-m.Done()
		ms.lose(m)
		return fmt.Errorf("%w: %w", errUnguarded, err)
	}
	ms.watch(m)
	ms.lookSoon() // it may have been defined anew
	return nil
}

// usablePlaces are the datastores beside a machine's home that this host has opened
// and trusts: on one that is not mounted, or another one, a disk of the same name
// would be the wrong one.
func (ms *machines) usablePlaces(ctx context.Context, home uuid.UUID) ([]hypervisor.Place, error) {
	v, err := ms.agent.view(ctx)
	if err != nil {
		return nil, err
	}
	return ms.agent.otherPlaces(func(id uuid.UUID) bool {
		return id != home && slices.ContainsFunc(v.Datastores, func(d core.DatastoreView) bool { return d.ID == id && d.State == "available" })
	}), nil
}

// errUnguarded means that a machine was there but could not be put under the
// eye of the guard.
var errUnguarded = errors.New("register the machine with the guard")

// awaitLeftover waits for the end of what a failed start has left behind. Only
// then may the core learn of the failure: it gives the machine away.
func (ms *machines) awaitLeftover(err error) {
	var left *hypervisor.LeftoverError
	if !errors.As(err, &left) {
		return
	}
	ms.agent.log.Error("a start failed and its process does not end", "error", err)
	for freeze.Wait(context.Background(), left.Handle) != nil {
		time.Sleep(time.Second)
	}
}

// stop asks the guest to stop and powers it off when the time is over.
func (ms *machines) stop(e core.StopMachine) {
	m := ms.get(e.VM)
	if m == nil {
		return
	}
	go func() {
		if err := hypervisor.NoteEnding(ms.agent.cfg.RunDirectory, m.vm, m.generation); err != nil {
			ms.agent.log.Warn("if this agent ends before the machine, the next one may take its end for a user's will", "error", err)
		}
		if e.Graceful > 0 {
			ctx, cancel := context.WithTimeout(context.Background(), e.Graceful)
			defer cancel()
			if err := m.Shutdown(ctx); err != nil {
				ms.agent.log.Warn("can't ask the guest to stop", "vm", m.vm, "error", err)
			}
			select {
			case <-m.Done():
				return
			case <-ctx.Done():
			}
		}
		ms.kill(m)
	}()
}

// putDown ends a machine that another host owns.
func (ms *machines) putDown(e core.PutDown) {
	if m := ms.get(e.VM); m != nil {
		go ms.kill(m)
		return
	}
	go ms.agent.observe(core.MachineGone{VM: e.VM, Ending: core.EndedByUs, Detail: "it was gone already"})
}

// freeze freezes the machines of a datastore without the guard, and reports
// when all of them are seen frozen.
func (ms *machines) freeze(e core.FreezeMachines) {
	ctx, ended := ms.freezes.begin(e.Datastore, 10*time.Second)
	var handles []freeze.Handle
	var vms []uuid.UUID
	for _, m := range ms.all() {
		if m.home == e.Datastore {
			handles, vms = append(handles, m.Handle()), append(vms, m.vm)
		}
	}
	ms.agent.guard.hold(vms)
	go func() {
		defer ended()
		begun := clock.Now()
		err := guard.FreezeAll(ctx, handles)
		if errors.Is(ctx.Err(), context.Canceled) {
			return // The core has decided to let them go since.
		}
		if err != nil {
			ms.agent.log.Error("can't freeze every machine", "datastore", e.Datastore, "error", err)
			return
		}
		ms.agent.observe(core.GuardFrozen{Datastore: e.Datastore, Took: clock.Now().Sub(begun)})
	}()
}

// account finds every machine process that is there already, adopts it, and has
// the guard hold it. A machine that the guard holds and nobody finds would run on
// while its generation is given away: the agent does not start then.
func (ms *machines) account(ctx context.Context, client *guard.Client) ([]core.FoundMachine, error) {
	var accounted []core.FoundMachine
	for _, driver := range ms.known {
		found, err := driver.Find(ctx, ms.agent.cfg.Cluster.UUID, ms.agent.self.Host, ms.agent.cfg.RunDirectory)
		if err != nil {
			return nil, fmt.Errorf("look for machines of driver %s: %w", driver.Name(), err)
		}
		for _, f := range found {
			a, err := ms.adopt(ctx, client, driver, f)
			if err != nil {
				return nil, fmt.Errorf("adopt machine %s: %w", f.VM, err)
			}
			accounted = append(accounted, a)
		}
	}
	inventory, err := client.Inventory(ctx)
	if err != nil {
		return nil, err
	}
	return accounted, unaccounted(inventory.Machines, accounted)
}

// abandoned lists the machines that the guard ended while no agent was there, and has
// it forget them. One whose process hangs in the kernel is found by its driver.
func abandoned(ctx context.Context, client *guard.Client, inventory guard.Inventory) (ended []core.FoundMachine, err error) {
	for _, m := range inventory.Machines {
		if m.Abandoned && goneWithin(ctx, m.Handle, 2*time.Second) {
			ended = append(ended, core.FoundMachine{VM: m.VM, Generation: m.Generation, Datastore: m.Datastore})
			err = errors.Join(err, client.Forget(ctx, m.VM))
		}
	}
	return ended, err
}

// pastTime is how long hypervisors may take to say how machines ended. The leases of the
// others run on meanwhile.
const pastTime = 500 * time.Millisecond

// past is how machines ended here while no agent was there to see it, as far as their
// hypervisors know: by a user's will, say, or because the guest switched itself off. What
// the guard had to end is no past of theirs.
func (ms *machines) past(ctx context.Context, ended []core.FoundMachine) (known []core.MachineGone) {
	ctx, cancel := context.WithTimeout(ctx, pastTime)
	defer cancel()
	past, err := hypervisor.Past(ms.agent.cfg.Cluster.UUID, ms.agent.self.Host, ms.agent.cfg.RunDirectory)
	if err != nil {
		ms.agent.log.Warn("can't tell of every machine how it ended", "error", err)
	}
	for _, f := range past {
		historian, ok := ms.drivers[f.Driver].(hypervisor.Historian)
		if !ok || slices.ContainsFunc(ended, func(e core.FoundMachine) bool { return e.VM == f.VM && e.Generation == f.Generation }) {
			continue
		}
		if exit, ok := historian.Ended(ctx, f.VM); ok {
			known = append(known, core.MachineGone{VM: f.VM, Generation: f.Generation, Ending: endings[exit.Kind], Detail: exit.Detail + ", while no agent was there"})
		}
	}
	return known
}

// goneWithin waits for the end of a machine that has been killed.
func goneWithin(ctx context.Context, h freeze.Handle, patience time.Duration) bool {
	for deadline := clock.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if state, err := h.State(); err == nil && state == freeze.Gone {
			return true
		}
		if ctx.Err() != nil || clock.Now() >= deadline {
			return false
		}
	}
}

// unaccounted names the first machine that the guard holds, that lives, and that
// was not found.
func unaccounted(held []guard.Machine, found []core.FoundMachine) error {
	for _, m := range held {
		if slices.ContainsFunc(found, func(f core.FoundMachine) bool { return f.VM == m.VM }) {
			continue
		}
		if state, err := m.Handle.State(); err != nil || state != freeze.Gone {
			return fmt.Errorf("the guard holds machine %s, %v, and no hypervisor driver finds it: end it, or give the agent back the host id, cluster and run directory with which it was started", m.VM, m.Handle)
		}
	}
	return nil
}

// adopt takes over one process. Registering freezes it, unless the guard has
// been holding it and knows under which term it runs.
func (ms *machines) adopt(ctx context.Context, client *guard.Client, driver hypervisor.Driver, f hypervisor.Found) (core.FoundMachine, error) {
	p, err := driver.Adopt(ctx, f)
	if err != nil {
		return core.FoundMachine{}, err
	}
	m := &machine{Machine: p, vm: f.VM, generation: f.Generation, home: f.Datastore}
	ms.remember(m)
	if err := client.Register(ctx, m.registration()); err != nil {
		return core.FoundMachine{}, err
	}
	ms.watch(m)
	inventory, err := client.Inventory(ctx)
	if err != nil {
		return core.FoundMachine{}, err
	}
	out := core.FoundMachine{VM: m.vm, Generation: m.generation, Datastore: m.home, Frozen: true, Receiving: f.Receiving, Halted: ms.wasHalted(m.vm, m.generation)}
	for _, held := range inventory.Machines {
		if held.VM == m.vm {
			out.Frozen = held.State != freeze.Running
		}
	}
	// The guard does not know of it when the agent before was about to end the machine,
	// and had frozen it for that, or had begun to.
	if state, err := m.Handle().State(); err != nil {
		return core.FoundMachine{}, fmt.Errorf("look whether machine %s is frozen: %w", m.vm, err)
	} else if state == freeze.Frozen || state == freeze.Freezing {
		out.Frozen = true
	}
	return out, nil
}
