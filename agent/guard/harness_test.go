package guard

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"storebeat/agent/clock"
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
	// Under the race detector every process sleeps for a second at its end.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
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
		case "--found":
			pid, err := strconv.Atoi(args[i+1])
			if err != nil {
				return err
			}
			options.Machines = func(context.Context) ([]freeze.Handle, error) {
				h, err := freeze.Of(pid, "")
				return []freeze.Handle{h}, err
			}
		case "--garbage": // makes so many pieces of it while it looks for machines
			pieces, err := strconv.Atoi(args[i+1])
			if err != nil {
				return err
			}
			options.Machines = func(context.Context) ([]freeze.Handle, error) { return nil, litter(pieces) }
		case "--takes-over":
			version, err := strconv.Atoi(args[i+1])
			if err != nil {
				return err
			}
			return CanTakeOver(version)
		default:
			return fmt.Errorf("unknown flag %s", args[i])
		}
	}
	return Serve(context.Background(), options)
}

// litter makes garbage, as listing every process of a busy computer does.
func litter(pieces int) error {
	kept := make([][]byte, 1000)
	for i := range pieces {
		kept[i%len(kept)] = make([]byte, 1<<10)
	}
	return nil
}

// labClock is the boot-time clock, put forward when the test says so. Leases in
// a lab last for hours, so that the time a test takes doesn't count.
type labClock struct{ ahead atomic.Int64 }

func (c *labClock) Now() datastorehb.Instant {
	return clock.Now().Add(time.Duration(c.ahead.Load()))
}

const (
	labLease  = 4 * time.Hour
	labFreeze = 10 * time.Second // generous, because stopping a guard takes 2 F at most
	labMargin = time.Hour        // what a test certainly doesn't take
)

// lab is a guard inside the test's process, with a clock in the test's hand.
type lab struct {
	*testing.T
	clock   *labClock
	options Options
	bell    *Client // wakes the guard up when the clock has been put forward
	lease   datastorehb.Instant
	end     context.CancelFunc
	result  chan error
}

func newLab(t *testing.T, options Options) *lab {
	t.Helper()
	options.Socket = filepath.Join(shortDir(t), "guard.sock")
	options.Ordinary = true
	options.Freeze = labFreeze
	l := &lab{T: t, clock: &labClock{}, options: options, result: make(chan error, 1)}
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
		if err := <-l.result; err != nil {
			t.Error(err)
		}
	})
	eventually(t, "guard answers", func() bool {
		client, err := Dial(t.Context(), options.Socket)
		l.bell = client
		return err == nil
	})
	t.Cleanup(func() { _ = l.bell.Close() })
	return l
}

// advance puts the clock forward and lets the guard look at it.
func (l *lab) advance(d time.Duration) {
	l.Helper()
	l.clock.ahead.Add(int64(d))
	if err := l.bell.Ping(patient(l.T)); err != nil {
		l.Fatal(err)
	}
}

// stop ends the guard and returns what Serve has returned.
func (l *lab) stop() error {
	l.end()
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
	return hello(l.T, l.options.Socket, incarnation)
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

// await returns the next event of a kind.
func (a agent) await(kind EventKind) Event {
	a.Helper()
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
