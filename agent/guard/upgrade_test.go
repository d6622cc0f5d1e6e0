package guard

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"storebeat/agent/clock"
	"storebeat/agent/freeze"
)

// program is a copy of the test binary that can be replaced while it runs.
func program(t *testing.T) string {
	t.Helper()
	path := filepath.Join(shortDir(t), "storebeat")
	install(t, path, nil)
	return path
}

// install puts a program in the place of another one, as a package manager does.
// Without content it is a copy of this very program.
func install(t *testing.T, path string, content []byte) {
	t.Helper()
	if content == nil {
		var err error
		if content, err = os.ReadFile("/proc/self/exe"); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path+".new", content, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// upgradable is a guard that runs from a program of its own.
func upgradable(t *testing.T, args ...string) (s spawned, path string) {
	t.Helper()
	path = program(t)
	socket := newSocket(t)
	client, err := Spawn(patient(t), path, socket, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	inventory, err := client.Hello(patient(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = inventory.Guard.Kill()
		if err := freeze.Wait(context.Background(), inventory.Guard); err != nil {
			t.Error(err)
		}
	})
	return spawned{agent{T: t, Client: client, inventory: inventory}, socket, inventory.Guard}, path
}

// upgrade installs a new program and has the guard execute it.
func (s spawned) upgrade(path string) {
	s.Helper()
	install(s.T, path, nil)
	var asked time.Time
	eventually(s.T, "the new program", func() bool {
		if time.Since(asked) > askTime+time.Second { // again, if the program was too slow to say that it understands
			s.hangUp()
			asked = time.Now()
		}
		return s.runs() == path
	})
}

func (s spawned) hangUp() {
	s.Helper()
	s.must(syscall.Kill(s.PID(), syscall.SIGHUP))
}

// runs returns the file that the guard executes.
func (s spawned) runs() string {
	path, _ := os.Readlink("/proc/" + strconv.Itoa(s.PID()) + "/exe")
	return path
}

// TestUpgrade replaces a guard's program several times, under constant questions:
// each is answered, on the same connection; leases, custody and machines are what
// they were; and the guard goes on to do its work.
func TestUpgrade(t *testing.T) {
	eachFreezer(t, func(t *testing.T, cgroup string) {
		s, path := upgradable(t)
		runs := Machine{VM: id(1), Datastore: id(1), Handle: sleeper(t, cgroup)}
		term := s.run(runs, time.Hour)
		if cgroup != "" {
			cgroup = newCgroup(t)
		}
		held := Machine{VM: id(2), Datastore: id(2), Handle: sleeper(t, cgroup)}
		s.must(s.Register(patient(t), held))
		s.await(MachineFrozen)
		s.must(s.SetLease(patient(t), id(2), 7, time.Hour, clock.Now().Add(time.Hour)))
		s.must(s.BeginCustody(patient(t), id(2), 7))
		before, err := s.Inventory(patient(t))
		s.must(err)

		var asked, worst atomic.Int64
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			for ctx.Err() == nil {
				from := time.Now()
				ctx, answered := context.WithTimeout(context.Background(), time.Minute) // longer than an agent waits, which has a guard with real-time priority
				err := s.Ping(ctx)
				answered()
				if err != nil {
					ended <- err
					return
				}
				asked.Add(1)
				worst.Store(max(worst.Load(), int64(time.Since(from))))
			}
			ended <- nil
		}()
		for range 5 {
			s.upgrade(path)
			seen := asked.Load()
			eventually(t, "more answers", func() bool {
				select {
				case err := <-ended:
					t.Fatalf("a question during the upgrades: %v", err)
				default:
				}
				return asked.Load() > seen+10
			})
			if state, err := runs.Handle.State(); err != nil || state != freeze.Running {
				t.Fatalf("the running machine is %v, %v", state, err)
			}
		}
		stop()
		if err := <-ended; err != nil {
			t.Fatalf("a question during the upgrades: %v", err)
		}
		t.Logf("%d questions during 5 upgrades were answered, the slowest in %v", asked.Load(), time.Duration(worst.Load()))
		after, err := s.Inventory(patient(t))
		s.must(err)
		if diff := cmp.Diff(before, after); diff != "" {
			t.Fatalf("the guard knows something else:\n%s", diff)
		}
		s.must(s.Freeze(patient(t), id(1)))
		s.await(MachineFrozen)
		becomes(t, runs.Handle, freeze.Frozen)
		if got, err := s.LetGo(patient(t), id(1), term, []uuid.UUID{id(1)}); err != nil || len(got.Running) != 1 {
			t.Fatalf("%+v, %v", got, err)
		}
		becomes(t, runs.Handle, freeze.Running)
		s.must(syscall.Kill(s.PID(), syscall.SIGTERM))
		s.must(freeze.Wait(t.Context(), s.guard))
		becomes(t, runs.Handle, freeze.Frozen)
	})
}

// TestLeaseRunsOutInAnUpgrade lets leases run out while programs are replaced all the time.
func TestLeaseRunsOutInAnUpgrade(t *testing.T) {
	eachFreezer(t, func(t *testing.T, cgroup string) {
		s, path := upgradable(t)
		m := Machine{VM: id(1), Datastore: id(1), Handle: sleeper(t, cgroup)}
		s.must(s.Register(patient(t), m))
		s.await(MachineFrozen)
		term := uint64(0)
		for round := range 8 {
			term = s.letGo(m, term, time.Duration(60+20*round)*time.Millisecond)
			s.upgrade(path)
			for e := s.await(Frozen); e.Term != term; e = s.await(Frozen) {
			}
			becomes(t, m.Handle, freeze.Frozen)
		}
	})
}

// TestNoUpgrade: a program that can't take over is not executed, and the guard goes on.
func TestNoUpgrade(t *testing.T) {
	s, path := upgradable(t)
	m := Machine{VM: id(1), Datastore: id(1), Handle: sleeper(t, "")}
	s.run(m, time.Hour)
	asked := filepath.Join(shortDir(t), "asked")
	for name, content := range map[string]string{
		"a program that does not understand": "#!/bin/sh\necho >>" + asked + "\nexit 1\n",
		"no program":                         "\x7fELF nonsense",
	} {
		install(t, path, []byte(content))
		s.hangUp()
		if strings.HasPrefix(content, "#!") {
			eventually(t, name+" to be asked", func() bool { _, err := os.Stat(asked); return err == nil })
		}
		for range 20 {
			s.must(s.Ping(patient(t)))
		}
		becomes(t, m.Handle, freeze.Running)
	}
	s.upgrade(path) // and a good one is taken after that
	becomes(t, m.Handle, freeze.Running)
}

// TestHalfARequestGoesAlong cuts a request in two by an upgrade.
func TestHalfARequestGoesAlong(t *testing.T) {
	s, path := upgradable(t)
	conn, err := net.Dial("unix", s.socket)
	s.must(err)
	defer conn.Close()
	_, err = fmt.Fprint(conn, `{"id":1,"op":"ping"}`+"\n"+`{"id":2,"op`)
	s.must(err)
	lines := bufio.NewScanner(conn)
	if !lines.Scan() {
		t.Fatal(lines.Err())
	}
	s.upgrade(path)
	_, err = fmt.Fprint(conn, `":"ping"}`+"\n")
	s.must(err)
	var a answer
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &a) != nil || a.ID != 2 || a.Error != "" {
		t.Fatalf("answered %q, %v", lines.Text(), lines.Err())
	}
}

// TestUnreadableState: a program that has taken over and can't read the state
// freezes what it finds, and ends.
func TestUnreadableState(t *testing.T) {
	for name, content := range map[string]string{
		"nothing": "", "damage": `{"version":1,"keep`, "a later version": `{"version":99}`,
		"a lease that can't be":        `{"version":1,"keeper":{"leases":[{"term":0}]}}`,
		"a listener that is not there": `{"version":1,"listener":77}`,
	} {
		t.Run(name, func(t *testing.T) {
			h := sleeper(t, "")
			if err := h.Thaw(); err != nil {
				t.Fatal(err)
			}
			becomes(t, h, freeze.Running)
			file, err := os.Create(filepath.Join(t.TempDir(), "state"))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			if _, err := file.WriteString(content); err != nil {
				t.Fatal(err)
			}
			if _, err := file.Seek(0, 0); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), os.Args[0], "guard", "--socket", newSocket(t), "--found", strconv.Itoa(h.PID))
			cmd.Env = append(os.Environ(), stateVariable+"=3")
			cmd.ExtraFiles = []*os.File{file}
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "can't be taken over") {
				t.Errorf("it ended with %v and said %q", err, out)
			}
			becomes(t, h, freeze.Frozen)
		})
	}
}

func FuzzDecodeState(f *testing.F) {
	k := NewKeeper(testFreeze, DefaultAbandon)
	_ = k.SetLease(at(0), id(9), 3, testLease, at(testLease))
	_ = k.Register(at(0), machine(1, 9))
	raw, err := json.Marshal(state{Version: stateVersion, At: at(0), Keeper: k.state(), Listener: 3, Lock: 4, Watchdog: -1, Clients: []clientState{{FD: 5, Rest: []byte("x"), Agent: true}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(raw[:20])
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		st, err := decodeState(raw)
		if err != nil {
			return
		}
		k := NewKeeper(testFreeze, DefaultAbandon)
		k.restore(st.Keeper)
		k.Tick(at(0))
		if err := k.state().check(); err != nil {
			t.Fatal(err)
		}
	})
}
