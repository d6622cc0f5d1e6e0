package guard

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"storebeat/agent/freeze"
	"storebeat/datastorehb"
)

const (
	testLease  = 4 * time.Second
	testFreeze = 500 * time.Millisecond
)

// id returns a UUID that is easy to tell from others.
func id(n byte) uuid.UUID { return uuid.UUID{15: n} }

func at(d time.Duration) datastorehb.Instant { return datastorehb.Instant(time.Hour + d) }

func machine(vm, datastore byte) Machine {
	return Machine{VM: id(vm), Generation: 1, Datastore: id(datastore), Handle: freeze.Handle{PID: 1000 + int(vm), StartTime: 1}}
}

// sheet drives a Keeper in tests. It obeys orders at once and completely.
type sheet struct {
	*testing.T
	*Keeper
	now datastorehb.Instant
}

func newSheet(t *testing.T) *sheet {
	return &sheet{T: t, Keeper: NewKeeper(testFreeze, DefaultAbandon), now: at(0)}
}

func (s *sheet) lease(datastore byte, term uint64, deadline datastorehb.Instant) error {
	return s.SetLease(s.now, id(datastore), term, testLease, deadline)
}

func (s *sheet) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *sheet) refused(err error, part string) {
	s.Helper()
	if err == nil || !strings.Contains(err.Error(), part) {
		s.Fatalf("error %v, want one with %q", err, part)
	}
}

// obey carries out what is due now, and returns the kinds of the events.
func (s *sheet) obey() []EventKind {
	for _, order := range s.Tick(s.now) {
		s.Confirm(s.now, order.VM, freeze.Frozen)
	}
	var kinds []EventKind
	for _, e := range s.Events() {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

func (s *sheet) letGo(datastore byte, term uint64, vms ...byte) []uuid.UUID {
	var ids []uuid.UUID
	for _, vm := range vms {
		ids = append(ids, id(vm))
	}
	return s.LetGo(s.now, id(datastore), term, ids).Running
}

// running brings up a sheet with machine 1 on datastore 1 let go under term 1.
func running(t *testing.T) *sheet {
	s := newSheet(t)
	s.must(s.lease(1, 1, s.now.Add(testLease)))
	s.must(s.Register(s.now, machine(1, 1)))
	if got := s.obey(); !slices.Equal(got, []EventKind{MachineFrozen}) {
		t.Fatalf("events of a registration: %v", got)
	}
	if got := s.letGo(1, 1, 1); len(got) != 1 {
		t.Fatalf("let go: %v", got)
	}
	return s
}

func TestExpiry(t *testing.T) {
	s := running(t)
	s.now = at(testLease - 1)
	if got := s.obey(); got != nil {
		t.Errorf("a nanosecond before the end: %v", got)
	}
	if next, ok := s.Next(); !ok || next != at(testLease) {
		t.Errorf("next is %v, want the deadline", next)
	}
	s.now = at(testLease)
	if got := s.Tick(s.now); len(got) != 1 || !got[0].Freeze {
		t.Fatalf("orders at the end: %+v", got)
	}
	s.now = s.now.Add(3 * time.Millisecond)
	s.Confirm(s.now, id(1), freeze.Frozen)
	want := []Event{
		{Kind: Expired, At: at(testLease), Datastore: id(1), Term: 1, Machines: 1},
		{Kind: MachineFrozen, At: s.now, Datastore: id(1), Term: 1, VM: id(1), Took: 3 * time.Millisecond},
		{Kind: Frozen, At: s.now, Datastore: id(1), Term: 1, Took: 3 * time.Millisecond},
	}
	if diff := cmp.Diff(want, s.Events()); diff != "" {
		t.Error(diff)
	}
}

func TestExpiryOfOneDatastoreLeavesTheOthers(t *testing.T) {
	s := running(t)
	s.must(s.lease(2, 9, s.now.Add(testLease)))
	s.must(s.Register(s.now, machine(2, 2)))
	s.obey()
	s.letGo(2, 9, 2)
	s.now = at(testLease / 2)
	s.must(s.lease(2, 9, s.now.Add(testLease)))
	s.now = at(testLease)
	if got := s.obey(); !slices.Equal(got, []EventKind{Expired, MachineFrozen, Frozen}) {
		t.Error(got)
	}
	inventory := s.Inventory(s.now)
	if !inventory.AllFrozen(id(1)) || inventory.AllFrozen(id(2)) {
		t.Errorf("%+v", inventory)
	}
}

// TestLapseIsLatched is what trace 1 of the safety argument turns on: proof that
// comes after the end, however little, does not bring the lease back.
func TestLapseIsLatched(t *testing.T) {
	s := running(t)
	s.now = at(testLease)
	s.refused(s.lease(1, 1, s.now.Add(testLease)), "ran out")
	s.now = at(testLease - 1) // not even if time could go back
	s.refused(s.lease(1, 1, s.now.Add(testLease)), "ran out")
	s.now = at(testLease)
	s.obey()
	if got := s.letGo(1, 1, 1); got != nil {
		t.Errorf("let go under a lapsed lease: %v", got)
	}
	s.must(s.lease(1, 2, s.now.Add(testLease)))
	if got := s.letGo(1, 1, 1); got != nil {
		t.Errorf("let go under a former term: %v", got)
	}
	if got := s.letGo(1, 2, 1); len(got) != 1 {
		t.Error("not let go under the term that is held")
	}
}

// TestNextTermNeedsEverythingFrozen is trace 3: a lease of the next term must
// not take a machine over that was not frozen under the old one.
func TestNextTermNeedsEverythingFrozen(t *testing.T) {
	s := running(t)
	next := func() error { return s.lease(1, 2, s.now.Add(testLease)) }
	s.refused(next(), "running still")
	s.now = at(testLease)
	s.refused(next(), "running still") // the end has come but nobody looked yet
	s.Tick(s.now)
	s.refused(next(), "freezing still")
	s.Confirm(s.now, id(1), freeze.Freezing)
	s.refused(next(), "freezing still")
	s.must(s.Register(s.now, machine(2, 2))) // of another datastore
	s.Confirm(s.now, id(1), freeze.Frozen)
	s.must(next())
	if s.Confirm(s.now, id(1), freeze.Running); s.Inventory(s.now).AllFrozen(id(1)) {
		t.Error("a machine that escaped counts as frozen")
	}
	s.refused(s.lease(1, 3, s.now.Add(testLease)), "freezing still")
	s.Confirm(s.now, id(1), freeze.Gone)
	s.must(s.lease(1, 3, s.now.Add(testLease)))
}

func TestSetLease(t *testing.T) {
	end := at(0).Add(testLease)
	for _, c := range []struct {
		name      string
		datastore byte
		term      uint64
		length    time.Duration
		deadline  datastorehb.Instant
		refusal   string
	}{
		{"renewal", 1, 5, testLease, end.Add(-1), ""},
		{"earlier deadline changes nothing", 1, 5, testLease, at(-time.Hour), ""},
		{"newer term", 1, 6, testLease, end, ""},
		{"another datastore", 2, 1, testLease, end, ""},
		{"lower term", 1, 4, testLease, end, "is over"},
		{"other length", 1, 5, testLease + 1, end, "for good"},
		{"no length", 1, 5, 0, end, "not positive"},
		{"too far off", 1, 5, testLease, end.Add(1), "more than its length"},
		{"as far as numbers go", 1, 6, testLease, 1<<63 - 1, "more than its length"},
		{"over before it came", 1, 6, testLease, at(0), "ran out"},
		{"no datastore", 0, 5, testLease, end, "must be set"},
		{"no term", 1, 0, testLease, end, "must be set"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSheet(t)
			s.must(s.lease(1, 5, at(testLease/2)))
			err := s.SetLease(s.now, id(c.datastore), c.term, c.length, c.deadline)
			if c.refusal == "" {
				s.must(err)
				return
			}
			s.refused(err, c.refusal)
		})
	}
}

// TestLapsedNewTermStaysLapsed tells of a term too late, and then of a better deadline.
func TestLapsedNewTermStaysLapsed(t *testing.T) {
	s := newSheet(t)
	s.refused(s.lease(1, 1, s.now), "ran out")
	s.refused(s.lease(1, 1, s.now.Add(testLease)), "ran out")
	if got := s.obey(); !slices.Equal(got, []EventKind{Expired, Frozen}) {
		t.Error(got)
	}
}

func TestLetGoRefuses(t *testing.T) {
	s := running(t)
	s.must(s.Register(s.now, machine(2, 2)))
	s.must(s.Register(s.now, machine(3, 1)))
	s.Confirm(s.now, id(3), freeze.Gone)
	for _, c := range []struct {
		datastore byte
		term      uint64
		vm        byte
		why       string
	}{
		{2, 1, 2, "no lease is held"},
		{1, 2, 1, "is of term 1, not 2"},
		{1, 1, 9, "unknown"},
		{1, 1, 2, "homed on"},
		{1, 1, 3, "gone"},
	} {
		got := s.LetGo(s.now, id(c.datastore), c.term, []uuid.UUID{id(c.vm)})
		if len(got.Running) != 0 || len(got.Refused) != 1 || !strings.Contains(got.Refused[0].Why, c.why) {
			t.Errorf("%+v: %+v", c, got)
		}
	}
	// One that is refused doesn't hold the others up.
	if got := s.letGo(1, 1, 9, 1, 2); !slices.Equal(got, []uuid.UUID{id(1)}) {
		t.Errorf("let go: %v", got)
	}
}

func TestRegister(t *testing.T) {
	other := func(change func(*Machine)) Machine {
		m := machine(1, 1)
		change(&m)
		return m
	}
	for _, c := range []struct {
		name    string
		machine Machine
		refusal string
	}{
		{"the same", machine(1, 1), ""},
		{"another process", other(func(m *Machine) { m.Handle.StartTime++ }), "end it before"},
		{"another cgroup", other(func(m *Machine) { m.Handle.Cgroup = "x" }), "end it before"},
		{"another datastore", other(func(m *Machine) { m.Datastore = id(2) }), "is homed on"},
		{"a newer generation while it runs", other(func(m *Machine) { m.Generation++ }), "can't become 2"},
		{"no id", other(func(m *Machine) { m.VM = uuid.Nil }), "must all be set"},
		{"no process", other(func(m *Machine) { m.VM, m.Handle = id(7), freeze.Handle{} }), "must all be set"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := running(t)
			err := s.Register(s.now, c.machine)
			if c.refusal == "" {
				s.must(err)
			} else {
				s.refused(err, c.refusal)
			}
			if m := s.Inventory(s.now).Machines[0]; m.State != freeze.Running || m.Generation != 1 {
				t.Errorf("the machine was disturbed: %+v", m)
			}
		})
	}
}

func TestRegisterAgain(t *testing.T) {
	s := running(t)
	s.must(s.Freeze(s.now, id(1)))
	s.obey()
	newer := machine(1, 1)
	newer.Generation = 2
	s.must(s.Register(s.now, newer))
	s.refused(s.Register(s.now, machine(1, 1)), "can't become 1")
	s.Confirm(s.now, id(1), freeze.Gone)
	reborn := machine(1, 1)
	reborn.Handle.StartTime = 77
	s.must(s.Register(s.now, reborn))
	want := reborn
	want.State = freeze.Freezing
	if diff := cmp.Diff([]Machine{want}, s.Inventory(s.now).Machines); diff != "" {
		t.Error(diff)
	}
}

// TestRegisteredMachineIsNotLetGo makes up a machine that claims to run.
func TestRegisteredMachineIsNotLetGo(t *testing.T) {
	s := newSheet(t)
	m := machine(1, 1)
	m.State, m.Term = freeze.Running, 5
	s.must(s.Register(s.now, m))
	if got := s.Inventory(s.now).Machines[0]; got.State != freeze.Freezing || got.Term != 0 {
		t.Errorf("%+v", got)
	}
}

func TestForget(t *testing.T) {
	s := running(t)
	s.must(s.Forget(id(9)))
	s.refused(s.Forget(id(1)), "is running")
	s.must(s.Freeze(s.now, id(1)))
	s.obey()
	s.refused(s.Forget(id(1)), "is frozen")
	s.Confirm(s.now, id(1), freeze.Gone)
	s.must(s.Forget(id(1)))
	if got := s.Inventory(s.now).Machines; len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

// TestStaleSightIsNoConfirmation shows a machine frozen that was let go since.
func TestStaleSightIsNoConfirmation(t *testing.T) {
	s := running(t)
	s.Confirm(s.now, id(1), freeze.Frozen)
	if got := s.Inventory(s.now).Machines[0].State; got != freeze.Running {
		t.Errorf("state %v", got)
	}
}

func TestEscapeIsFrozenAgain(t *testing.T) {
	s := newSheet(t)
	s.must(s.Register(s.now, machine(1, 1)))
	s.obey()
	next, ok := s.Next()
	if !ok || next.Sub(s.now) > testFreeze {
		t.Fatalf("a frozen machine is looked at next at %v", next)
	}
	s.now = next
	if got := s.Tick(s.now); len(got) != 1 || got[0].Freeze {
		t.Fatalf("orders: %+v", got)
	}
	s.Confirm(s.now, id(1), freeze.Running)
	if got := s.Events(); len(got) != 1 || got[0].Kind != MachineEscaped {
		t.Errorf("%+v", got)
	}
	if got := s.Tick(s.now); len(got) != 1 || !got[0].Freeze {
		t.Errorf("orders: %+v", got)
	}
}

// TestStubbornMachine can't be frozen: it is tried again and again, less often
// after F, and keeps the watchdog from being fed.
func TestStubbornMachine(t *testing.T) {
	s := running(t)
	s.must(s.Freeze(s.now, id(1)))
	orders := 0
	for range 1000 {
		orders += len(s.Tick(s.now))
		s.Confirm(s.now, id(1), freeze.Freezing)
		if s.Safe(s.now) {
			t.Fatal("safe while a machine is not frozen")
		}
		s.now = s.now.Add(5 * time.Millisecond)
	}
	if first, rest := 100, 5000/250; orders < rest || orders > first+rest {
		t.Errorf("%d orders in 5 s", orders)
	}
}

func TestSafe(t *testing.T) {
	s := newSheet(t)
	check := func(want bool, when string) {
		t.Helper()
		if got := s.Safe(s.now); got != want {
			t.Errorf("%s: safe is %v", when, got)
		}
	}
	check(true, "without machines")
	s.must(s.lease(1, 1, s.now.Add(testLease)))
	s.must(s.Register(s.now, machine(1, 1)))
	check(false, "before it is seen frozen")
	s.obey()
	check(true, "frozen")
	s.letGo(1, 1, 1)
	check(true, "let go")
	if !s.Safe(s.now.Add(testLease-1)) || s.Safe(s.now.Add(testLease)) {
		t.Error("what is let go is not safe for as long as its lease lasts")
	}
	s.now = at(testLease)
	check(false, "after the end of the lease")
	s.obey()
	check(true, "frozen again")
}

func TestFreezeAllLeavesNothingRunning(t *testing.T) {
	s := running(t)
	s.FreezeAll(s.now)
	if s.AllStopped() {
		t.Error("stopped before anything was seen")
	}
	s.obey()
	if !s.AllStopped() {
		t.Error("not stopped")
	}
}

// TestKeeperIsPure holds the files that the simulator runs to what they may use.
func TestKeeperIsPure(t *testing.T) {
	allowed := []string{"bytes", "fmt", "slices", "time", "github.com/google/uuid", "storebeat/agent/freeze", "storebeat/datastorehb"}
	for _, name := range []string{"keeper.go", "abandon.go", "message.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range file.Imports {
			if path, _ := strconv.Unquote(spec.Path.Value); !slices.Contains(allowed, path) {
				t.Errorf("%s imports %s", name, path)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				forbidImpure(t, name, call)
			}
			return true
		})
	}
}

func forbidImpure(t *testing.T, name string, call *ast.CallExpr) {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return
	}
	if pkg, ok := sel.X.(*ast.Ident); ok && (pkg.Name == "time" || pkg.Name == "freeze") {
		t.Errorf("%s calls %s.%s", name, pkg.Name, sel.Sel.Name)
	}
	if strings.Contains(" Thaw Kill IOPending ", " "+sel.Sel.Name+" ") {
		t.Errorf("%s calls %s of a handle", name, sel.Sel.Name)
	}
}

// In custody nothing runs out, for as long as it lasts; the watchdog is fed, and
// nothing has to be done. Its end leaves L from there.
func TestCustody(t *testing.T) {
	s := newSheet(t)
	s.must(s.lease(9, 3, at(testLease)))
	s.must(s.Register(s.now, machine(1, 9)))
	s.obey()
	s.LetGo(s.now, id(9), 3, []uuid.UUID{id(1)})
	s.refused(s.BeginCustody(s.now, id(9), 2), "is of term 3, not 2")
	s.refused(s.BeginCustody(s.now, id(8), 3), "no lease is held")
	s.must(s.BeginCustody(s.now, id(9), 3))
	s.now = at(24 * time.Hour)
	s.obey()
	if _, any := s.Next(); any || !s.Safe(s.now) {
		t.Fatalf("in custody something is due, or not safe")
	}
	if l := s.Inventory(s.now).Leases[0]; !l.Custody || !l.Valid {
		t.Fatalf("the inventory says %+v", l)
	}
	s.must(s.lease(9, 3, s.now.Add(testLease)))
	s.refused(s.lease(9, 4, s.now.Add(testLease)), "comes too early")
	for range 2 { // the answer to the first may have been lost
		if deadline, err := s.EndCustody(s.now, id(9), 3); err != nil || deadline != s.now.Add(testLease) {
			t.Fatalf("deadline %v, %v", deadline, err)
		}
	}
	s.now = s.now.Add(testLease)
	s.obey()
	if m := s.Inventory(s.now).Machines[0]; m.State != freeze.Frozen {
		t.Fatalf("after custody and a lease the machine is %v", m.State)
	}
	s.refused(s.BeginCustody(s.now, id(9), 3), "ran out")
	_, err := s.EndCustody(s.now, id(9), 3)
	s.refused(err, "ran out")
}

// TestAbandoned: what stands frozen is ended once no agent has been there for long
// and its lease is long over; neither of the two is enough.
func TestAbandoned(t *testing.T) {
	end := at(testLease)
	for _, c := range []struct {
		name  string
		left  datastorehb.Instant
		back  datastorehb.Instant // 0: not
		looks datastorehb.Instant
		want  bool
	}{
		{name: "left at the end of the lease", left: end, looks: end.Add(DefaultAbandon), want: true},
		{name: "a nanosecond early", left: end, looks: end.Add(DefaultAbandon - 1)},
		{name: "left long before", left: at(0), looks: end.Add(DefaultAbandon), want: true},
		{name: "left long before, and early", left: at(0), looks: end.Add(DefaultAbandon - 1)},
		{name: "left long after", left: end.Add(time.Hour), looks: end.Add(time.Hour + DefaultAbandon - 1)},
		{name: "is back", left: end, back: end.Add(DefaultAbandon - 1), looks: end.Add(time.Hour)},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := running(t)
			s.now = c.left
			s.AgentLeft(s.now)
			s.now = max(end, c.left)
			s.obey()
			state, err := s.Export() // it is known to the next program, too
			s.must(err)
			s.Keeper = NewKeeper(testFreeze, DefaultAbandon)
			s.must(s.Import(state))
			if c.back > 0 {
				s.now = c.back
				s.AgentCame()
			}
			s.now = c.looks
			orders := s.Tick(s.now)
			if len(orders) != 1 || orders[0].End != c.want || orders[0].Freeze {
				t.Errorf("orders: %+v", orders)
			}
			if len(s.Events()) > 0 {
				t.Error("an order is told of as if it had been carried out")
			}
		})
	}
}

// TestAbandonedAsTheAgentComes: that the guard has ended a machine stays true, and
// known to the next program, though an agent comes before the process has obeyed.
func TestAbandonedAsTheAgentComes(t *testing.T) {
	s := running(t)
	s.AgentLeft(s.now)
	s.now = at(testLease)
	s.obey()
	s.now = s.now.Add(DefaultAbandon)
	vm := s.Tick(s.now)[0].VM
	s.Ended(s.now, vm)
	s.AgentCame()
	s.Ended(s.now, vm)
	state, err := s.Export()
	s.must(err)
	told := s.Events()
	s.Keeper = NewKeeper(testFreeze, DefaultAbandon)
	s.must(s.Import(state))
	s.Confirm(s.now, vm, freeze.Gone)
	if m := s.Inventory(s.now).Machines; len(m) != 1 || m[0].State != freeze.Gone || !m[0].Abandoned {
		t.Errorf("the guard says %+v", m)
	}
	if abandoned := func(e Event) bool { return e.Kind == MachineAbandoned }; !slices.ContainsFunc(told, abandoned) || slices.ContainsFunc(s.Events(), abandoned) {
		t.Errorf("told: %+v", told)
	}
}

// TestAbandonedInCustody: in custody nothing is abandoned, however long that lasts.
func TestAbandonedInCustody(t *testing.T) {
	s := running(t)
	s.must(s.BeginCustody(s.now, id(1), 1))
	s.must(s.Freeze(s.now, id(1)))
	s.obey()
	s.AgentLeft(s.now)
	s.now = s.now.Add(24 * time.Hour)
	if orders := s.Tick(s.now); len(orders) != 1 || orders[0].End {
		t.Errorf("orders: %+v", orders)
	}
}
