package guard

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/freeze"
	"storebeat/datastorehb"
)

// confirmPeriod is how often a machine that is being frozen is looked at. It is
// short against F, and a look costs well under a millisecond.
const confirmPeriod = 5 * time.Millisecond

// Keeper decides what is frozen and what may run. It is pure: it reads no clock,
// touches no process, and tells its caller what to do as Orders. The same Keeper
// runs in the guard and in the simulator.
//
//	Register ─▶ Freezing ──Confirm frozen──▶ Frozen
//	               ▲  │                        │
//	               │  └────────LetGo───────────┤
//	  lease runs out, Freeze                   ▼
//	               └───────────────────────  Running
//	any ──Confirm gone──▶ Gone ──Forget──▶ (unknown)
//
// A frozen machine is ended (Order.End) only when no agent is there that could do
// anything about it: see NewKeeper.
//
// Duty of the caller: what it confirms it has seen after the last call of LetGo
// for that machine, and it calls Tick after every other method.
type Keeper struct {
	freeze   time.Duration // F
	patience time.Duration // with an agent that stays away
	leases   map[uuid.UUID]*held
	machines map[uuid.UUID]*kept
	alone    bool // no agent is connected any more
	left     datastorehb.Instant
	events   []Event
}

// held is the lease of one datastore.
type held struct {
	lease    datastorehb.Lease
	expired  bool // Expired has been reported
	awaiting bool // Frozen has not been reported yet
}

// kept is one machine.
type kept struct {
	Machine
	ordered  datastorehb.Instant // since when it must be frozen
	nextLook datastorehb.Instant // when to look at it, while it must be frozen
}

// Order is something to do about one machine.
type Order struct {
	VM     uuid.UUID
	Handle freeze.Handle
	Freeze bool // issue a freeze, then look; false: only look whether it is frozen still
	End    bool // end it if it is seen frozen and no I/O of it is under way (R12)
}

// NewKeeper returns a Keeper that knows nothing. within is F, the time within
// which everything is to be frozen; it sets how often frozen machines are looked at.
// abandon is how long no agent may be there until what is frozen is ended.
func NewKeeper(within, abandon time.Duration) *Keeper {
	return &Keeper{freeze: within, patience: abandon, leases: map[uuid.UUID]*held{}, machines: map[uuid.UUID]*kept{}}
}

// SetLease tells of a datastore's lease. For the term that is held already it is
// a renewal, judged by the old deadline at now. The lease of a newer term is
// taken only while every machine of the datastore is seen frozen or gone, and
// puts an end to the old one. A deadline further off than a lease's length can't
// come from a proof of life that has been issued, and is refused.
func (k *Keeper) SetLease(now datastorehb.Instant, datastore uuid.UUID, term uint64, length time.Duration, deadline datastorehb.Instant) error {
	if err := plausible(now, datastore, term, length, deadline); err != nil {
		return err
	}
	h := k.leases[datastore]
	switch {
	case h == nil || term > h.lease.Term():
		return k.replaceLease(now, datastore, datastorehb.InheritedLease(term, deadline, length))
	case term < h.lease.Term():
		return fmt.Errorf("term %d of datastore %v is over: its lease is of term %d", term, datastore, h.lease.Term())
	case length != h.lease.Length():
		return fmt.Errorf("lease of term %d of datastore %v has length %v for good, not %v; claim the next term to change it", term, datastore, h.lease.Length(), length)
	case !h.lease.Extend(now, deadline):
		return lapsed(datastore, &h.lease)
	}
	return nil
}

// BeginCustody makes the running lease of a term last until EndCustody (R11):
// the agent stops in good order, and the datastore says so already.
func (k *Keeper) BeginCustody(now datastorehb.Instant, datastore uuid.UUID, term uint64) error {
	h, err := k.ofTerm(datastore, term)
	if err != nil {
		return err
	}
	if !h.lease.BeginCustody(now) {
		return lapsed(datastore, &h.lease)
	}
	return nil
}

// EndCustody limits the lease of a term again, to its length from now, and
// returns the deadline. Of a lease that is not in custody it returns the deadline
// that there is.
func (k *Keeper) EndCustody(now datastorehb.Instant, datastore uuid.UUID, term uint64) (datastorehb.Instant, error) {
	h, err := k.ofTerm(datastore, term)
	if err != nil {
		return 0, err
	}
	h.lease.EndCustody(now)
	if !h.lease.Valid(now) {
		return 0, lapsed(datastore, &h.lease)
	}
	return h.lease.Deadline(), nil
}

// ofTerm returns the lease of a datastore, which must be of that term.
func (k *Keeper) ofTerm(datastore uuid.UUID, term uint64) (*held, error) {
	h := k.leases[datastore]
	switch {
	case h == nil:
		return nil, fmt.Errorf("no lease is held for datastore %v", datastore)
	case h.lease.Term() != term:
		return nil, fmt.Errorf("the lease held for datastore %v is of term %d, not %d", datastore, h.lease.Term(), term)
	}
	return h, nil
}

func plausible(now datastorehb.Instant, datastore uuid.UUID, term uint64, length time.Duration, deadline datastorehb.Instant) error {
	if datastore == uuid.Nil || term == 0 {
		return fmt.Errorf("lease of term %d of datastore %v: both must be set", term, datastore)
	}
	if length <= 0 {
		return fmt.Errorf("lease of term %d of datastore %v: length %v is not positive", term, datastore, length)
	}
	// Written as a difference, because deadlines near the ends of the number
	// range must not wrap around.
	if deadline > now && deadline.Sub(now) > length {
		return fmt.Errorf("lease of term %d of datastore %v: deadline %v is more than its length %v after now, %v", term, datastore, deadline, length, now)
	}
	return nil
}

func lapsed(datastore uuid.UUID, lease *datastorehb.Lease) error {
	return fmt.Errorf("lease of term %d of datastore %v ran out at %v; claim the next term", lease.Term(), datastore, lease.Deadline())
}

// replaceLease takes the lease of a newer term, even one that has run out: it
// must not come to life later.
func (k *Keeper) replaceLease(now datastorehb.Instant, datastore uuid.UUID, lease datastorehb.Lease) error {
	if m := k.unfrozen(datastore); m != nil {
		return fmt.Errorf("term %d of datastore %v comes too early: machine %v is %v still", lease.Term(), datastore, m.VM, m.State)
	}
	h := &held{lease: lease}
	k.leases[datastore] = h
	if !h.lease.Valid(now) {
		return lapsed(datastore, &h.lease)
	}
	return nil
}

// unfrozen returns a machine of the datastore that may execute, the first by
// its UUID, or nil.
func (k *Keeper) unfrozen(datastore uuid.UUID) *kept {
	for _, m := range k.sorted() {
		if m.Datastore == datastore && (m.State == freeze.Running || m.State == freeze.Freezing) {
			return m
		}
	}
	return nil
}

// Register tells of a machine. It must not run, and is frozen by the next Tick.
// A machine that is known already by the same handle stays as it is, so an agent
// that has been restarted disturbs nothing; only the generation of a machine
// that does not run may change.
func (k *Keeper) Register(now datastorehb.Instant, machine Machine) error {
	if machine.VM == uuid.Nil || machine.Datastore == uuid.Nil || machine.Handle.PID <= 0 {
		return fmt.Errorf("machine %v, datastore %v and process %d must all be set", machine.VM, machine.Datastore, machine.Handle.PID)
	}
	old := k.machines[machine.VM]
	if old != nil && old.State != freeze.Gone {
		return old.renew(machine)
	}
	machine.Term, machine.State = 0, freeze.Freezing
	k.machines[machine.VM] = &kept{Machine: machine, ordered: now, nextLook: now}
	return nil
}

func (m *kept) renew(machine Machine) error {
	switch {
	case machine.Handle != m.Handle:
		return fmt.Errorf("machine %v is %v already; end it before another one is registered as %v", m.VM, m.Handle, machine.Handle)
	case machine.Datastore != m.Datastore:
		return fmt.Errorf("machine %v is homed on datastore %v, not on %v", m.VM, m.Datastore, machine.Datastore)
	case machine.Generation < m.Generation || machine.Generation != m.Generation && m.State == freeze.Running:
		return fmt.Errorf("machine %v is %v with generation %d, which can't become %d", m.VM, m.State, m.Generation, machine.Generation)
	}
	m.Generation = machine.Generation
	return nil
}

// LetGo decides which machines may run under a term. Those in Running are let
// go from now on, and the caller thaws them at once. Without a valid lease of
// exactly that term there are none.
func (k *Keeper) LetGo(now datastorehb.Instant, datastore uuid.UUID, term uint64, vms []uuid.UUID) LetGoResult {
	var result LetGoResult
	leaseErr := k.leaseOf(now, datastore, term)
	for _, vm := range vms {
		err := leaseErr
		if err == nil {
			err = k.letGo(now, datastore, term, vm)
		}
		if err != nil {
			result.Refused = append(result.Refused, Refusal{VM: vm, Why: err.Error()})
			continue
		}
		result.Running = append(result.Running, vm)
	}
	return result
}

func (k *Keeper) leaseOf(now datastorehb.Instant, datastore uuid.UUID, term uint64) error {
	h, err := k.ofTerm(datastore, term)
	if err != nil {
		return err
	}
	if !h.lease.Valid(now) {
		return lapsed(datastore, &h.lease)
	}
	return nil
}

func (k *Keeper) letGo(now datastorehb.Instant, datastore uuid.UUID, term uint64, vm uuid.UUID) error {
	m := k.machines[vm]
	switch {
	case m == nil:
		return fmt.Errorf("machine %v is unknown; register it first", vm)
	case m.Datastore != datastore:
		return fmt.Errorf("machine %v is homed on datastore %v, not on %v", vm, m.Datastore, datastore)
	case m.State == freeze.Gone:
		return fmt.Errorf("machine %v is gone", vm)
	case m.State == freeze.Running && m.Term != term:
		// Can't be: a newer term's lease is taken only when nothing runs.
		return fmt.Errorf("machine %v runs under term %d", vm, m.Term)
	}
	m.State, m.Term = freeze.Running, term
	return nil
}

// Freeze makes a machine stop, whatever its lease says. Event MachineFrozen
// follows once it is seen frozen.
func (k *Keeper) Freeze(now datastorehb.Instant, vm uuid.UUID) error {
	m := k.machines[vm]
	if m == nil {
		return fmt.Errorf("machine %v is unknown; register it first", vm)
	}
	m.hold(now)
	return nil
}

// FreezeAll makes every machine stop: the guard is about to end.
func (k *Keeper) FreezeAll(now datastorehb.Instant) {
	for _, m := range k.machines {
		m.hold(now)
	}
}

func (m *kept) hold(now datastorehb.Instant) {
	if m.State == freeze.Running {
		m.State, m.ordered, m.nextLook = freeze.Freezing, now, now
	}
}

// Forget drops a machine that is gone. Any other one would be left unguarded.
func (k *Keeper) Forget(vm uuid.UUID) error {
	m := k.machines[vm]
	if m != nil && m.State != freeze.Gone {
		return fmt.Errorf("machine %v is %v; end it before it is forgotten", vm, m.State)
	}
	delete(k.machines, vm)
	return nil
}

// Tick lets leases run out and returns what to do now, freezes first.
func (k *Keeper) Tick(now datastorehb.Instant) []Order {
	for _, datastore := range k.datastores() {
		k.expire(now, datastore, k.leases[datastore])
	}
	var freezes, looks []Order
	for _, m := range k.sorted() {
		if !m.watched() || now < m.nextLook {
			continue
		}
		order := Order{VM: m.VM, Handle: m.Handle, Freeze: m.State == freeze.Freezing, End: k.abandon(now, m)}
		m.nextLook = now.Add(k.pause(now, m))
		if order.Freeze {
			freezes = append(freezes, order)
		} else {
			looks = append(looks, order)
		}
	}
	return append(freezes, looks...)
}

// expire reports once that a lease has run out and holds the machines that run
// under it. The machines of a datastore without a lease don't run.
func (k *Keeper) expire(now datastorehb.Instant, datastore uuid.UUID, h *held) {
	if h.expired || h.lease.Valid(now) {
		return
	}
	h.expired, h.awaiting = true, true
	count := 0
	for _, m := range k.machines {
		if m.Datastore == datastore && m.State == freeze.Running {
			m.hold(now)
			count++
		}
	}
	k.events = append(k.events, Event{Kind: Expired, At: now, Datastore: datastore, Term: h.lease.Term(), Machines: count})
	k.settle(now, datastore)
}

// watched tells whether the machine must be frozen.
func (m *kept) watched() bool { return m.State == freeze.Freezing || m.State == freeze.Frozen }

// pause is the time until the next look at a machine that must be frozen. One
// that can't be frozen within F is tried less often, so that the others are not
// held up by it.
func (k *Keeper) pause(now datastorehb.Instant, m *kept) time.Duration {
	if m.State == freeze.Freezing && now.Sub(m.ordered) < k.freeze {
		return confirmPeriod
	}
	return k.freeze / 2
}

// Confirm tells what a machine was seen to do after the last order about it.
func (k *Keeper) Confirm(now datastorehb.Instant, vm uuid.UUID, seen freeze.State) {
	m := k.machines[vm]
	if m == nil || m.State == freeze.Gone {
		return
	}
	switch {
	case seen == freeze.Gone:
		m.State = freeze.Gone
		k.report(MachineGone, now, m)
	case m.State == freeze.Freezing && seen == freeze.Frozen:
		m.State, m.nextLook = freeze.Frozen, now.Add(k.freeze/2)
		k.report(MachineFrozen, now, m)
	case m.State == freeze.Frozen && seen != freeze.Frozen:
		m.State, m.ordered, m.nextLook = freeze.Freezing, now, now
		k.report(MachineEscaped, now, m)
	}
	k.settle(now, m.Datastore)
}

func (k *Keeper) report(kind EventKind, now datastorehb.Instant, m *kept) {
	e := Event{Kind: kind, At: now, Datastore: m.Datastore, VM: m.VM}
	if h := k.leases[m.Datastore]; h != nil {
		e.Term = h.lease.Term()
	}
	if kind == MachineFrozen {
		e.Took = now.Sub(m.ordered)
	}
	k.events = append(k.events, e)
}

// settle reports Frozen once nothing of an expired datastore can execute.
func (k *Keeper) settle(now datastorehb.Instant, datastore uuid.UUID) {
	h := k.leases[datastore]
	if h == nil || !h.awaiting || k.unfrozen(datastore) != nil {
		return
	}
	h.awaiting = false
	k.events = append(k.events, Event{Kind: Frozen, At: now, Datastore: datastore, Term: h.lease.Term(), Took: now.Sub(h.lease.Deadline())})
}

// Next returns the instant at which Tick has something to do, and false when
// nothing is known that could need it.
func (k *Keeper) Next() (datastorehb.Instant, bool) {
	var next datastorehb.Instant
	found := false
	sooner := func(at datastorehb.Instant) {
		if !found || at < next {
			next, found = at, true
		}
	}
	for _, h := range k.leases {
		if !h.expired && !h.lease.InCustody() {
			sooner(h.lease.Deadline())
		}
	}
	for _, m := range k.machines {
		if m.watched() {
			sooner(m.nextLook)
		}
	}
	return next, found
}

// Safe tells whether at an instant, now or later, every machine is proven by what
// is known now, that is let go under a lease that is valid then, or seen frozen, or
// gone: the condition for feeding the watchdog (R11).
func (k *Keeper) Safe(at datastorehb.Instant) bool {
	for _, m := range k.machines {
		if m.State == freeze.Freezing {
			return false
		}
		if m.State == freeze.Running && k.leaseOf(at, m.Datastore, m.Term) != nil {
			return false
		}
	}
	return true
}

// AllStopped tells whether no machine can execute.
func (k *Keeper) AllStopped() bool {
	for _, m := range k.machines {
		if m.State == freeze.Running || m.State == freeze.Freezing {
			return false
		}
	}
	return true
}

// Events returns what has happened since the last call.
func (k *Keeper) Events() []Event {
	events := k.events
	k.events = nil
	return events
}

// Inventory returns all that the Keeper knows.
func (k *Keeper) Inventory(now datastorehb.Instant) Inventory {
	inventory := Inventory{Leases: []LeaseState{}, Machines: []Machine{}}
	for _, datastore := range k.datastores() {
		lease := &k.leases[datastore].lease
		valid := lease.Valid(now)
		inventory.Leases = append(inventory.Leases, LeaseState{
			Datastore: datastore, Term: lease.Term(), Length: lease.Length(), Deadline: lease.Deadline(), Valid: valid, Custody: lease.InCustody(),
		})
	}
	for _, m := range k.sorted() {
		inventory.Machines = append(inventory.Machines, m.Machine)
	}
	return inventory
}

func (k *Keeper) datastores() []uuid.UUID {
	ids := make([]uuid.UUID, 0, len(k.leases))
	for id := range k.leases {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, compareUUID)
	return ids
}

// sorted returns the machines by UUID: a Keeper's answers must not depend on
// the order of a map.
func (k *Keeper) sorted() []*kept {
	machines := make([]*kept, 0, len(k.machines))
	for _, m := range k.machines {
		machines = append(machines, m)
	}
	slices.SortFunc(machines, func(a, b *kept) int { return compareUUID(a.VM, b.VM) })
	return machines
}

func compareUUID(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) }
