package sim

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/core"
	"storebeat/datastorehb"
	"storebeat/poweron"
	"storebeat/test/sim/scenario"
)

// store is a datastore: what would be bytes on a disk.
type store struct {
	w        *World
	spec     scenario.DatastoreSpec
	index    int
	id       uuid.UUID
	identity uuid.UUID // what is written on it: another one once it was replaced
	hung     bool      // nothing takes effect until it heals
	full     bool      // nothing new can be made
	tampered bool      // it is not what it was (R14)
	levels   map[written]uint16
	trouble  trouble // of the past
	disks    map[uuid.UUID]*disk
	contents
}

// contents is what a snapshot holds.
type contents struct {
	slots    []datastorehb.SlotReading // by host, as they read
	halves   []twoHalves               // and as they lie on the disk
	terms    [][]termRecord            // by host and number, the first is 1
	gens     map[uuid.UUID][]genRecord
	entries  map[uuid.UUID][]entryRecord
	lists    []poweron.List // by host
	listed   []bool
	listedAt []time.Duration // when a list was first written
	removed  removed

	revisions []revision // of the cluster record
}

type termRecord struct {
	term datastorehb.Term
	by   datastorehb.Writer
	at   time.Duration
}

type genRecord struct {
	gen poweron.Generation
	by  datastorehb.Writer
	at  time.Duration
}

type entryRecord struct {
	entry poweron.Entry
	at    time.Duration
}

func newStore(w *World, index int) *store {
	s := &store{w: w, index: index, spec: w.setup.DatastoreSpecs[index], id: uuid.UUID{0: 0xd5, 15: byte(index + 1)}}
	s.identity, s.disks = s.id, map[uuid.UUID]*disk{}
	s.contents = w.emptyContents()
	return s
}

// capacity is how many slots a datastore has.
func (w *World) capacity() int { return max(8, len(w.setup.HostSpecs)) }

func (w *World) emptyContents() (c contents) {
	n := w.capacity() + 1
	c.halves, c.listedAt = make([]twoHalves, n), make([]time.Duration, n)
	c.removed = removed{make([]uint64, n), map[uuid.UUID]uint64{}, map[voidName]genRecord{}}
	c.slots, c.terms, c.lists, c.listed = make([]datastorehb.SlotReading, n), make([][]termRecord, n), make([]poweron.List, n), make([]bool, n)
	for i := range c.slots {
		c.slots[i] = datastorehb.SlotReading{Host: datastorehb.HostID(i), State: datastorehb.Absent}
	}
	c.gens, c.entries = map[uuid.UUID][]genRecord{}, map[uuid.UUID][]entryRecord{}
	return c
}

// snapshot returns a copy of everything on the datastore.
func (s *store) snapshot() contents {
	c := s.contents
	c.gens, c.entries = map[uuid.UUID][]genRecord{}, map[uuid.UUID][]entryRecord{}
	c.halves, c.listedAt = slices.Clone(s.halves), slices.Clone(s.listedAt)
	c.removed = removed{slices.Clone(s.removed.terms), maps.Clone(s.removed.gens), maps.Clone(s.removed.void)}
	c.slots, c.terms, c.lists, c.listed = slices.Clone(c.slots), slices.Clone(c.terms), slices.Clone(c.lists), slices.Clone(c.listed)
	c.revisions = slices.Clone(s.revisions)
	for i := range c.terms {
		c.terms[i] = slices.Clone(c.terms[i])
	}
	for vm, g := range s.gens {
		c.gens[vm] = slices.Clone(g)
	}
	for vm, e := range s.entries {
		c.entries[vm] = slices.Clone(e)
	}
	return c
}

func (s *store) name() string { return s.spec.Name }

// device says what lies under the datastore: a server of its own unless it is declared otherwise.
func (s *store) device() core.Device {
	return core.Device{FSType: cmp.Or(s.spec.Type, "nfs4"), Identity: datastorehb.NewDeviceIdentity("server-" + cmp.Or(s.spec.Device, s.name()))}
}

// machineState returns what the agent's client sees of a machine.
func (a *agent) machineState(s *store, vm uuid.UUID, generation bool) (m core.MachineState) {
	p, now := a.h.paths[s.index], a.h.w.now
	m.EntryState = datastorehb.Absent
	if es := s.entries[vm][:p.lists(register{kind: "entry", vm: vm}, len(s.entries[vm]), now)]; len(es) > 0 {
		m.EntryState, m.Entry, m.Revision, m.Needs = datastorehb.Valid, es[len(es)-1].entry, uint64(len(es)), a.h.w.needsOf(vm)
	}
	if !generation {
		return m
	}
	m.GenerationState = datastorehb.Absent
	if gs := s.gens[vm][:p.lists(register{kind: "generation", vm: vm}, len(s.gens[vm]), now)]; len(gs) > 0 {
		g := gs[len(gs)-1]
		m.GenerationState, m.Generation, m.GenerationBy = datastorehb.Valid, g.gen, g.by
	}
	return m
}

// machinesOn returns every machine with a register here, sorted.
func (s *store) machinesOn() (vms []uuid.UUID) {
	for vm := range s.entries {
		vms = append(vms, vm)
	}
	for vm := range s.gens {
		if _, ok := s.entries[vm]; !ok {
			vms = append(vms, vm)
		}
	}
	slices.SortFunc(vms, compareUUID)
	return vms
}

func compareUUID(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) }

func (s *store) claimTerm(t datastorehb.Term, by datastorehb.Writer) datastorehb.Outcome {
	newest := uint64(len(s.terms[t.Host]))
	if s.create(newest, s.removed.terms[t.Host], t.Number) == datastorehb.ClaimLost {
		s.w.meetLostTerm(s, t, by.Host)
		return datastorehb.ClaimLost
	}
	s.w.seeTerm(s, t, by, newest)
	s.terms[t.Host] = append(s.terms[t.Host], termRecord{t, by, s.w.now})
	return datastorehb.ClaimWon
}

func (s *store) claimGeneration(g poweron.Generation, by datastorehb.Writer) datastorehb.Outcome {
	newest := uint64(len(s.gens[g.VM]))
	if first := s.removed.gens[g.VM]; s.create(newest, first, g.Number) == datastorehb.ClaimLost {
		if g.Number < first {
			s.removed.void[voidName{g.VM, g.Number}] = genRecord{g, by, s.w.now}
		}
		if g.Number > 0 && s.gens[g.VM][g.Number-1].by.Host != by.Host {
			s.w.met(twoTakers)
		}
		return datastorehb.ClaimLost
	}
	s.w.seeGeneration(s, g, by, newest)
	s.gens[g.VM] = append(s.gens[g.VM], genRecord{g, by, s.w.now})
	return datastorehb.ClaimWon
}

func (s *store) claimEntry(e poweron.Entry, revision uint64) datastorehb.Outcome {
	newest := uint64(len(s.entries[e.VM]))
	if s.create(newest, 0, revision) == datastorehb.ClaimLost {
		s.w.met(twoUsers)
		return datastorehb.ClaimLost
	}
	if revision != newest+1 {
		s.w.fail("I8", "entry of %s jumps from revision %d to %d", s.w.nameOf(e.VM), newest, revision)
		return datastorehb.ClaimLost
	}
	s.entries[e.VM] = append(s.entries[e.VM], entryRecord{e, s.w.now})
	s.w.meetStart(e.VM)
	s.w.note(s.name(), "entry %s revision %d: protected %t, %s", s.w.nameOf(e.VM), revision, e.Protected, e.Desired)
	return datastorehb.ClaimWon
}

// newestTerm returns the newest term of a host.
func (s *store) newestTerm(h datastorehb.HostID) (termRecord, bool) {
	if n := len(s.terms[h]); n > 0 {
		return s.terms[h][n-1], true
	}
	return termRecord{}, false
}
