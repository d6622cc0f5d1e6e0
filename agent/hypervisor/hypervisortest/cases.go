package hypervisortest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/freeze"
	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/procfs"
)

func bornFrozen(t *testing.T, r *rig) {
	m := r.start(t)
	h := m.Handle()
	if stopped, err := procfs.Stopped(h.PID); err != nil || !stopped {
		t.Fatalf("process %d is stopped: %v, %v", h.PID, stopped, err)
	}
	if s := state(t, h); s != freeze.Frozen {
		t.Fatalf("a new machine is %v, want %v", s, freeze.Frozen)
	}
	r.still(t)
	if got := r.Count(t, r.spec); got != (Count{}) {
		t.Fatalf("a frozen machine has executed: %+v", got)
	}
	Thaw(t, h)
	r.ticking(t)
	if exit := m.Exit(); exit != (hypervisor.Exit{}) {
		t.Errorf("a running machine has ended: %v", exit)
	}
}

func freezeAndThaw(t *testing.T, r *rig) {
	m := r.run(t)
	for range 2 {
		Freeze(t, m.Handle())
		r.still(t)
		Thaw(t, m.Handle())
		r.ticking(t)
	}
}

func adoptFrozen(t *testing.T, r *rig) {
	first := r.start(t)
	m := r.adopt(t)
	if m.Handle() != first.Handle() {
		t.Errorf("adopted %v, want %v", m.Handle(), first.Handle())
	}
	r.still(t)
	if s := state(t, m.Handle()); s != freeze.Frozen {
		t.Errorf("adoption has made the machine %v", s)
	}
	Thaw(t, m.Handle())
	r.ticking(t)
}

func adoptRunning(t *testing.T, r *rig) {
	r.run(t)
	m := r.adopt(t)
	r.ticking(t)
	Freeze(t, m.Handle())
	r.still(t)
	Thaw(t, m.Handle())
	r.ticking(t)
}

func foundByOwnHost(t *testing.T, r *rig) {
	r.start(t)
	d := r.New()
	if found, err := d.Find(t.Context(), r.spec.Cluster, r.spec.Host+1, r.spec.RunDir); err != nil || len(found) != 0 {
		t.Errorf("another host found %v, %v", found, err)
	}
	if found, err := d.Find(t.Context(), uuid.New(), r.spec.Host, r.spec.RunDir); err != nil || len(found) != 0 {
		t.Errorf("another cluster found %v, %v", found, err)
	}
	if found, err := d.Find(t.Context(), r.spec.Cluster, r.spec.Host, ""); err != nil || len(found) != 1 {
		t.Errorf("without the run directory found %v, %v", found, err)
	}
}

func secondStart(t *testing.T, r *rig) {
	r.run(t)
	again := r.spec
	again.Generation++
	if m, err := r.New().Start(t.Context(), again); !errors.Is(err, hypervisor.ErrRunning) {
		t.Errorf("second start: %v, %v, want %v", m, err, hypervisor.ErrRunning)
	}
	r.ticking(t)
}

// statistics are told in one form, and a frozen machine is waited for by nobody.
func statistics(t *testing.T, r *rig) {
	m := r.run(t)
	Until(t, "it has used processor time and memory", func() bool {
		s, err := m.Statistics(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range s.Disks {
			if d.Name == "" {
				t.Errorf("a disk without a name: %+v", s.Disks)
			}
		}
		written := !r.HasDisk || slices.ContainsFunc(s.Disks, func(d hypervisor.DiskStatistics) bool { return d.Written > 0 && d.Writes > 0 })
		return s.CPU > 0 && s.Memory > 0 && written
	})
	Freeze(t, m.Handle())
	frozen, err := m.Statistics(t.Context())
	if err != nil || frozen.Memory == 0 {
		t.Errorf("frozen: %+v, %v", frozen, err)
	}
	kill(t, m)
	if s, err := m.Statistics(t.Context()); err == nil {
		t.Errorf("gone, and still: %+v", s)
	}
}

// askedToStop: nobody waits for a guest that is asked to stop, not even for one that can't hear
// it, and whoever gives it no more time powers it off.
func askedToStop(t *testing.T, r *rig) {
	m := r.run(t)
	Freeze(t, m.Handle())
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	asked := make(chan error, 1)
	go func() { asked <- m.Shutdown(ctx) }()
	select {
	case err := <-asked:
		t.Logf("asked while it is frozen: %v", err)
	case <-time.After(Limit):
		t.Fatal("who asks a frozen guest to stop waits for ever")
	}
	if s := state(t, m.Handle()); s != freeze.Frozen {
		t.Errorf("asking has made the machine %v", s)
	}
	kill(t, m)
	select {
	case <-m.Done():
	case <-time.After(Limit):
		t.Fatal("it was powered off, and has not ended")
	}
	r.nothingLeft(t)
}

func killFrozen(t *testing.T, r *rig) {
	m := r.run(t)
	Freeze(t, m.Handle())
	kill(t, m)
	Ended(t, m, hypervisor.Killed)
	r.nothingLeft(t)
}

func killRunning(t *testing.T, r *rig) {
	m := r.run(t)
	kill(t, m)
	Ended(t, m, hypervisor.Killed)
	kill(t, m)
	r.nothingLeft(t)
}

func killedFromOutside(t *testing.T, r *rig) {
	m, adopted := r.run(t), r.adopt(t)
	outsideKill(t, m.Handle())
	Ended(t, m, hypervisor.Crashed)
	Ended(t, adopted, hypervisor.Crashed)
	r.nothingLeft(t)
}

func switchedOff(t *testing.T, r *rig) {
	m := r.run(t)
	r.SwitchOff(t, r.spec, m)
	Ended(t, m, hypervisor.GuestShutDown)
	r.nothingLeft(t)
}

func switchedOffAdopted(t *testing.T, r *rig) {
	lostAgent(t, r)
	m := r.adopt(t)
	Thaw(t, m.Handle())
	r.ticking(t)
	r.SwitchOff(t, r.spec, m)
	Ended(t, m, hypervisor.GuestShutDown)
	r.nothingLeft(t)
}

func outlivesAgent(t *testing.T, r *rig) {
	lostAgent(t, r)
	m := r.adopt(t)
	if s := state(t, m.Handle()); s != freeze.Frozen {
		t.Fatalf("the agent's death has made the machine %v", s)
	}
	r.still(t)
	if got := r.Count(t, r.spec); got != (Count{}) {
		t.Fatalf("a machine that was never let go has executed: %+v", got)
	}
	Thaw(t, m.Handle())
	r.ticking(t)
	kill(t, m)
	Ended(t, m, hypervisor.Killed)
	r.nothingLeft(t)
}

func brokenStart(t *testing.T, r *rig) {
	broken := map[string][]byte{}
	maps.Copy(broken, r.Broken)
	for name, damage := range r.Break {
		broken[name] = damage(r.spec.Definition)
	}
	for name, definition := range broken {
		spec := r.spec
		spec.Definition = definition
		m, err := r.New().Start(t.Context(), spec)
		if err == nil {
			t.Errorf("%s: started %v", name, m.Handle())
			continue
		}
		t.Logf("%s: %v", name, err)
		r.nothingLeft(t)
	}
}

func endedContext(t *testing.T, r *rig) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if m, err := r.New().Start(ctx, r.spec); !errors.Is(err, context.Canceled) {
		t.Errorf("start: %v, %v, want %v", m, err, context.Canceled)
	}
	r.nothingLeft(t)
}

// nothingLeft checks that no process of the machine is left.
func (r *rig) nothingLeft(t *testing.T) {
	t.Helper()
	found, err := hypervisor.Scan(t.Context(), r.spec.Cluster, r.spec.Host, r.spec.RunDir)
	if err != nil || len(found) != 0 {
		t.Errorf("processes are left: %+v, %v", found, err)
	}
}
