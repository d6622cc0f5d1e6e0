package hypervisortest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"storebeat/agent/freeze"
	"storebeat/agent/hypervisor"
)

// Limit is how long the suite waits for something that should happen.
const Limit = 30 * time.Second

// Fixture is what the suite has to know about a driver.
type Fixture struct {
	// New returns a driver as a newly started agent makes one.
	New func() hypervisor.Driver
	// Define prepares the datastore and returns a machine that ticks there.
	Define func(t testing.TB, spec hypervisor.Spec) []byte
	// Count reads the machine's ticks.
	Count func(t testing.TB, spec hypervisor.Spec) Count
	// SwitchOff makes the guest, which runs, switch itself off.
	SwitchOff func(t testing.TB, spec hypervisor.Spec, m hypervisor.Machine)
	// HasDisk says that the machine writes to a disk of which its driver knows.
	HasDisk bool
	// Parallel runs the tests side by side, for a driver that mostly waits.
	Parallel bool
	// Broken are definitions that Validate takes and Start can't start.
	Broken map[string][]byte
	// Break does the same to a good definition.
	Break map[string]func(good []byte) []byte
}

// Run runs the suite with weak freeze, and with cgroups where they can be used.
func Run(t *testing.T, f Fixture) {
	t.Run("weak", func(t *testing.T) { f.suite(t, "") })
	t.Run("cgroup", func(t *testing.T) {
		root, err := freeze.FindCgroupRoot()
		if err != nil {
			t.Skip(err)
		}
		f.suite(t, root)
	})
}

func (f Fixture) suite(t *testing.T, cgroupRoot string) {
	tests := map[string]func(*testing.T, *rig){
		"born frozen, then let go":           bornFrozen,
		"freeze and thaw":                    freezeAndThaw,
		"found and adopted frozen":           adoptFrozen,
		"found and adopted running":          adoptRunning,
		"found only by its own host":         foundByOwnHost,
		"a second start is refused":          secondStart,
		"says what it has used":              statistics,
		"killed while frozen":                killFrozen,
		"killed while running":               killRunning,
		"killed from outside":                killedFromOutside,
		"asked to stop, then powered off":    askedToStop,
		"guest switches off":                 switchedOff,
		"guest switches off, adopted":        switchedOffAdopted,
		"outlives its agent":                 outlivesAgent,
		"a broken start leaves no process":   brokenStart,
		"an ended context starts no machine": endedContext,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if f.Parallel {
				t.Parallel()
			}
			test(t, newRig(t, f, cgroupRoot))
		})
	}
}

// rig is one machine to be.
type rig struct {
	Fixture
	spec hypervisor.Spec
}

func newRig(t *testing.T, f Fixture, cgroupRoot string) *rig {
	r := &rig{Fixture: f, spec: NewSpec(t)}
	r.spec.CgroupRoot = cgroupRoot
	r.spec.Definition = f.Define(t, r.spec)
	return r
}

// NewSpec returns a machine with new identities in directories of its own.
func NewSpec(t testing.TB) hypervisor.Spec {
	// Not t.TempDir: it holds the test's name, and socket paths are short.
	dir, err := os.MkdirTemp("", "hv")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	spec := hypervisor.Spec{
		Cluster: uuid.New(), Host: 7, VM: uuid.New(), Name: "web", Generation: 3, Datastore: uuid.New(),
		DatastorePath: filepath.Join(dir, "ds"), RunDir: filepath.Join(dir, "run"),
	}
	for _, d := range []string{spec.DatastorePath, spec.RunDir} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { endAll(t, spec) })
	return spec
}

// endAll ends whatever a test has left of its machine.
func endAll(t testing.TB, spec hypervisor.Spec) {
	found, _ := hypervisor.Scan(context.Background(), spec.Cluster, spec.Host, spec.RunDir)
	for _, f := range found {
		if err := f.Handle.Kill(); err != nil && !errors.Is(err, freeze.ErrGone) {
			t.Errorf("clean up %v: %v", f.Handle, err)
		}
	}
}

// start starts the machine and makes sure that it ends with the test.
func (r *rig) start(t *testing.T) hypervisor.Machine {
	t.Helper()
	m, err := r.New().Start(t.Context(), r.spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(t, m) })
	return m
}

// run starts the machine, lets it go and waits for its ticks.
func (r *rig) run(t *testing.T) hypervisor.Machine {
	t.Helper()
	m := r.start(t)
	Thaw(t, m.Handle())
	r.ticking(t)
	return m
}

// adopt finds the machine as a newly started agent does.
func (r *rig) adopt(t *testing.T) hypervisor.Machine {
	t.Helper()
	d := r.New()
	found, err := d.Find(t.Context(), r.spec.Cluster, r.spec.Host, r.spec.RunDir)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 {
		t.Fatalf("found %d machines, want 1: %+v", len(found), found)
	}
	if found[0].Leaderless || found[0].Driver != d.Name() || found[0].RunDir != r.spec.RunDir || found[0].Marker != r.spec.Marker() {
		t.Fatalf("found %+v, want machine %v", found[0], r.spec.Marker())
	}
	m, err := d.Adopt(t.Context(), found[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(t, m) })
	return m
}

func kill(t testing.TB, m hypervisor.Machine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Limit)
	defer cancel()
	if err := m.Kill(ctx); err != nil {
		t.Errorf("kill: %v", err)
	}
}

// Until waits for a condition.
func Until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	Within(t, Limit, what, condition)
}

// Within waits for a condition that may take longer than others, as firmware in emulation does.
func Within(t testing.TB, limit time.Duration, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Freeze freezes a machine and waits until it is seen frozen.
func Freeze(t testing.TB, h hypervisor.Handle) {
	t.Helper()
	if err := h.Freeze(); err != nil {
		t.Fatal(err)
	}
	Until(t, "machine frozen", func() bool { return state(t, h) == freeze.Frozen })
}

// Thaw lets a machine go on.
func Thaw(t testing.TB, h hypervisor.Handle) {
	t.Helper()
	if err := h.Thaw(); err != nil {
		t.Fatal(err)
	}
}

func state(t testing.TB, h hypervisor.Handle) freeze.State {
	t.Helper()
	s, err := h.State()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Ended waits for the end and checks its kind.
func Ended(t testing.TB, m hypervisor.Machine, want hypervisor.ExitKind) {
	t.Helper()
	select {
	case <-m.Done():
	case <-time.After(Limit):
		t.Fatalf("machine has not ended within %v; condition %+v", Limit, m.Condition())
	}
	if exit := m.Exit(); exit.Kind != want {
		t.Errorf("machine ended as %v, want %v", exit, want)
	}
	if hypervisor.Alive(m.Handle()) {
		t.Error("Done is closed but the process is alive")
	}
}

// ticking waits until the machine has booted once and ticks.
func (r *rig) ticking(t *testing.T) {
	t.Helper()
	from := r.Count(t, r.spec).Last
	Until(t, "two more ticks", func() bool { return r.Count(t, r.spec).Last >= from+2 })
	if boots := r.Count(t, r.spec).Boots; boots != 1 {
		t.Fatalf("machine has booted %d times, want once", boots)
	}
}

// still watches a frozen machine for a few ticks' time and wants none.
func (r *rig) still(t *testing.T) {
	t.Helper()
	before := r.Count(t, r.spec)
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if now := r.Count(t, r.spec); now != before {
			t.Fatalf("a frozen machine went on from %+v to %+v", before, now)
		}
	}
}

func outsideKill(t *testing.T, h hypervisor.Handle) {
	t.Helper()
	if err := unix.Kill(h.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
}
