package sim

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/core"
	"storebeat/agent/guard"
	"storebeat/datastorehb"
	"storebeat/partition"
	"storebeat/poweron"
	"storebeat/test/sim/scenario"
)

// Setup is the cluster to be simulated.
type Setup struct {
	Seed        uint64
	Hosts       int
	Datastores  int
	Machines    int
	Timing      datastorehb.Timing
	Policy      poweron.Policy
	Rules       map[string]poweron.Rules // by the machine's name
	Isolation   []string                 // isolation addresses
	Latency     time.Duration
	FreezeLeast time.Duration            // the shortest that a freeze takes
	FreezeTime  time.Duration            // the longest
	Abandon     time.Duration            // after which guards end what no agent is there for
	StartTime   time.Duration            // how long a machine takes to be there, frozen
	MailTime    time.Duration            // how long a message from agent to guard takes
	Barrier     datastorehb.WriteBarrier // of every datastore
	Watchdog    time.Duration            // after which the emulated watchdog of every guest resets it, 0 for none
	LockLease   time.Duration            // how long a server keeps the image locks of a host that it does not hear
	Quiet       bool                     // keep no trace

	// What a scenario declares, in place of the numbers above.
	HostSpecs      []scenario.HostSpec
	DatastoreSpecs []scenario.DatastoreSpec
	MachineSpecs   []scenario.MachineSpec
}

// describe fills in what stands for hosts, datastores and machines that are only counted.
func (s *Setup) describe() {
	var homes []string
	for i := range s.Datastores {
		homes = append(homes, fmt.Sprintf("ds%d", i+1))
	}
	if s.DatastoreSpecs == nil {
		for _, name := range homes {
			s.DatastoreSpecs = append(s.DatastoreSpecs, scenario.DatastoreSpec{Name: name, Barrier: s.Barrier})
		}
	}
	if s.HostSpecs == nil {
		for i := range s.Hosts {
			s.HostSpecs = append(s.HostSpecs, scenario.HostSpec{Name: fmt.Sprintf("h%d", i+1), Memory: 64 << 30, Datastores: homes})
		}
	}
	if s.MachineSpecs == nil {
		for i := range s.Machines {
			s.MachineSpecs = append(s.MachineSpecs, scenario.MachineSpec{Name: fmt.Sprintf("vm%d", i+1), Memory: 1 << 30, Policy: s.Policy, Rules: s.Rules[fmt.Sprintf("vm%d", i+1)]})
		}
	}
	s.Hosts, s.Datastores, s.Machines = len(s.HostSpecs), len(s.DatastoreSpecs), len(s.MachineSpecs)
}

// Default returns the profile "default" with three hosts, two datastores and six machines.
func Default() Setup {
	return Setup{Seed: 1, Hosts: 3, Datastores: 2, Machines: 6, Policy: poweron.DefaultPolicy(), Latency: time.Millisecond, FreezeTime: 20 * time.Millisecond, Abandon: guard.DefaultAbandon, StartTime: 100 * time.Millisecond, MailTime: 100 * time.Microsecond,
		Timing: datastorehb.Timing{Interval: time.Second, Lease: 4 * time.Second, Freeze: 500 * time.Millisecond, Takeover: 5 * time.Second}}
}

// Fast returns Default with the profile "fast".
func Fast() Setup {
	s := Default()
	s.Timing = datastorehb.Timing{Interval: 250 * time.Millisecond, Lease: 1500 * time.Millisecond, Freeze: 500 * time.Millisecond, Takeover: 2200 * time.Millisecond}
	return s
}

// World is a cluster in virtual time.
type World struct {
	setup     Setup
	now       time.Duration
	schedule  schedule
	rng       *rand.Rand
	trace     Trace
	cluster   uuid.UUID
	hosts     []*host
	stores    []*store
	vms       []uuid.UUID
	network   network
	pids      int
	asks      uint64 // of hypervisors, that wait for an answer
	transfers []*transfer
	commands  uint64
	replies   map[uint64]string
	buffer    [datastorehb.SlotSize]byte // what is encoded only to see that it can be
	twins     twins
	lateUntil time.Duration // when the last operation lands that was reported as failed
	landed    time.Duration // when one of them landed
	heals     int           // how often everything has healed
	halted    bool          // somebody makes no headway: nothing happens any more
	zero      time.Duration // which instant traces call 0
	changes   int           // counts what somebody who watches would want to look at
	watch     watcher       // nil when nobody does
	observer
}

// New returns a cluster whose hosts are all without power.
func New(s Setup) *World {
	s.describe()
	w := &World{setup: s, rng: rand.New(rand.NewPCG(s.Seed, 0x5107)), cluster: uuid.UUID{0: 0xc1, 15: 1}, replies: map[uint64]string{}, twins: twins{}}
	w.trace.off = s.Quiet
	w.observer.init()
	for i := range s.Datastores {
		w.stores = append(w.stores, newStore(w, i))
	}
	for i := range s.Hosts {
		w.addHost(datastorehb.HostID(i + 1))
	}
	for i := range s.Machines {
		w.vms = append(w.vms, uuid.UUID{0: 0xaa, 14: byte((i + 1) >> 8), 15: byte(i + 1)})
	}
	return w
}

// addHost adds a computer with the id of a declared host. From the second on, it is
// another one than that host.
func (w *World) addHost(id datastorehb.HostID) *host {
	spec := &w.setup.HostSpecs[id-1]
	h := &host{w: w, index: len(w.hosts), id: id, name: spec.Name, machine: w.uuid(), reachable: true, memory: spec.Memory, levels: datastorehb.KnownLevels(), timing: w.setup.Timing}
	if spec.Watchdog {
		h.watchdog = &watchdog{}
	}
	if h.index != int(id)-1 {
		h.name += "-twin"
	}
	if spec.Has != nil {
		h.things = things{declared: true, silent: spec.Silent}
		h.give(spec.Has)
	}
	for _, s := range w.stores {
		h.paths = append(h.paths, &path{absent: !slices.Contains(spec.Datastores, s.name())})
	}
	w.hosts = append(w.hosts, h)
	w.network.grow(len(w.hosts))
	return h
}

// watcher is told of what happens in a world as it happens.
type watcher interface {
	changed()                         // after an event at which something changed
	journaled(h *host, e *core.Event) // an agent has recorded an event
}

// Now returns the present instant of virtual time.
func (w *World) Now() time.Duration { return w.now }

// Trace returns what happened so far.
func (w *World) Trace() *Trace { return &w.trace }

// Run lets time pass.
func (w *World) Run(d time.Duration) {
	until := w.now + d
	for !w.halted {
		e, ok := w.schedule.next(until)
		if !ok {
			break
		}
		w.now = e.at
		seen := w.changes
		if e.do(); w.watch != nil && w.changes != seen {
			w.watch.changed()
		}
	}
	w.now = until
}

// RunUntil lets time pass until a condition holds, looking every millisecond or so, for at most limit.
// It returns how long that took.
func (w *World) RunUntil(limit time.Duration, holds func() bool) (took time.Duration, ok bool) {
	begin := w.now
	for !holds() {
		if w.now-begin >= limit {
			return w.now - begin, false
		}
		w.Run(5 * time.Millisecond)
	}
	return w.now - begin, true
}

// after plans something.
func (w *World) after(d time.Duration, do func()) { w.schedule.add(w.now+d, do) }

// latency is the time that one short way takes.
func (w *World) latency() time.Duration {
	return w.setup.Latency/2 + time.Duration(w.rng.Int64N(int64(w.setup.Latency)))
}

func (w *World) between(least, most time.Duration) time.Duration {
	if most <= least {
		return least
	}
	return least + time.Duration(w.rng.Int64N(int64(most-least)))
}

func (w *World) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

// uuid returns a new UUID.
func (w *World) uuid() (u uuid.UUID) {
	binary.LittleEndian.PutUint64(u[:], w.rng.Uint64())
	binary.LittleEndian.PutUint64(u[8:], w.rng.Uint64()|1)
	return u
}

// specOf returns what is declared of a machine.
func (w *World) specOf(vm uuid.UUID) *scenario.MachineSpec {
	return &w.setup.MachineSpecs[int(vm[14])<<8+int(vm[15])-1]
}

func (w *World) nameOf(vm uuid.UUID) string { return w.specOf(vm).Name }

func (w *World) isolation() partition.IsolationOptions {
	return partition.IsolationOptions{Addresses: w.setup.Isolation}
}
