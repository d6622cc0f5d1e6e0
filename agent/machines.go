package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/clock"
	"storebeat/agent/core"
	"storebeat/agent/freeze"
	"storebeat/agent/guard"
	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/process"
	"storebeat/agent/hypervisor/qemu"
)

// startTime is how long a driver may take to bring a machine to life.
const startTime = time.Minute

// machines are the machine processes of this host.
type machines struct {
	agent   *Agent
	drivers map[string]hypervisor.Driver

	mu      sync.Mutex
	running map[uuid.UUID]*machine
}

// machine is one machine process of this host.
type machine struct {
	hypervisor.Machine
	vm         uuid.UUID
	generation uint64
	home       uuid.UUID
}

func newMachines(a *Agent) *machines {
	all := map[string]hypervisor.Driver{"process": process.New(), "qemu": qemu.New("")}
	m := &machines{agent: a, drivers: map[string]hypervisor.Driver{}, running: map[uuid.UUID]*machine{}}
	for _, name := range a.cfg.Hypervisor.Drivers {
		m.drivers[name] = all[name]
	}
	return m
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

// keep remembers a machine and reports its end.
func (ms *machines) keep(m *machine) {
	ms.mu.Lock()
	ms.running[m.vm] = m
	ms.mu.Unlock()
	go func() {
		<-m.Done()
		ms.mu.Lock()
		delete(ms.running, m.vm)
		ms.mu.Unlock()
		ms.agent.guard.forget(m.vm)
		exit := m.Exit()
		ms.agent.observe(core.MachineGone{VM: m.vm, Generation: m.generation, Ending: endings[exit.Kind], Detail: exit.Detail})
	}()
}

var endings = map[hypervisor.ExitKind]core.Ending{
	hypervisor.Crashed:       core.EndedByCrash,
	hypervisor.GuestShutDown: core.EndedByGuest,
	hypervisor.Killed:        core.EndedByUs,
}

// start creates a machine's process, born frozen, and registers it with the guard.
func (ms *machines) start(e core.StartMachine) {
	go func() {
		o := core.MachineStarted{VM: e.VM, Generation: e.Generation}
		if err := ms.startNow(e); err != nil {
			o.Err, o.Refused = err.Error(), errors.Is(err, hypervisor.ErrLocked)
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
	cfg := ms.agent.cfg
	home, _ := cfg.DatastoreByUUID(e.Datastore)
	machineProcess, err := driver.Start(ctx, hypervisor.Spec{Cluster: cfg.Cluster.UUID, Host: ms.agent.self.Host, VM: e.VM, Name: e.Entry.Name,
		Generation: e.Generation, Datastore: e.Datastore, DatastorePath: home.Path, Definition: e.Entry.Definition,
		RunDir: cfg.RunDirectory, CgroupRoot: ms.agent.cgroupRoot})
	if err != nil {
		return err
	}
	m := &machine{Machine: machineProcess, vm: e.VM, generation: e.Generation, home: e.Datastore}
	if err := ms.agent.guard.register(ctx, guard.Machine{VM: m.vm, Generation: m.generation, Datastore: m.home, Handle: m.Handle()}); err != nil {
		return errors.Join(fmt.Errorf("register the machine with the guard: %w", err), machineProcess.Kill(ctx))
	}
	ms.keep(m)
	return nil
}

// stop asks the guest to stop and powers it off when the time is over.
func (ms *machines) stop(e core.StopMachine) {
	m := ms.get(e.VM)
	if m == nil {
		return
	}
	go func() {
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

// kill ends a machine once its I/O has returned: what is in the kernel of a
// killed process could reach the disk after the next owner's writes (R12).
func (ms *machines) kill(m *machine) {
	for {
		if pending, err := m.Handle().IOPending(); err == nil && !pending || errors.Is(err, freeze.ErrGone) {
			break
		}
		select {
		case <-m.Done():
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	if err := m.Kill(ctx); err != nil {
		ms.agent.log.Error("can't end the machine; it is tried again", "vm", m.vm, "error", err)
		time.AfterFunc(time.Second, func() { ms.kill(m) })
	}
}

// freeze freezes the machines of a datastore without the guard, and reports
// when all of them are seen frozen.
func (ms *machines) freeze(e core.FreezeMachines) {
	go func() {
		begun := clock.Now()
		var handles []freeze.Handle
		for _, m := range ms.all() {
			if m.home == e.Datastore {
				handles = append(handles, m.Handle())
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := guard.FreezeAll(ctx, handles); err != nil {
			ms.agent.log.Error("can't freeze every machine", "datastore", e.Datastore, "error", err)
			return
		}
		ms.agent.observe(core.GuardFrozen{Datastore: e.Datastore, Took: clock.Now().Sub(begun)})
	}()
}

// account finds every machine process that is there already, adopts it, and has
// the guard hold it.
func (ms *machines) account(ctx context.Context) ([]core.FoundMachine, error) {
	var accounted []core.FoundMachine
	for _, driver := range ms.drivers {
		found, err := driver.Find(ctx, ms.agent.cfg.Cluster.UUID, ms.agent.self.Host, ms.agent.cfg.RunDirectory)
		if err != nil {
			return nil, fmt.Errorf("look for machines of driver %s: %w", driver.Name(), err)
		}
		for _, f := range found {
			a, err := ms.adopt(ctx, driver, f)
			if err != nil {
				return nil, fmt.Errorf("adopt machine %s: %w", f.VM, err)
			}
			accounted = append(accounted, a)
		}
	}
	return accounted, nil
}

// adopt takes over one process. Registering freezes it, unless the guard has
// been holding it and knows under which term it runs.
func (ms *machines) adopt(ctx context.Context, driver hypervisor.Driver, f hypervisor.Found) (core.FoundMachine, error) {
	p, err := driver.Adopt(ctx, f)
	if err != nil {
		return core.FoundMachine{}, err
	}
	m := &machine{Machine: p, vm: f.VM, generation: f.Generation, home: f.Datastore}
	if err := ms.agent.guard.register(ctx, guard.Machine{VM: m.vm, Generation: m.generation, Datastore: m.home, Handle: m.Handle()}); err != nil {
		return core.FoundMachine{}, err
	}
	ms.keep(m)
	inventory, err := ms.agent.guard.current().Inventory(ctx)
	if err != nil {
		return core.FoundMachine{}, err
	}
	out := core.FoundMachine{VM: m.vm, Generation: m.generation, Datastore: m.home, Frozen: true}
	for _, held := range inventory.Machines {
		if held.VM == m.vm {
			out.Frozen = held.State != freeze.Running
		}
	}
	return out, nil
}
