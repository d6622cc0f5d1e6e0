package hypervisor_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"storebeat/agent/freeze"
	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/hypervisortest"
	"storebeat/agent/hypervisor/leader"
	"storebeat/test/stuck"
)

func TestMain(m *testing.M) {
	stuck.Main()
	os.Exit(m.Run())
}

// started starts a machine, weakly or in a cgroup of its own.
func started(t *testing.T, cgroupRoot string) (hypervisor.Spec, *leader.Process) {
	t.Helper()
	spec := hypervisortest.NewSpec(t)
	spec.CgroupRoot, spec.Host = cgroupRoot, 8 // not the host of other tests, which may look at the same moment
	p, err := leader.Start(t.Context(), startOf(spec))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), hypervisortest.Limit)
		defer cancel()
		if err := p.Kill(ctx); err != nil {
			t.Error(err)
		}
	})
	return spec, p
}

func startOf(spec hypervisor.Spec) leader.Config {
	return leader.Config{Driver: "script", Spec: spec, Argv: []string{"/bin/sh", "-c", "sleep 1000"}, Held: true,
		Judge: func(leader.Ending) hypervisor.Exit { return hypervisor.Exit{} }}
}

// scan fails the test if a scan hangs.
func scan(t *testing.T, spec hypervisor.Spec) ([]hypervisor.Found, error) {
	t.Helper()
	type result struct {
		found []hypervisor.Found
		err   error
	}
	done := make(chan result, 1)
	go func() {
		found, err := hypervisor.Scan(t.Context(), spec.Cluster, spec.Host, spec.RunDir)
		done <- result{found, err}
	}()
	select {
	case r := <-done:
		return r.found, r.err
	case <-time.After(20 * time.Second):
		t.Fatal("the scan hangs with a process that hangs")
		return nil, nil
	}
}

func cgroupRoot(t *testing.T) string {
	t.Helper()
	root, err := freeze.FindCgroupRoot()
	if err != nil {
		t.Skip(err)
	}
	return root
}

// TestStrangerHangs has some program of the host hang. The machines are found, and
// there is no doubt about any.
func TestStrangerHangs(t *testing.T) {
	for name, root := range map[string]string{"weak": "", "cgroup": cgroupRoot(t)} {
		t.Run(name, func(t *testing.T) {
			spec, p := started(t, root)
			storage := stuck.New(t)
			storage.Process()
			storage.Hang()
			for range 3 { // what hung once is not waited for again
				found, err := scan(t, spec)
				if err != nil || len(found) != 1 || found[0].Handle != p.Handle() {
					t.Fatalf("found %+v, %v; not process %d alone", found, err, p.Handle().PID)
				}
			}
		})
	}
}

// TestHungMachineInItsCgroup has a process of a machine hang that is not in the
// machine's session. By its cgroup it is found, and a second start is refused.
func TestHungMachineInItsCgroup(t *testing.T) {
	spec, p := started(t, cgroupRoot(t))
	storage := stuck.New(t) // ends first: what hangs keeps the machine from ending
	pid := storage.Process(hypervisor.Environ("script", spec, p.Handle().Cgroup)...)
	enter(t, p.Handle().Cgroup, pid)
	storage.Hang()
	found, err := scan(t, spec)
	if err != nil || len(found) != 1 || len(found[0].Others) != 1 || found[0].Others[0].PID != pid {
		t.Fatalf("found %+v, %v; not process %d and %d", found, err, p.Handle().PID, pid)
	}
	if _, err := leader.Start(t.Context(), startOf(spec)); !errors.Is(err, hypervisor.ErrRunning) {
		t.Errorf("a second start: %v", err)
	}
	other := spec
	other.Host++
	if found, err := scan(t, other); err != nil || len(found) != 0 {
		t.Errorf("another host found %+v, %v", found, err)
	}
}

func enter(t *testing.T, cgroup string, pid int) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(cgroup, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
		t.Fatal(err)
	}
}
