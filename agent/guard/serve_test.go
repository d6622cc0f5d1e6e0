package guard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"

	"storebeat/agent/freeze"
	"storebeat/datastorehb"
)

// guarded registers a machine with the agent's guard and lets it go under term 1.
func (l *lab) guarded(a agent, vm byte, h freeze.Handle) Machine {
	l.Helper()
	m := Machine{VM: id(vm), Generation: 3, Datastore: id(1), Handle: h}
	a.must(a.Register(patient(l.T), m))
	a.await(MachineFrozen)
	l.renew(a, 1)
	l.mustLetGo(a, 1, m)
	return m
}

// renew sets or renews the lease of datastore 1.
func (l *lab) renew(a agent, term uint64) {
	l.Helper()
	l.lease = l.clock.Now().Add(labLease)
	a.must(a.SetLease(patient(l.T), id(1), term, labLease, l.lease))
}

func (l *lab) mustLetGo(a agent, term uint64, m Machine) {
	l.Helper()
	got, err := a.LetGo(patient(l.T), m.Datastore, term, []uuid.UUID{m.VM})
	if err != nil || len(got.Running) != 1 {
		l.Fatalf("let go under term %d: %+v, %v", term, got, err)
	}
	becomes(l.T, m.Handle, freeze.Running)
}

// settled makes sure that the guard has looked at the clock since.
func (l *lab) settled(a agent) {
	l.Helper()
	for range 3 {
		a.must(a.Ping(patient(l.T)))
	}
}

func TestLeaseRunsOut(t *testing.T) {
	eachFreezer(t, func(t *testing.T, cgroup string) {
		l := newLab(t, Options{})
		a := l.agent(1)
		m := l.guarded(a, 1, sleeper(t, cgroup))
		l.advance(labLease - labMargin)
		l.settled(a)
		becomes(t, m.Handle, freeze.Running)

		l.advance(labMargin)
		if e := a.await(Expired); e.Datastore != m.Datastore || e.Term != 1 || e.Machines != 1 {
			t.Errorf("%+v", e)
		}
		if e := a.await(Frozen); e.Took < 0 || e.Term != 1 {
			t.Errorf("%+v", e)
		}
		if state, err := m.Handle.State(); err != nil || state != freeze.Frozen {
			t.Errorf("reported frozen, and is %v, %v", state, err)
		}
		l.notUnder(a, 1, m)

		l.renew(a, 2)
		l.notUnder(a, 1, m)
		l.mustLetGo(a, 2, m)
	})
}

// notUnder asks for a renewal and to be let go under a term that is over.
func (l *lab) notUnder(a agent, term uint64, m Machine) {
	l.Helper()
	err := a.SetLease(patient(l.T), m.Datastore, term, labLease, l.clock.Now().Add(labLease))
	if !errors.Is(err, ErrRefused) {
		l.Errorf("renewal of a lease that is over: %v", err)
	}
	got, err := a.LetGo(patient(l.T), m.Datastore, term, []uuid.UUID{m.VM})
	if err != nil || len(got.Running) != 0 || len(got.Refused) != 1 {
		l.Errorf("let go under a term that is over: %+v, %v", got, err)
	}
	if state, err := m.Handle.State(); err != nil || state != freeze.Frozen {
		l.Errorf("machine is %v, %v", state, err)
	}
}

func TestRenewalKeepsItRunning(t *testing.T) {
	l := newLab(t, Options{})
	a := l.agent(1)
	m := l.guarded(a, 1, sleeper(t, ""))
	for range 20 {
		l.advance(labLease / 2)
		l.renew(a, 1)
	}
	l.settled(a)
	becomes(t, m.Handle, freeze.Running)
	select {
	case e := <-a.Events():
		t.Errorf("%+v", e)
	default:
	}
}

// TestAgentReturns is R11: an agent that is back within its lease disturbs nothing.
func TestAgentReturns(t *testing.T) {
	l := newLab(t, Options{})
	first := l.agent(1)
	m := l.guarded(first, 1, sleeper(t, ""))
	_ = first.Close()
	l.advance(labLease - labMargin)

	second := l.agent(2)
	m.Term, m.State = 1, freeze.Running
	want := Inventory{
		Guard:    second.inventory.Guard,
		Leases:   []LeaseState{{Datastore: id(1), Term: 1, Length: labLease, Deadline: l.lease, Valid: true}},
		Machines: []Machine{m},
	}
	if diff := cmp.Diff(want, second.inventory); diff != "" {
		t.Error(diff)
	}
	if want.Guard.PID != os.Getpid() || second.PID() != os.Getpid() {
		t.Errorf("guard's process is %v, connection's %d", want.Guard, second.PID())
	}
	second.must(second.Register(patient(t), m))
	l.renew(second, 1)
	l.advance(labLease - labMargin)
	l.settled(second)
	becomes(t, m.Handle, freeze.Running)
}

func TestAgentStaysAway(t *testing.T) {
	l := newLab(t, Options{})
	first := l.agent(1)
	m := l.guarded(first, 1, sleeper(t, ""))
	_ = first.Close()
	l.advance(labLease)
	becomes(t, m.Handle, freeze.Frozen)
	second := l.agent(2)
	eventually(t, "all is known to be frozen", func() bool {
		inventory, err := second.Inventory(patient(t))
		second.must(err)
		return inventory.AllFrozen(id(1)) && !inventory.Leases[0].Valid
	})
	l.notUnder(second, 1, m)
	l.renew(second, 2)
	l.mustLetGo(second, 2, m)
}

func TestNewestHelloWins(t *testing.T) {
	l := newLab(t, Options{})
	first := l.agent(1)
	m := l.guarded(first, 1, sleeper(t, ""))
	stranger := dial(t, l.options.Socket)
	second := l.agent(2)
	<-first.Done()
	if err := first.Err(); !errors.Is(err, ErrRefused) {
		t.Errorf("the former agent's connection ended with %v", err)
	}
	second.must(stranger.Ping(patient(t)))
	for _, c := range []*Client{first.Client, stranger} {
		if err := c.Freeze(patient(t), m.VM); !errors.Is(err, ErrRefused) {
			t.Errorf("freeze by another than the agent: %v", err)
		}
		if err := c.SetLease(patient(t), id(1), 1, labLease, l.clock.Now()); !errors.Is(err, ErrRefused) {
			t.Errorf("lease by another than the agent: %v", err)
		}
	}
	becomes(t, m.Handle, freeze.Running)
	second.must(second.Freeze(patient(t), m.VM))
	second.await(MachineFrozen)
	becomes(t, m.Handle, freeze.Frozen)
}

func TestEndFreezesEverything(t *testing.T) {
	eachFreezer(t, func(t *testing.T, cgroup string) {
		l := newLab(t, Options{})
		a := l.agent(1)
		m := l.guarded(a, 1, sleeper(t, cgroup))
		if err := l.stop(); err != nil {
			t.Error(err)
		}
		if state, err := m.Handle.State(); err != nil || state != freeze.Frozen {
			t.Errorf("machine is %v, %v", state, err)
		}
		<-a.Done()
		if a.Err() == nil {
			t.Error("the connection ended for no reason")
		}
		if err := a.Ping(patient(t)); err == nil || errors.Is(err, ErrRefused) {
			t.Errorf("ping of a guard that is gone: %v", err)
		}
	})
}

// TestWeakFreezeIsWatched lets somebody else send SIGCONT.
func TestWeakFreezeIsWatched(t *testing.T) {
	l := newLab(t, Options{})
	a := l.agent(1)
	m := l.guarded(a, 1, sleeper(t, ""))
	a.must(a.Freeze(patient(t), m.VM))
	a.await(MachineFrozen)
	if err := syscall.Kill(m.Handle.PID, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	becomes(t, m.Handle, freeze.Running)
	l.advance(l.options.Freeze)
	a.await(MachineEscaped)
	a.await(MachineFrozen)
	becomes(t, m.Handle, freeze.Frozen)
}

func TestMachineEnds(t *testing.T) {
	l := newLab(t, Options{})
	a := l.agent(1)
	frozen, running := sleeper(t, ""), sleeper(t, "")
	a.must(a.Register(patient(t), Machine{VM: id(2), Datastore: id(1), Handle: frozen}))
	a.await(MachineFrozen)
	l.guarded(a, 1, running)
	if err := a.Forget(patient(t), id(1)); !errors.Is(err, ErrRefused) {
		t.Errorf("a running machine is forgotten: %v", err)
	}
	if err := errors.Join(frozen.Kill(), running.Kill()); err != nil {
		t.Fatal(err)
	}
	becomes(t, frozen, freeze.Gone)
	l.advance(l.options.Freeze)
	if e := a.await(MachineGone); e.VM != id(2) {
		t.Errorf("%+v", e)
	}
	becomes(t, running, freeze.Gone)
	a.must(a.Forget(patient(t), id(1), id(2)))
	inventory, err := a.Inventory(patient(t))
	a.must(err)
	if len(inventory.Machines) != 0 {
		t.Errorf("%+v", inventory)
	}
}

// TestLetGoOfMachineThatEnded is refused, and known to be over from then on.
func TestLetGoOfMachineThatEnded(t *testing.T) {
	l := newLab(t, Options{})
	a := l.agent(1)
	h := sleeper(t, "")
	m := l.guarded(a, 1, h)
	if err := h.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := freeze.Wait(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	eventually(t, "refusal", func() bool {
		got, err := a.LetGo(patient(t), m.Datastore, 1, []uuid.UUID{m.VM})
		a.must(err)
		return len(got.Refused) == 1
	})
	a.await(MachineGone)
}

func TestRefusesToFreezeItself(t *testing.T) {
	l := newLab(t, Options{})
	a := l.agent(1)
	for _, h := range []freeze.Handle{
		{PID: os.Getpid(), StartTime: 1},
		{PID: 1, StartTime: 1},
		{PID: 1 << 22, StartTime: 1, Cgroup: l.options.Socket},
	} {
		if err := a.Register(patient(t), Machine{VM: id(1), Datastore: id(1), Handle: h}); !errors.Is(err, ErrRefused) {
			t.Errorf("%v: %v", h, err)
		}
	}
	a.must(a.Ping(patient(t)))
}

func TestSecondGuardIsRefused(t *testing.T) {
	l := newLab(t, Options{})
	err := Serve(t.Context(), Options{Socket: l.options.Socket, Ordinary: true})
	if err == nil || !strings.Contains(err.Error(), "another guard holds") {
		t.Errorf("second guard: %v", err)
	}
	l.agent(1)
}

func TestSocketIsPrivate(t *testing.T) {
	l := newLab(t, Options{})
	l.agent(1) // so that the guard has set it up
	info, err := os.Stat(l.options.Socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestServeRefuses(t *testing.T) {
	file := filepath.Join(shortDir(t), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, options := range map[string]Options{
		"no directory":   {Socket: file + "/x/guard.sock"},
		"no socket":      {Socket: file},
		"no watchdog":    {Socket: file + ".sock", Watchdog: file + ".watchdog"},
		"no freeze time": {Socket: file + ".sock", Freeze: time.Millisecond},
	} {
		options.Ordinary = true
		if err := Serve(t.Context(), options); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "precious" {
		t.Errorf("%q, %v", text, err)
	}
}

// blockedWriter stands for a log nobody reads.
type blockedWriter chan struct{}

func (w blockedWriter) Write(p []byte) (int, error) { <-w; return len(p), nil }

func TestBlockedLogHoldsNothingUp(t *testing.T) {
	blocked := make(blockedWriter)
	defer close(blocked)
	l := newLab(t, Options{Log: hclog.New(&hclog.LoggerOptions{Output: blocked, Level: hclog.Trace})})
	a := l.agent(1)
	m := l.guarded(a, 1, sleeper(t, ""))
	for range 500 { // more than the log's buffer
		_, err := a.Hello(patient(t), 1)
		a.must(err)
	}
	l.advance(labLease)
	a.await(Frozen)
	becomes(t, m.Handle, freeze.Frozen)
	if err := l.stop(); err != nil {
		t.Error(err)
	}
}

func TestBadLines(t *testing.T) {
	l := newLab(t, Options{})
	a := l.agent(1)
	m := l.guarded(a, 1, sleeper(t, ""))
	for name, line := range map[string]string{
		"garbage":       "\x00\xff{\n",
		"empty":         "\n",
		"no id":         `{"op":"ping"}` + "\n",
		"unknown op":    `{"id":1,"op":"thaw"}` + "\n",
		"unknown field": `{"id":1,"op":"ping","force":true}` + "\n",
		"two values":    `{"id":1,"op":"ping"} {}` + "\n",
		"too long":      strings.Repeat("x", maxRequest+1) + "\n",
		"half a line":   `{"id":1`,
		"no agent":      `{"id":1,"op":"freeze","vms":["` + m.VM.String() + `"]}` + "\n",
	} {
		conn, err := net.Dial("unix", l.options.Socket)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprint(conn, line)
		_ = conn.(*net.UnixConn).CloseWrite()
		reply := make([]byte, 4096)
		n, _ := conn.Read(reply)
		if answer := string(reply[:n]); n > 0 && !strings.Contains(answer, `"error":`) {
			t.Errorf("%s: %s", name, answer)
		}
		conn.Close()
	}
	l.settled(a)
	becomes(t, m.Handle, freeze.Running)
}

func TestOtherVersionIsRefused(t *testing.T) {
	l := newLab(t, Options{})
	c := dial(t, l.options.Socket)
	_, err := c.call(patient(t), request{Op: opHello, Version: protocolVersion + 1, Incarnation: 1})
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "restart the guard") {
		t.Errorf("%v", err)
	}
}

func TestManyConnections(t *testing.T) {
	l := newLab(t, Options{})
	a := l.agent(1)
	for range maxConnections + 5 {
		conn, err := net.Dial("unix", l.options.Socket)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	a.must(a.Ping(patient(t)))
}

// TestAgentThatDoesNotRead is given up, and holds nothing up.
func TestAgentThatDoesNotRead(t *testing.T) {
	l := newLab(t, Options{})
	deaf, err := net.Dial("unix", l.options.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	go func() {
		for i := 1; ; i++ {
			if _, err := fmt.Fprintf(deaf, `{"id":%d,"op":"inventory"}`+"\n", i); err != nil {
				return
			}
		}
	}()
	a := l.agent(1)
	m := l.guarded(a, 1, sleeper(t, ""))
	l.advance(labLease)
	a.await(Frozen)
	becomes(t, m.Handle, freeze.Frozen)
}

func TestWatchdog(t *testing.T) {
	path := filepath.Join(shortDir(t), "watchdog")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fed := func() string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	l := newLab(t, Options{Watchdog: path})
	eventually(t, "first feed", func() bool { return fed() != "" })
	for range 5 {
		before := fed()
		l.advance(l.options.Freeze)
		eventually(t, "next feed", func() bool { return len(fed()) > len(before) })
	}
	a := l.agent(1)
	l.guarded(a, 1, sleeper(t, ""))
	if err := l.stop(); err != nil {
		t.Error(err)
	}
	if text := fed(); strings.Count(text, "V") != 1 || !strings.HasSuffix(text, "V") {
		t.Errorf("the watchdog is disarmed by V, last: %q", text)
	}
}

// TestWatchdogStarves looks at a guard some machine of which is not seen frozen.
func TestWatchdogStarves(t *testing.T) {
	path := filepath.Join(shortDir(t), "watchdog")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := newServer(Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.watchdog, err = openWatchdog(path)
	if err != nil {
		t.Fatal(err)
	}
	now := at(0)
	s.now = func() datastorehb.Instant { return now }
	if err := s.keeper.Register(s.now(), machine(1, 1)); err != nil {
		t.Fatal(err)
	}
	size := func() int64 {
		s.feed()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	if size() != 0 {
		t.Error("fed while a machine is not seen frozen")
	}
	s.keeper.Confirm(s.now(), id(1), freeze.Frozen)
	if first, again := size(), size(); first != 1 || again != 1 {
		t.Error("fed not once while all is frozen")
	}
	now = now.Add(time.Second)
	if size() != 2 {
		t.Error("not fed again")
	}
}

// TestWatchdogLooksAhead lets a lease run out. The watchdog is not fed any more
// once what is left of the lease is too short for its time, and again as soon as
// all is frozen.
func TestWatchdogLooksAhead(t *testing.T) {
	path := filepath.Join(shortDir(t), "watchdog")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := newServer(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if s.watchdog, err = openWatchdog(path); err != nil {
		t.Fatal(err)
	}
	// A file is no watchdog, and says so.
	if err := s.watchdog.limit(4*time.Second, 5*time.Second); err == nil || s.watchdog.ahead != 0 {
		t.Errorf("a file passes for a watchdog: %v, looks %v ahead", err, s.watchdog.ahead)
	}
	k := running(t)
	s.keeper, s.now, s.watchdog.ahead = k.Keeper, func() datastorehb.Instant { return k.now }, time.Second
	fed := func() bool {
		s.watchdog.ever = false // so that it is due
		s.feed()
		return s.watchdog.ever
	}
	if !fed() {
		t.Error("not fed with a fresh lease")
	}
	k.now = k.now.Add(testLease - time.Second)
	if fed() {
		t.Error("fed with a second left of the lease, though the computer could then live on for longer than its machines may")
	}
	k.now = k.now.Add(time.Second)
	k.obey()
	if !fed() {
		t.Error("not fed though all is frozen")
	}
}

func TestWatchdogTime(t *testing.T) {
	for takeover, want := range map[time.Duration]time.Duration{
		2250 * time.Millisecond: time.Second, 5 * time.Second: 2 * time.Second, 13 * time.Second: 6 * time.Second, time.Second: time.Second,
	} {
		if got, _ := WatchdogTimes(takeover, takeover); got != want {
			t.Errorf("with a takeover time of %v the watchdog's is %v, not %v", takeover, got, want)
		}
	}
}

func TestClientOfSomethingElse(t *testing.T) {
	socket := filepath.Join(shortDir(t), "x.sock")
	if _, err := Dial(t.Context(), socket); err == nil {
		t.Error("connected to nothing")
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for _, says := range []string{"hello\n", "{\"id\":1}\n", "", strings.Repeat("x", 100_000)} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 100))
			_, _ = fmt.Fprint(conn, says)
			conn.Close()
		}()
		if _, err := dial(t, socket).Hello(patient(t), 1); err == nil || errors.Is(err, ErrRefused) {
			t.Errorf("%.20q is taken for a guard: %v", says, err)
		}
		<-done
	}
}

// TestSilentGuard accepts connections, as the kernel does for a hung process, and
// never answers.
func TestSilentGuard(t *testing.T) {
	socket := filepath.Join(shortDir(t), "x.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	c := dial(t, socket)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := c.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	// Requests that nobody reads fill the socket; then writing fails in time, too.
	many := make([]uuid.UUID, 20_000)
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, err := c.LetGo(ctx, id(1), 1, many); err == nil {
			t.Error("no error")
		}
	}
}

func FuzzDecodeRequest(f *testing.F) {
	for _, seed := range []string{
		`{"id":1,"op":"hello","version":1,"incarnation":7}`,
		`{"id":2,"op":"set lease","datastore":"00000000-0000-0000-0000-000000000001","term":3,"length":4000000000,"deadline":99}`,
		`{"id":3,"op":"register","machine":{"vm":"00000000-0000-0000-0000-000000000001","generation":1,"datastore":"00000000-0000-0000-0000-000000000001","handle":{"pid":4194304,"start_time":1},"state":"frozen"}}`,
		`{"id":4,"op":"let go","term":1,"vms":["00000000-0000-0000-0000-000000000001"]}`,
		`{"id":5,"op":"ping"} `, `null`, `[]`, `{"id":-1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := decodeRequest(line)
		if err != nil {
			return
		}
		again, err := encode(r)
		if err != nil {
			t.Fatalf("%+v can't be encoded: %v", r, err)
		}
		// An escape may be longer than what it stands for.
		if len(again) > maxRequest {
			return
		}
		back, err := decodeRequest(again)
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		if diff := cmp.Diff(r, back); diff != "" {
			t.Error(diff)
		}
	})
}

// TestSuccessorOfMachineThatEnded is taken though nobody has noticed the end of
// its forerunner, which ran and so was not looked at.
func TestSuccessorOfMachineThatEnded(t *testing.T) {
	l := newLab(t, Options{})
	a := l.agent(1)
	h := sleeper(t, "")
	m := l.guarded(a, 1, h)
	if err := h.Kill(); err != nil {
		t.Fatal(err)
	}
	becomes(t, h, freeze.Gone)
	m.Handle = sleeper(t, "")
	a.must(a.Register(patient(t), m))
	becomes(t, m.Handle, freeze.Frozen)
}

// TestStartingGuardFreezesWhatRuns is R11: a guard that inherits nothing freezes
// every machine it finds, before an agent is there to tell it of any.
func TestStartingGuardFreezesWhatRuns(t *testing.T) {
	h := sleeper(t, "")
	if err := h.Thaw(); err != nil {
		t.Fatal(err)
	}
	becomes(t, h, freeze.Running)
	newLab(t, Options{Machines: func(context.Context) ([]freeze.Handle, error) {
		return []freeze.Handle{h}, errors.New("a record of another one is damaged")
	}})
	becomes(t, h, freeze.Frozen)
}

// TestAbandonedMachineIsEnded leaves a frozen machine without an agent for long; the
// next agent is told why it is gone.
func TestAbandonedMachineIsEnded(t *testing.T) {
	eachFreezer(t, func(t *testing.T, cgroup string) {
		l := newLab(t, Options{})
		a := l.agent(1)
		handle := sleeper(t, cgroup)
		m := Machine{VM: id(1), Generation: 1, Datastore: id(2), Handle: handle}
		a.must(a.Register(patient(t), m))
		a.must(a.Close())
		eventually(t, "the guard to miss the agent", func() bool {
			l.advance(DefaultAbandon)
			state, err := handle.State()
			return err == nil && state == freeze.Gone
		})
		b := l.agent(2) // It may be there before the guard has seen what its order has done.
		inventory, err := b.Inventory(patient(t))
		b.must(err)
		if len(inventory.Machines) != 1 || !inventory.Machines[0].Abandoned {
			t.Errorf("the guard says %+v", inventory.Machines)
		}
		b.must(b.Forget(patient(t), id(1)))
	})
}
