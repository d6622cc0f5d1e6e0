package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"storebeat/test/lab"
	"storebeat/test/program"
)

// TestAgentKilled kills an agent and starts it again within the lease: nothing happens.
// The lease is a long one, so that a slow computer has the agent back within it.
func TestAgentKilled(t *testing.T) {
	r := newTrial(t, lab.Options{Profile: "relaxed"}, 3)
	_, others := r.master()
	want, processes := r.Starts(), r.hypervisors()
	r.on(others[0])
	r.Do(others[0].KillAgent(r.ctx))
	r.Do(others[0].StartAgent())
	r.awaitWhole()
	r.AwaitCounts(150, r.Machines...) // longer than a takeover takes
	r.ExpectStarts(want)
	r.refuse(append(restarts, "lease-lapsed", "machines-frozen")...)
	r.expectProcesses(processes)
}

// TestAgentGone kills an agent and leaves it so for longer than the lease. Its guard
// freezes its machines, the others take them over as soon as the file server gives the
// locks up, and the agent that comes back puts the frozen instances down.
func TestAgentGone(t *testing.T) {
	r := newTrial(t, lab.Options{}, 3)
	_, others := r.master()
	h := others[0]
	its := r.on(h)
	want := r.Starts().And(its)
	r.Do(h.KillAgent(r.ctx))
	r.awaitStopped(h)
	r.awaitEvent("start-refused", r.Hosts...)
	r.expire(h)
	r.AwaitStarts(want)
	r.Do(h.StartAgent())
	r.awaitGone(h, its...)
	r.awaitWhole()
	r.AwaitCounts(20, r.Machines...)
	r.ExpectStarts(want)
}

// TestGuardKilled kills a guard. The agent freezes its machines, starts another guard,
// and they go on in the same run; nobody else does anything.
func TestGuardKilled(t *testing.T) {
	r := newTrial(t, lab.Options{}, 3)
	_, others := r.master()
	h := others[0]
	want, processes := r.Starts(), r.hypervisors()
	r.on(h)
	r.Do(h.KillGuard(r.ctx))
	r.awaitEvent("guard-gone", h)
	r.Await("another guard", func() (bool, string) {
		pids, err := h.PIDs(lab.Guard, nil)
		return len(pids) == 1 && err == nil, fmt.Sprint(pids, err)
	})
	r.awaitWhole()
	r.AwaitCounts(20, r.Machines...)
	r.ExpectStarts(want)
	r.refuse(restarts...)
	r.expectProcesses(processes)
}

// TestUpgrade installs another version in the place of the program and has one host after
// the other go over to it, guard first, as the package does. No machine notices.
func TestUpgrade(t *testing.T) {
	dir := t.TempDir()
	installed, next := filepath.Join(dir, "storebeat"), filepath.Join(dir, "next")
	for path, version := range map[string]string{installed: "1.0.0", next: "1.1.0"} {
		if err := program.Build(path, "-ldflags", "-X main.version="+version); err != nil {
			t.Fatal(err)
		}
	}
	r := newTrial(t, lab.Options{Binary: installed}, 3)
	want, processes := r.Starts(), r.hypervisors()
	r.awaitVersion(r.Hosts, "1.0.0")
	r.Do(os.Rename(next, installed))
	for i, h := range r.Hosts {
		r.Do(h.Signal(lab.Guard, nil, syscall.SIGHUP))
		r.Await("the guard of "+h.Name+" to be the new program", func() (bool, string) {
			pids, err := h.PIDs(lab.Guard, nil)
			if err != nil || len(pids) != 1 {
				return false, fmt.Sprint(pids, err)
			}
			exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pids[0]))
			return exe == installed, fmt.Sprint(exe, err)
		})
		r.Do(h.StopAgent(r.ctx))
		r.Do(h.StartAgent())
		r.awaitVersion(r.Hosts[:i+1], "1.1.0")
		r.awaitWhole()
	}
	r.AwaitCounts(20, r.Machines...)
	r.ExpectStarts(want)
	r.refuse(append(restarts, "lease-lapsed", "machines-frozen", "guard-gone")...)
	r.expectProcesses(processes)
}

// awaitVersion waits until these hosts say that they run a version.
func (r *trial) awaitVersion(hosts []*lab.Host, version string) {
	r.Helper()
	for _, h := range hosts {
		r.Await(h.Name+" to run "+version, func() (bool, string) {
			v, err := h.View(r.ctx, true)
			if err != nil {
				return false, err.Error()
			}
			for _, s := range v.Hosts {
				if s.ID == h.ID {
					return s.Version == version, s.Version
				}
			}
			return false, "it does not see itself"
		})
	}
}
