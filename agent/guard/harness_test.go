package guard

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"storebeat/agent/freeze"
	"storebeat/datastorehb"
)

// TestMain lets the test binary be the program that Spawn starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "guard" {
		if err := guardCommand(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// guardCommand stands for the command line's guard command.
func guardCommand(args []string) error {
	options := Options{Ordinary: true}
	for i := 0; i+1 < len(args); i += 2 {
		switch args[i] {
		case "--socket":
			options.Socket = args[i+1]
		case "--watchdog":
			options.Watchdog = args[i+1]
		case "--harden":
			options.Ordinary = false
		default:
			return fmt.Errorf("unknown flag %s", args[i])
		}
	}
	return Serve(context.Background(), options)
}

// fakeClock is a boot-time clock that goes on when the test says so.
type fakeClock struct{ now atomic.Int64 }

func (c *fakeClock) Now() datastorehb.Instant { return datastorehb.Instant(c.now.Load()) }

func (c *fakeClock) advance(d time.Duration) { c.now.Add(int64(d)) }

// creep lets the clock go on by itself until the returned function is called. A
// machine that is not seen frozen at the first look, as on a busy computer, is
// looked at again only as time passes.
func (c *fakeClock) creep() (stop func()) {
	if c == nil {
		return func() {} // a guard with the real clock
	}
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(2 * time.Millisecond):
				c.advance(confirmPeriod)
			}
		}
	}()
	return func() { close(done) }
}

// lab is a guard inside the test's process, with a clock in the test's hand.
type lab struct {
	*testing.T
	clock   *fakeClock
	options Options
	end     context.CancelFunc
	result  chan error
}

func newLab(t *testing.T, options Options) *lab {
	t.Helper()
	options.Socket = filepath.Join(shortDir(t), "guard.sock")
	options.Ordinary = true
	options.Freeze = 50 * time.Millisecond // of the fake clock, and how often it is read
	l := &lab{T: t, clock: &fakeClock{}, options: options, result: make(chan error, 1)}
	l.clock.advance(time.Hour)
	s, err := newServer(options)
	if err != nil {
		t.Fatal(err)
	}
	s.now = l.clock.Now
	ctx, cancel := context.WithCancel(context.Background())
	l.end = cancel
	go func() { l.result <- s.serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		defer l.clock.creep()()
		if err := <-l.result; err != nil {
			t.Error(err)
		}
	})
	eventually(t, "guard listens", func() bool { _, err := os.Stat(options.Socket); return err == nil })
	return l
}

// stop ends the guard and returns what Serve has returned.
func (l *lab) stop() error {
	l.end()
	defer l.clock.creep()()
	err := <-l.result
	l.result <- nil // for the clean-up
	return err
}

// shortDir returns a directory whose name leaves room for a socket's: a socket's
// path is limited to 107 bytes.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "guard")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// agent is a connection that has said hello.
type agent struct {
	*testing.T
	*Client
	inventory Inventory
	clock     *fakeClock // of the guard in the test's process, nil for another
}

func dial(t *testing.T, socket string) *Client {
	t.Helper()
	client, err := Dial(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func (l *lab) agent(incarnation uint64) agent {
	l.Helper()
	a := hello(l.T, l.options.Socket, incarnation)
	a.clock = l.clock
	return a
}

func hello(t *testing.T, socket string, incarnation uint64) agent {
	t.Helper()
	a := agent{T: t, Client: dial(t, socket)}
	var err error
	if a.inventory, err = a.Hello(patient(t), incarnation); err != nil {
		t.Fatal(err)
	}
	return a
}

// patient returns a context for calls that must succeed on a busy computer.
func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func (a agent) must(err error) {
	a.Helper()
	if err != nil {
		a.Fatal(err)
	}
}

// await returns the next event of a kind. What the guard has to see happen takes
// time; a lease that has run out is reported at once.
func (a agent) await(kind EventKind) Event {
	a.Helper()
	if kind != Expired {
		defer a.clock.creep()()
	}
	limit := time.After(30 * time.Second)
	for {
		select {
		case e, ok := <-a.Events():
			if !ok {
				a.Fatalf("connection ended before event %q: %v", kind, a.Err())
			}
			if e.Kind == kind {
				return e
			}
		case <-limit:
			a.Fatalf("no event %q", kind)
		}
	}
}

// sleeper is a real machine that is born stopped.
func sleeper(t *testing.T, cgroup string) freeze.Handle {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "kill -STOP $$; exec sleep 1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if cgroup != "" {
		dir, err := os.Open(cgroup)
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h, err := freeze.Of(cmd.Process.Pid, cgroup)
	if err != nil {
		t.Fatal(err)
	}
	reaped := make(chan struct{})
	go func() { defer close(reaped); _ = cmd.Wait() }()
	t.Cleanup(func() {
		if err := h.Kill(); err == nil {
			<-reaped
		}
	})
	becomes(t, h, freeze.Frozen)
	return h
}

// eachFreezer runs a test with a weak freeze and with a cgroup, if there is one.
func eachFreezer(t *testing.T, test func(t *testing.T, cgroup string)) {
	t.Run("weak", func(t *testing.T) { test(t, "") })
	t.Run("cgroup", func(t *testing.T) { test(t, newCgroup(t)) })
}

func newCgroup(t *testing.T) string {
	t.Helper()
	root, err := freeze.FindCgroupRoot()
	if err != nil {
		t.Skip("needs root and cgroup v2: ", err)
	}
	dir, err := freeze.NewCgroup(root, fmt.Sprintf("storebeat-guard-test-%d-%d", os.Getpid(), cgroups.Add(1)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		eventually(t, "removal of "+dir, func() bool { return freeze.RemoveCgroup(dir) == nil })
	})
	return dir
}

var cgroups atomic.Uint64

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func becomes(t *testing.T, h freeze.Handle, want freeze.State) {
	t.Helper()
	eventually(t, fmt.Sprintf("%v is %v", h, want), func() bool {
		got, err := h.State()
		if err != nil {
			t.Fatal(err)
		}
		return got == want
	})
}
