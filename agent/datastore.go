package agent

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/clock"
	"storebeat/agent/core"
	"storebeat/datastorehb"
	"storebeat/datastorehb/device"
	"storebeat/datastorehb/store"
	"storebeat/poweron"
)

// machineQueues is how many machines' registers are worked on at a time on one datastore.
const machineQueues = 4

// reopenEvery is how long to wait before a datastore that can't be opened is tried again.
const reopenEvery = 2 * time.Second

// datastore carries out the core's effects on one datastore. Each purpose has a
// queue of its own, so that a hung read does not hold up heartbeats or claims.
type datastore struct {
	id      uuid.UUID
	agent   *Agent
	wanted  atomic.Bool                   // it is to be used
	opened  atomic.Pointer[store.Store]   // set before the core learns that the datastore is available
	counter atomic.Pointer[store.Counter] // of store, for those who must not wait for it
	device  core.Device                   // what lies under it; used by the identity queue alone

	heartbeat, region, terms, lists, catalogue, identity queue
	machines                                             [machineQueues]queue
}

// open tries to open the datastore until it succeeds, and tells the core of
// every change of the reason why it does not.
func (d *datastore) open() {
	d.identity.add("open", func() {
		if !d.wanted.Load() {
			return
		}
		s, err := d.openStore()
		if err != nil {
			d.agent.observe(core.DatastoreState{Datastore: d.id, Why: err.Error()})
			time.AfterFunc(reopenEvery, d.open)
			return
		}
		d.opened.Store(s)
		d.counter.Store(s.Counter())
		d.agent.observe(core.DatastoreState{Datastore: d.id, Available: true, Revision: d.ownRevision(), Device: d.inspect()})
	})
}

func (d *datastore) openStore() (*store.Store, error) {
	settings, err := d.agent.settingsOf(d.id)
	if err != nil {
		return nil, err
	}
	return store.Open(settings.Path, store.Expect{Cluster: d.agent.cfg.Cluster.UUID, Datastore: d.id, Writer: d.agent.self, LockDir: d.agent.lockDir(), Level: d.agent.writeLevel})
}

// close lets go of the datastore; what is under way there comes to its end.
func (d *datastore) close() {
	d.identity.add("close", func() {
		if s := d.opened.Load(); s != nil && !d.wanted.Load() {
			s.Close()
		}
	})
}

// store is the open datastore. The core asks for nothing before there is one.
func (d *datastore) store() *store.Store { return d.opened.Load() }

// name is what people call the datastore.
func (d *datastore) name() string { return d.agent.datastoreName(d.id) }

// ownRevision returns the revision of the power-on list that a forerunner left:
// the next one must be higher.
func (d *datastore) ownRevision() uint64 {
	payload, state, err := d.store().ReadList(d.agent.self.Host)
	if err != nil || state != datastorehb.Valid {
		return 0
	}
	l, err := poweron.DecodeList(payload)
	if err != nil {
		d.agent.log.Warn("the own power-on list can't be decoded", "datastore", d.name(), "error", err)
	}
	return l.Revision
}

func (d *datastore) inspect() core.Device {
	i, err := device.Inspect(d.store().Path())
	if err != nil {
		d.agent.log.Warn("can't tell what lies under the datastore", "datastore", d.name(), "error", err)
		return core.Device{}
	}
	d.device = core.Device{FSType: i.Mount.FSType, Identity: i.Identity()}
	return d.device
}

// span runs an operation and says when it was issued and had returned.
func (d *datastore) span(do func() error) core.Span {
	s := core.Span{Datastore: d.id, Issued: clock.Now()}
	err := do()
	s.Returned = clock.Now()
	if err != nil {
		s.Err = err.Error()
	}
	return s
}

func (d *datastore) checkIdentity() {
	d.identity.add("check identity", func() {
		err := d.store().CheckIdentity()
		o := core.DatastoreState{Datastore: d.id, Available: err == nil, Device: d.device}
		if err != nil {
			o.Why = err.Error()
			o.Replaced = errors.Is(err, store.ErrReplaced) || errors.Is(err, store.ErrEmptied) || errors.Is(err, store.ErrForeign) || errors.Is(err, store.ErrMismatch)
		}
		d.agent.observe(o)
	})
}

func (d *datastore) writeSlot(e core.WriteSlot) {
	d.heartbeat.add("heartbeat", func() {
		span := d.span(func() error { return d.store().WriteSlot(e.Slot) })
		d.agent.metrics.HeartbeatWritten(span)
		d.agent.observe(core.SlotWritten{Span: span, Sequence: e.Slot.Sequence})
	})
}

func (d *datastore) readRegion(e core.ReadRegion) {
	d.region.add("read slots", func() {
		var slots []datastorehb.SlotReading
		span := d.span(func() (err error) {
			slots, err = d.readSlots(e.Hosts)
			return err
		})
		d.agent.metrics.RegionRead(span)
		d.agent.observe(core.RegionRead{Span: span, Full: e.Hosts == nil, Slots: slots})
	})
}

func (d *datastore) readSlots(hosts []datastorehb.HostID) ([]datastorehb.SlotReading, error) {
	if hosts == nil {
		return d.store().ReadRegion(nil)
	}
	var slots []datastorehb.SlotReading
	for _, h := range hosts {
		s, err := d.store().ReadSlot(h)
		if err != nil {
			return nil, fmt.Errorf("slot of host %d: %w", h, err)
		}
		slots = append(slots, s)
	}
	return slots, nil
}

func (d *datastore) readTerms(e core.ReadTerms) {
	d.terms.add("read terms", func() {
		o := core.TermsRead{Host: e.Host}
		o.Span = d.span(func() (err error) {
			var rec datastorehb.Record
			rec, o.State, err = d.store().Newest(datastorehb.TermsOf(e.Host))
			if err != nil || o.State != datastorehb.Valid {
				return err
			}
			o.Writer = rec.Writer
			o.Term, err = datastorehb.DecodeTerm(rec.Payload)
			if err == nil && (o.Term.Host != e.Host || o.Term.Number != rec.Number) {
				err = fmt.Errorf("term %d of host %d says that it is term %d of host %d", rec.Number, e.Host, o.Term.Number, o.Term.Host)
			}
			return corrupt(&o.State, err)
		})
		d.agent.observe(o)
	})
}

// corrupt marks what was read as damaged when its payload can't be decoded.
func corrupt(state *datastorehb.ReadState, err error) error {
	if err != nil {
		*state = datastorehb.Corrupt
	}
	return err
}

func (d *datastore) claimTerm(e core.ClaimTerm) {
	d.terms.add("claim term", func() {
		o := core.TermClaimed{Term: e.Term}
		o.Span, o.Outcome = d.claim(datastorehb.TermsOf(e.Term.Host), e.Term.Number, func() ([]byte, error) { return datastorehb.EncodeTerm(e.Term) })
		d.agent.observe(o)
	})
}

// claim claims one value of a register, with a nonce of this attempt's own.
func (d *datastore) claim(reg datastorehb.Register, number uint64, encode func() ([]byte, error)) (core.Span, datastorehb.Outcome) {
	outcome := datastorehb.ClaimFailed
	span := d.span(func() error {
		payload, err := encode()
		if err != nil {
			return err
		}
		r, err := d.store().Claim(datastorehb.Record{Register: reg, Number: number, Nonce: uuid.New(), Writer: d.agent.self, Payload: payload})
		outcome = r.Outcome
		return err
	})
	d.agent.metrics.Claimed(span)
	d.identity.add("refill", func() { d.store().Refill() })
	return span, outcome
}

func (d *datastore) machineQueue(vm uuid.UUID) *queue { return &d.machines[vm[15]%machineQueues] }

func (d *datastore) claimGeneration(e core.ClaimGeneration) {
	d.machineQueue(e.Generation.VM).add("claim generation", func() {
		o := core.GenerationClaimed{Generation: e.Generation}
		o.Span, o.Outcome = d.claim(datastorehb.GenerationsOf(e.Generation.VM), e.Generation.Number, func() ([]byte, error) { return poweron.EncodeGeneration(e.Generation, d.agent.writeLevel()) })
		d.agent.observe(o)
	})
}

func (d *datastore) claimEntry(e core.ClaimEntry) {
	d.machineQueue(e.Entry.VM).add("claim entry", func() {
		o := core.EntryClaimed{Revision: e.Revision, Entry: e.Entry, Needs: d.agent.machines.needsOf(&e.Entry)}
		o.Span, o.Outcome = d.claim(datastorehb.EntriesOf(e.Entry.VM), e.Revision, func() ([]byte, error) { return poweron.EncodeEntry(e.Entry, d.agent.writeLevel()) })
		d.agent.observe(o)
	})
}

func (d *datastore) readMachine(e core.ReadMachine) {
	q := d.machineQueue(e.VM)
	if e.Purpose == core.ForCatalogue {
		q = &d.catalogue
	}
	q.add("read machine", func() {
		o := core.MachineRead{VM: e.VM, Purpose: e.Purpose}
		o.Span = d.span(func() (err error) {
			if e.Purpose == core.ForClaim {
				return d.readGeneration(e.VM, &o.Machine, func(reg datastorehb.Register) (datastorehb.Record, datastorehb.ReadState, error) {
					return d.store().Value(reg, e.Number)
				})
			}
			o.Machine, err = d.machineState(e.VM, e.Purpose != core.ForRecheck)
			return err
		})
		d.agent.observe(o)
	})
}

// machineState reads a machine's newest entry, and its newest generation if asked for.
func (d *datastore) machineState(vm uuid.UUID, generation bool) (core.MachineState, error) {
	var s core.MachineState
	if err := d.readEntry(vm, &s); err != nil || !generation {
		return s, err
	}
	err := d.readGeneration(vm, &s, d.store().Newest)
	return s, err
}

// readGeneration reads one of a machine's generations.
func (d *datastore) readGeneration(vm uuid.UUID, s *core.MachineState, read func(datastorehb.Register) (datastorehb.Record, datastorehb.ReadState, error)) error {
	rec, state, err := read(datastorehb.GenerationsOf(vm))
	s.GenerationState, s.GenerationBy = state, rec.Writer
	if err != nil || state != datastorehb.Valid {
		return err
	}
	s.Generation, err = poweron.DecodeGeneration(rec.Payload)
	if err == nil && (s.Generation.VM != vm || s.Generation.Number != rec.Number) {
		err = fmt.Errorf("generation %d of machine %s says that it is generation %d of %s", rec.Number, vm, s.Generation.Number, s.Generation.VM)
	}
	return corrupt(&s.GenerationState, err)
}

func (d *datastore) readEntry(vm uuid.UUID, s *core.MachineState) error {
	rec, state, err := d.store().Newest(datastorehb.EntriesOf(vm))
	s.EntryState, s.Revision = state, rec.Number
	if err != nil || state != datastorehb.Valid {
		return err
	}
	s.Entry, err = poweron.DecodeEntry(rec.Payload)
	if err == nil && s.Entry.VM != vm {
		err = fmt.Errorf("the entry of machine %s says that it is of %s", vm, s.Entry.VM)
	}
	if err == nil {
		s.Needs = d.agent.machines.needsOf(&s.Entry)
	}
	return corrupt(&s.EntryState, err)
}

func (d *datastore) readCatalogue() {
	d.catalogue.add("read catalogue", func() {
		o := core.CatalogueRead{Machines: map[uuid.UUID]core.MachineState{}}
		o.Span = d.span(func() error {
			vms, err := d.store().Machines()
			for _, vm := range vms {
				s, err := d.machineState(vm, true)
				if err != nil {
					d.agent.log.Warn("can't read a machine", "datastore", d.name(), "vm", vm, "error", err)
				}
				o.Machines[vm] = s
			}
			return err
		})
		d.agent.observe(o)
	})
}

func (d *datastore) readList(e core.ReadList) {
	d.lists.add("read list", func() {
		o := core.ListRead{Host: e.Host}
		o.Span = d.span(func() error {
			payload, state, err := d.store().ReadList(e.Host)
			o.State = state
			if err != nil || state != datastorehb.Valid {
				return err
			}
			o.List, err = poweron.DecodeList(payload)
			return corrupt(&o.State, err)
		})
		d.agent.observe(o)
	})
}

// publishList writes the own list. The effects that hang on the write are
// carried out only once it has completed, and after the core has seen it.
func (d *datastore) publishList(e core.PublishList) {
	d.lists.add("write list", func() {
		span := d.span(func() error {
			payload, err := poweron.EncodeList(e.List, d.agent.writeLevel())
			if err != nil {
				return err
			}
			return d.store().WriteList(payload, e.List.Revision)
		})
		d.agent.observe(core.ListWritten{Span: span, Revision: e.List.Revision})
		if span.Err == "" {
			d.agent.released(e.After)
		}
	})
}

// prune removes old values of a register.
func (d *datastore) prune(e core.Prune) {
	d.catalogue.add("remove old values", func() {
		numbers, err := d.store().Numbers(e.Register)
		if err == nil {
			old := slices.DeleteFunc(numbers, func(n uint64) bool { return n >= e.Below })
			err = d.store().Remove(e.Register, old)
		}
		if err != nil {
			d.agent.log.Warn("can't remove old values; they do no harm", "datastore", d.name(), "register", e.Register, "error", err)
		}
	})
}
