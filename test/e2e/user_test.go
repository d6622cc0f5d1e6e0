package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"storebeat/agent"
	"storebeat/agent/core"
	"storebeat/agent/demo/cluster"
	"storebeat/poweron"
	"storebeat/test/faultfs"
)

// wish tells a host's agent what a user wants.
func (l *lab) wish(by *cluster.Host, verb core.Verb, m *cluster.Machine) {
	l.Helper()
	if _, err := by.Command(l.ctx, core.Command{Verb: verb, VM: m.Name}); err != nil {
		l.Fatalf("%s %s by way of %s: %v", verb, m.Name, by.Name, err)
	}
}

func (l *lab) awaitState(m *cluster.Machine, state string) (v core.MachineView) {
	l.Helper()
	l.await(fmt.Sprintf("%s to be %s", m.Name, state), func() (bool, string) {
		v = l.machine(m)
		return v.State == state, fmt.Sprintf("it is %s: %s", v.State, v.Why)
	})
	return v
}

// awaitNoProcess waits until no host has a process of a machine.
func (l *lab) awaitNoProcess(m *cluster.Machine) {
	l.Helper()
	l.await("the process of "+m.Name+" to end", func() (bool, string) {
		for _, h := range l.Hosts {
			found, err := h.Machines(l.ctx)
			if err != nil {
				return false, err.Error()
			}
			for _, f := range found {
				if f.VM == m.VM {
					return false, "it is on " + h.Name
				}
			}
		}
		return true, ""
	})
}

// other returns a host that is up and not the given one.
func (l *lab) other(than *cluster.Host) *cluster.Host {
	for _, h := range l.Up() {
		if h != than {
			return h
		}
	}
	l.Fatal("there is no other host")
	return nil
}

// awaitPlaces waits until any host says that a machine could run on all of them, which
// takes that each has told the master what it has.
func (l *lab) awaitPlaces(by *cluster.Host, m *cluster.Machine) {
	l.Helper()
	l.await("all hosts to be places for "+m.Name, func() (bool, string) {
		var places []poweron.Place
		err := by.Client.Call(l.ctx, agent.MethodPlaces, agent.PlacesRequest{VM: m.VM}, &places)
		missing := slices.ContainsFunc(places, func(p poweron.Place) bool { return p.Refusal != "" || p.Unknown })
		return err == nil && len(places) == len(l.Hosts) && !missing, fmt.Sprintf("%+v, %v", places, err)
	})
}

// TestUserCommands tells hosts that do not run a machine what to do with it.
func TestUserCommands(t *testing.T) {
	t.Parallel()
	l := newLab(t, cluster.Options{})
	l.protect(3, "process")
	m, want := l.machines[0], l.runs()
	by := l.other(l.owner(m))

	l.wish(by, core.Stop, m)
	l.awaitState(m, "stopped")
	l.awaitNoProcess(m)
	l.awaitTicks(30, l.machines[1]) // longer than any takeover
	l.expectRuns(want)

	l.awaitPlaces(by, m)

	l.wish(by, core.Start, m)
	want[m.Name]++
	l.awaitRuns(want)
	l.awaitSettled()

	by = l.other(l.owner(m))
	l.wish(by, core.Unprotect, m)
	l.await("it to be known as unprotected", func() (bool, string) { return !l.machine(m).Protected, "it is protected" })
	l.awaitTicks(10, m)
	if err := l.Protect(l.ctx, by, m); err != nil {
		t.Fatal(err)
	}
	l.awaitSettled()
	l.awaitTicks(10, m)
	l.expectRuns(want)
}

// TestUnprotectedIsNotRestarted kills the host of machines that are not wanted
// any more: one is unprotected, and one was stopped before.
func TestUnprotectedIsNotRestarted(t *testing.T) {
	t.Parallel()
	l := newLab(t, cluster.Options{})
	l.protect(6, "process")
	h, mine, rest := l.subordinate()
	want := l.runs()
	l.wish(l.other(h), core.Unprotect, mine[0])
	for _, m := range mine[1:] {
		want[m.Name]++
	}
	if _, err := h.Kill(l.ctx); err != nil {
		t.Fatal(err)
	}
	l.awaitRuns(want)
	l.await("it to be known as stopped", func() (bool, string) {
		v := l.machine(mine[0])
		return v.State == "stopped", v.State + ": " + v.Why
	})
	l.awaitTicks(30, rest[0])
	l.expectRuns(want)
}

// TestCrashLoop protects a machine that ends as soon as it runs. It is tried as
// often as its policy says, and then held, with the reason.
func TestCrashLoop(t *testing.T) {
	t.Parallel()
	l := newLab(t, cluster.Options{})
	l.protect(2, "process")
	m := cluster.NewMachine("crasher", l.Datastores[0], "process")
	m.Policy.Attempts, m.Policy.Limit = 1, 3
	m.Command = []string{"/bin/sh", "-c", `echo BOOT >> "$0"; echo "T 00000001" >> "$0"; exit 3`, m.Console.Path()}
	l.add(m)
	v := l.awaitState(m, "held")
	if !strings.Contains(v.Why, "the limit is 3") {
		t.Errorf("it is held for no good reason: %s", v.Why)
	}
	l.awaitTicks(30, l.machines[0])
	if runs := l.runs()["crasher"]; runs != 3 {
		t.Errorf("it was started %d times, not 3 times", runs)
	}
	// A user may let it go once more.
	l.wish(l.Hosts[0], core.Start, m)
	l.await("it to be tried again", func() (bool, string) { return l.runs()["crasher"] > 3, "it is not" })
	l.awaitState(m, "held")
}

// TestGuestShutDown lets a guest switch itself off: it stays off until a user
// starts it, whatever happens to the host on which it ran.
func TestGuestShutDown(t *testing.T) {
	t.Parallel()
	l := newLab(t, cluster.Options{})
	l.protect(3, "process")
	h, its, rest := l.subordinate()
	m, want := its[0], l.runs()
	for _, lost := range its[1:] {
		want[lost.Name]++
	}
	found, err := h.Machines(l.ctx)
	l.do(err)
	for _, f := range found {
		if f.VM == m.VM {
			l.do(syscall.Kill(f.Handle.PID, syscall.SIGTERM)) // the guest ends by itself when it gets it
		}
	}
	v := l.awaitState(m, "stopped")
	if !strings.Contains(v.Why, "shut itself down") {
		t.Errorf("it is stopped for no good reason: %s", v.Why)
	}
	if _, err := h.Kill(l.ctx); err != nil {
		t.Fatal(err)
	}
	l.awaitRuns(want)
	l.awaitTicks(40, rest[0])
	l.expectRuns(want)
	l.wish(l.Up()[0], core.Start, m)
	want[m.Name]++
	l.awaitRuns(want)
	l.expectRuns(want)
}

// TestKillPending stops a machine whose storage hangs. It can't be ended before its request to
// that has returned, everybody can see why, and then it is stopped.
func TestKillPending(t *testing.T) {
	t.Parallel()
	l := newLab(t, cluster.Options{Hosts: 2, Datastores: 1})
	below, path := shortDir(t), shortDir(t)
	storage, err := faultfs.New(below, path)
	if err != nil {
		t.Skip("needs storage that hangs: ", err)
	}
	t.Cleanup(func() { storage.Heal(); l.do(storage.Close()) })
	l.do(os.WriteFile(filepath.Join(below, "data"), make([]byte, 1<<16), 0o600))
	l.protect(1, "process")
	m := cluster.NewMachine("reader", l.Datastores[0], "process")
	m.Policy.StopTime = time.Second
	m.Command = []string{"/bin/sh", "-c", `echo BOOT >> "$0"; n=0; while n=$((n+1)); do cat "$1"/data > /dev/null; printf 'T %08x\n' $n >> "$0"; sleep 0.1; done`, m.Console.Path(), path}
	l.add(m)
	l.awaitTicks(2, m)
	h, from := l.owner(m), time.Now()
	storage.Hang()
	l.await("the machine to wait for its storage", func() (bool, string) { return storage.Hung() > 0, "it does not" })
	l.wish(l.other(h), core.Stop, m)
	e := l.awaitEvent(h, from, "machine-kill-pending")
	if !strings.Contains(e.Text, "reader is to be ended on "+h.Name) || !strings.Contains(strings.Join(e.Evidence, " "), "requests to the storage have not returned") {
		t.Errorf("told of it: %s, %q", e.Text, e.Evidence)
	}
	for _, by := range l.Hosts {
		l.await("vm list on "+by.Name, func() (bool, string) {
			out, err := l.cli(by, "vm", "list")
			return err == nil && strings.Contains(out, "kill-pending"), fmt.Sprint(out, err)
		})
	}
	storage.Heal()
	l.awaitState(m, "stopped")
	l.awaitNoProcess(m)
}
