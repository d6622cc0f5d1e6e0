package guard

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"storebeat/agent/clock"
	"storebeat/agent/freeze"
)

// spawned is a guard in a process of its own, with the real clock.
type spawned struct {
	agent
	socket string
	guard  freeze.Handle
}

func spawn(t *testing.T, socket string, args ...string) spawned {
	t.Helper()
	client, err := Spawn(patient(t), os.Args[0], socket, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	inventory, err := client.Hello(patient(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	guard := inventory.Guard
	t.Cleanup(func() {
		_ = guard.Kill()
		if err := freeze.Wait(context.Background(), guard); err != nil {
			t.Error(err)
		}
	})
	return spawned{agent{T: t, Client: client, inventory: inventory}, socket, guard}
}

// run registers a machine and lets it go under the first term for which that is
// done before the lease runs out.
func (s spawned) run(m Machine, length time.Duration) (term uint64) {
	s.Helper()
	s.must(s.Register(patient(s.T), m))
	s.await(MachineFrozen)
	return s.letGo(m, 0, length)
}

// letGo lets a machine go under the first term after another for which that is done
// before the lease runs out.
func (s spawned) letGo(m Machine, term uint64, length time.Duration) uint64 {
	s.Helper()
	eventually(s.T, "let go", func() bool {
		inventory, err := s.Inventory(patient(s.T))
		s.must(err)
		if !inventory.AllFrozen(m.Datastore) {
			return false
		}
		term++
		if s.SetLease(patient(s.T), m.Datastore, term, length, clock.Now().Add(length)) != nil {
			return false
		}
		got, err := s.LetGo(patient(s.T), m.Datastore, term, []uuid.UUID{m.VM})
		s.must(err)
		return len(got.Running) == 1
	})
	return term
}

func newSocket(t *testing.T) string { return filepath.Join(shortDir(t), "guard.sock") }

func TestSpawnedGuardIsOnItsOwn(t *testing.T) {
	s := spawn(t, newSocket(t))
	if s.PID() == os.Getpid() || s.guard.PID != s.PID() {
		t.Errorf("guard is process %d and says %d", s.PID(), s.guard.PID)
	}
	if session, err := unix.Getsid(s.PID()); err != nil || session != s.PID() {
		t.Errorf("session %d, %v", session, err)
	}
	if dir, err := os.Readlink("/proc/" + strconv.Itoa(s.PID()) + "/cwd"); err != nil || dir != "/" {
		t.Errorf("working directory %q, %v: it would keep a file system busy", dir, err)
	}
}

// TestLeaseRunsOutForReal is the one test of expiry on the real clock.
func TestLeaseRunsOutForReal(t *testing.T) {
	eachFreezer(t, func(t *testing.T, cgroup string) {
		s := spawn(t, newSocket(t))
		m := Machine{VM: id(1), Datastore: id(1), Handle: sleeper(t, cgroup)}
		term := s.run(m, 300*time.Millisecond)
		for e := s.await(Frozen); e.Term != term; e = s.await(Frozen) {
		}
		becomes(t, m.Handle, freeze.Frozen)
	})
}

func TestTerminationFreezes(t *testing.T) {
	eachFreezer(t, func(t *testing.T, cgroup string) {
		s := spawn(t, newSocket(t))
		m := Machine{VM: id(1), Datastore: id(1), Handle: sleeper(t, cgroup)}
		s.run(m, time.Hour)
		becomes(t, m.Handle, freeze.Running)
		if err := syscall.Kill(s.PID(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := freeze.Wait(t.Context(), s.guard); err != nil {
			t.Fatal(err)
		}
		if state, err := m.Handle.State(); err != nil || state != freeze.Frozen {
			t.Errorf("machine is %v, %v", state, err)
		}
		<-s.Done()
	})
}

// TestGuardIsKilled goes through R11's "guard gone": the agent notices, freezes
// its machines itself, starts a guard and tells it what there is.
func TestGuardIsKilled(t *testing.T) {
	eachFreezer(t, func(t *testing.T, cgroup string) {
		socket := newSocket(t)
		s := spawn(t, socket)
		m := Machine{VM: id(1), Datastore: id(1), Handle: sleeper(t, cgroup)}
		s.run(m, time.Hour)
		if err := s.guard.Kill(); err != nil {
			t.Fatal(err)
		}
		<-s.Done()
		if _, open := <-s.Events(); open {
			t.Error("an event of a dead guard")
		}
		becomes(t, m.Handle, freeze.Running)
		s.must(FreezeAll(patient(t), []freeze.Handle{m.Handle}))
		becomes(t, m.Handle, freeze.Frozen)

		// Its lock outlives its socket by an instant; the agent tries until it is free.
		becomes(t, s.guard, freeze.Gone)
		next := spawn(t, socket)
		if len(next.inventory.Machines)+len(next.inventory.Leases) != 0 {
			t.Errorf("a new guard knows %+v", next.inventory)
		}
		next.run(m, time.Hour)
		becomes(t, m.Handle, freeze.Running)
	})
}

// TestNewGuardFreezesWhatRuns registers a machine that nobody froze.
func TestNewGuardFreezesWhatRuns(t *testing.T) {
	s := spawn(t, newSocket(t))
	h := sleeper(t, "")
	if err := h.Thaw(); err != nil {
		t.Fatal(err)
	}
	becomes(t, h, freeze.Running)
	s.must(s.Register(patient(t), Machine{VM: id(1), Datastore: id(1), Handle: h}))
	s.await(MachineFrozen)
	becomes(t, h, freeze.Frozen)
}

// TestGuardHangs stops a guard: calls fail in time, the agent freezes, ends the
// guard by the process id that the kernel vouches for, and starts another.
func TestGuardHangs(t *testing.T) {
	socket := newSocket(t)
	s := spawn(t, socket)
	m := Machine{VM: id(1), Datastore: id(1), Handle: sleeper(t, "")}
	s.run(m, time.Hour)
	if err := s.guard.Freeze(); err != nil {
		t.Fatal(err)
	}
	becomes(t, s.guard, freeze.Frozen)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ping of a hung guard: %v", err)
	}
	s.must(FreezeAll(patient(t), []freeze.Handle{m.Handle}))

	if _, err := Spawn(patient(t), os.Args[0], socket); err == nil || !strings.Contains(err.Error(), "another guard holds") {
		t.Errorf("a guard beside a hung one: %v", err)
	}
	if err := s.guard.Kill(); err != nil {
		t.Fatal(err)
	}
	spawn(t, socket).run(m, time.Hour)
}

func TestFreezeAllNamesWhatItCouldNotFreeze(t *testing.T) {
	h := sleeper(t, "")
	if err := h.Thaw(); err != nil {
		t.Fatal(err)
	}
	s, gone := freeze.Handle{PID: h.PID, StartTime: h.StartTime}, freeze.Handle{PID: h.PID, StartTime: 1}
	if err := FreezeAll(patient(t), []freeze.Handle{gone, s, gone}); err != nil {
		t.Error(err)
	}
	if err := FreezeAll(patient(t), nil); err != nil {
		t.Error(err)
	}
}

func TestSpawnFails(t *testing.T) {
	for _, c := range []struct{ name, binary, flag, want string }{
		{"no program", "/no/such/program", "--watchdog", "no such file"},
		{"ends at once", "/bin/true", "--watchdog", "has ended"},
		{"says why", os.Args[0], "--nonsense", "unknown flag --nonsense"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Spawn(patient(t), c.binary, newSocket(t), c.flag, "x")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

// TestHardenedGuard looks at a guard from outside. Without the right to do so a
// guard works all the same, which the first call shows.
func TestHardenedGuard(t *testing.T) {
	s := spawn(t, newSocket(t), "--harden", "yes")
	s.must(s.Ping(patient(t)))
	if os.Geteuid() != 0 {
		t.Skip("needs root to lock memory and take real-time priority")
	}
	proc := "/proc/" + strconv.Itoa(s.PID())
	tasks, err := os.ReadDir(proc + "/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		stat, err := os.ReadFile(proc + "/task/" + task.Name() + "/stat")
		if err != nil {
			t.Fatal(err)
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if policy := fields[41-3]; policy != "2" {
			t.Errorf("thread %s has scheduling policy %s, not SCHED_RR", task.Name(), policy)
		}
	}
	status, err := os.ReadFile(proc + "/status")
	if err != nil {
		t.Fatal(err)
	}
	if locked := statusField(t, status, "VmLck", 10); locked == 0 {
		t.Error("no memory is locked")
	}
	if resident := statusField(t, status, "VmRSS", 10); resident > 40<<10 {
		t.Errorf("%d kB are in memory: more is locked than is used", resident)
	}
	want := "-1000\n"
	if statusField(t, status, "CapEff", 16)&(1<<unix.CAP_SYS_RESOURCE) == 0 {
		want = "0\n" // refused, as in most containers; the guard goes on without
	}
	if text, err := os.ReadFile(proc + "/oom_score_adj"); err != nil || string(text) != want {
		t.Errorf("oom_score_adj %q, want %q: %v", text, want, err)
	}
}

func statusField(t *testing.T, status []byte, name string, base int) uint64 {
	t.Helper()
	_, rest, _ := strings.Cut(string(status), "\n"+name+":")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		t.Fatalf("no field %s in status", name)
	}
	n, err := strconv.ParseUint(fields[0], base, 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s %d", name, n)
	return n
}

func TestParseFileMapping(t *testing.T) {
	for line, want := range map[string]uintptr{
		"00400000-00401000 r-xp 00000000 08:01 42 /usr/bin/x y": 0x1000,
		"00400000-00401000 ---p 00000000 08:01 42 /usr/bin/x":   0,
		"00400000-00401000 rw-p 00000000 00:00 0":               0,
		"00400000-00401000 rw-p 00000000 00:00 0 [heap]":        0,
		"00401000-00400000 r-xp 00000000 08:01 42 /usr/bin/x":   0,
		"zz-00400000 r-xp 00000000 08:01 42 /usr/bin/x":         0,
		"": 0,
	} {
		if _, got, ok := parseFileMapping(line); got != want || ok != (want != 0) {
			t.Errorf("%q: %#x, %v", line, got, ok)
		}
	}
}
