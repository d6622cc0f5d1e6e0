package guard

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"storebeat/agent/freeze"
	"storebeat/datastorehb"
)

// world is what a Keeper is checked against: machines that execute or not, and
// leases reckoned in the plainest way.
type world struct {
	k        *Keeper
	now      datastorehb.Instant
	executes map[uuid.UUID]bool
	gone     map[uuid.UUID]bool
	home     map[uuid.UUID]uuid.UUID
	leases   map[uuid.UUID]*plainLease
	ended    map[uuid.UUID]map[uint64]bool // terms whose lease has run out or was replaced
}

type plainLease struct {
	term     uint64
	deadline datastorehb.Instant
	custody  bool
}

func newWorld() *world {
	return &world{
		k: NewKeeper(testFreeze, DefaultAbandon), now: at(0), executes: map[uuid.UUID]bool{}, gone: map[uuid.UUID]bool{},
		home: map[uuid.UUID]uuid.UUID{}, leases: map[uuid.UUID]*plainLease{}, ended: map[uuid.UUID]map[uint64]bool{},
	}
}

func (w *world) valid(datastore uuid.UUID, term uint64) bool {
	l := w.leases[datastore]
	return l != nil && l.term == term && !w.ended[datastore][term]
}

func (w *world) end(datastore uuid.UUID, term uint64) {
	if w.ended[datastore] == nil {
		w.ended[datastore] = map[uint64]bool{}
	}
	w.ended[datastore][term] = true
}

// advance lets time pass, and leases end.
func (w *world) advance(d time.Duration) {
	w.now = w.now.Add(d)
	for datastore, l := range w.leases {
		if w.now >= l.deadline && !l.custody {
			w.end(datastore, l.term)
		}
	}
}

func (w *world) setLease(t *rapid.T, datastore uuid.UUID, term uint64, deadline datastorehb.Instant) {
	err := w.k.SetLease(w.now, datastore, term, testLease, deadline)
	old := w.leases[datastore]
	newer := old == nil || term > old.term
	switch {
	case err != nil && newer && deadline <= w.now && w.k.Inventory(w.now).AllFrozen(datastore):
		w.leases[datastore] = &plainLease{term: term, deadline: deadline}
		w.end(datastore, term)
	case err != nil:
	case newer:
		w.noneExecutes(t, datastore)
		if old != nil {
			w.end(datastore, old.term)
		}
		w.leases[datastore] = &plainLease{term: term, deadline: deadline}
	case term < old.term || w.ended[datastore][term]:
		t.Fatalf("renewal of term %d taken, which has ended", term)
	default:
		old.deadline = max(old.deadline, deadline)
	}
}

// custody begins custody of a term, or ends it.
func (w *world) custody(t *rapid.T, datastore uuid.UUID, term uint64, begin bool) {
	l := w.leases[datastore]
	may := w.valid(datastore, term)
	if begin {
		if err := w.k.BeginCustody(w.now, datastore, term); (err == nil) != may {
			t.Fatalf("custody of term %d began: %v, may: %t", term, err, may)
		}
		if may {
			l.custody = true
		}
		return
	}
	deadline, err := w.k.EndCustody(w.now, datastore, term)
	if (err == nil) != may {
		t.Fatalf("custody of term %d ended: %v, may: %t", term, err, may)
	}
	if may && l.custody {
		l.custody, l.deadline = false, w.now.Add(testLease)
	}
	if may && deadline != l.deadline {
		t.Fatalf("the deadline after custody is %v, not %v", deadline, l.deadline)
	}
}

func (w *world) noneExecutes(t *rapid.T, datastore uuid.UUID) {
	for vm, executes := range w.executes {
		if executes && w.home[vm] == datastore {
			t.Fatalf("a new term's lease was taken while %v executes", vm)
		}
	}
}

func (w *world) letGo(t *rapid.T, datastore uuid.UUID, term uint64, vms []uuid.UUID) {
	result := w.k.LetGo(w.now, datastore, term, vms)
	if len(result.Running)+len(result.Refused) != len(vms) {
		t.Fatalf("%d machines asked for, answered %+v", len(vms), result)
	}
	for _, vm := range result.Running {
		if !w.valid(datastore, term) || w.home[vm] != datastore {
			t.Fatalf("%v let go under term %d of %v without a right", vm, term, datastore)
		}
		// The Keeper need not know yet that a machine has ended.
		w.executes[vm] = !w.gone[vm]
	}
}

// obey carries out what is due. Some freezes take no effect yet. After it, what
// executes without a lease is known to the Keeper as not frozen.
func (w *world) obey(t *rapid.T, fails func() bool) {
	for _, order := range w.k.Tick(w.now) {
		if order.Freeze && !fails() {
			w.executes[order.VM] = false
		}
		w.k.Confirm(w.now, order.VM, w.sight(order.VM))
	}
	w.k.Events()
	for _, m := range w.k.Inventory(w.now).Machines {
		if m.State == freeze.Running && !w.valid(m.Datastore, m.Term) {
			t.Fatalf("%v may run under term %d, which has ended", m.VM, m.Term)
		}
	}
}

func (w *world) sight(vm uuid.UUID) freeze.State {
	switch {
	case w.gone[vm]:
		return freeze.Gone
	case w.executes[vm]:
		return freeze.Freezing
	}
	return freeze.Frozen
}

// TestKeeperNeverLetsGoWithoutALease runs random histories, then lets time pass
// until everything must be frozen.
func TestKeeperNeverLetsGoWithoutALease(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		datastores := rapid.SampledFrom([]uuid.UUID{id(101), id(102)})
		vms := rapid.SampledFrom([]uuid.UUID{id(1), id(2), id(3)})
		terms := rapid.Uint64Range(1, 4)
		coin := rapid.Bool()
		fails := func() bool { return coin.Draw(t, "freeze takes no effect") }
		t.Repeat(map[string]func(*rapid.T){
			"pass": func(t *rapid.T) {
				w.advance(time.Duration(rapid.IntRange(0, int(testLease)).Draw(t, "time")))
			},
			"lease": func(t *rapid.T) {
				offset := time.Duration(rapid.IntRange(-int(testLease), int(testLease)+1).Draw(t, "deadline"))
				w.setLease(t, datastores.Draw(t, "datastore"), terms.Draw(t, "term"), w.now.Add(offset))
			},
			"register": func(t *rapid.T) {
				m := machine(vms.Draw(t, "vm")[15], datastores.Draw(t, "datastore")[15])
				m.Handle.StartTime = uint64(rapid.IntRange(1, 2).Draw(t, "process"))
				w.register(m, coin.Draw(t, "running"))
			},
			"let go": func(t *rapid.T) {
				w.letGo(t, datastores.Draw(t, "datastore"), terms.Draw(t, "term"), rapid.SliceOfN(vms, 0, 3).Draw(t, "vms"))
			},
			"custody": func(t *rapid.T) {
				w.custody(t, datastores.Draw(t, "datastore"), terms.Draw(t, "term"), coin.Draw(t, "begin"))
			},
			"upgrade": func(t *rapid.T) { w.upgrade(t) },
			"freeze":  func(t *rapid.T) { _ = w.k.Freeze(w.now, vms.Draw(t, "vm")) },
			"forget":  func(t *rapid.T) { _ = w.k.Forget(vms.Draw(t, "vm")) },
			"end": func(t *rapid.T) {
				vm := vms.Draw(t, "vm")
				w.gone[vm], w.executes[vm] = true, false
			},
			"tick": func(t *rapid.T) { w.obey(t, fails) },
		})
		w.settle(t)
	})
}

// upgrade hands all that the Keeper knows to another one, as a new program gets it.
func (w *world) upgrade(t *rapid.T) {
	raw, err := json.Marshal(state{Version: stateVersion, Keeper: w.k.state()})
	if err != nil {
		t.Fatal(err)
	}
	st, err := decodeState(raw)
	if err != nil {
		t.Fatal(err)
	}
	before := w.k.Inventory(w.now)
	w.k = NewKeeper(testFreeze, DefaultAbandon)
	w.k.restore(st.Keeper)
	if diff := cmp.Diff(before, w.k.Inventory(w.now)); diff != "" {
		t.Fatalf("the new program knows something else:\n%s", diff)
	}
}

// register adds a machine to the world if the Keeper takes it as a new one. It
// may be running, as one that a new guard is told of.
func (w *world) register(m Machine, executes bool) {
	known := false
	for _, old := range w.k.Inventory(w.now).Machines {
		known = known || old.VM == m.VM && old.State != freeze.Gone
	}
	if w.k.Register(w.now, m) == nil && !known {
		w.gone[m.VM], w.executes[m.VM], w.home[m.VM] = false, executes, m.Datastore
	}
}

// settle ends every lease and demands that all is frozen within F.
func (w *world) settle(t *rapid.T) {
	for datastore, l := range w.leases {
		if l.custody {
			w.custody(t, datastore, l.term, false)
		}
	}
	w.advance(2 * testLease)
	end := w.now.Add(testFreeze)
	for w.now <= end {
		w.obey(t, func() bool { return false })
		next, ok := w.k.Next()
		if !ok {
			break
		}
		w.advance(max(0, next.Sub(w.now)))
	}
	for vm, executes := range w.executes {
		if executes {
			t.Fatalf("%v executes still", vm)
		}
	}
	if !w.k.Safe(w.now) || !w.k.AllStopped() {
		t.Fatalf("not all is frozen: %+v", w.k.Inventory(w.now))
	}
}
