package freeze

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"storebeat/agent/hypervisor/procfs"
)

// TestFrozenMeansNoProgress holds a frozen machine against one that runs: while
// the second one counts on, the first must not.
func TestFrozenMeansNoProgress(t *testing.T) {
	eachFreezer(t, func(t *testing.T, cgroup string) {
		machine, other := startCounter(t, cgroup), startCounter(t, "")
		for range 3 {
			machine.advance(t)
			if state, err := machine.State(); err != nil || state != Running {
				t.Fatalf("state of a machine that counts: %v, %v", state, err)
			}
			if err := machine.Freeze(); err != nil {
				t.Fatal(err)
			}
			becomes(t, machine.Handle, Frozen)
			before := machine.count(t)
			other.advance(t)
			if after := machine.count(t); after != before {
				t.Fatalf("frozen machine counted from %d to %d", before, after)
			}
			if err := machine.Thaw(); err != nil {
				t.Fatal(err)
			}
		}
		machine.advance(t)
	})
}

func TestThawLetsGoWhatWasBornStopped(t *testing.T) {
	eachFreezer(t, func(t *testing.T, cgroup string) {
		h := start(t, shell("kill -STOP $$; exec sleep 1000"), cgroup)
		becomes(t, h, Frozen)
		freezes(t, h)
		thaws(t, h)
		eventually(t, "the machine's own program", func() bool {
			name, err := os.ReadFile("/proc/" + strconv.Itoa(h.PID) + "/comm")
			return err == nil && string(name) == "sleep\n"
		})
	})
}

func TestFreezeReachesChildren(t *testing.T) {
	eachFreezer(t, func(t *testing.T, cgroup string) {
		h := start(t, shell("sleep 1000 & sleep 1000 & wait"), cgroup)
		var pids []int
		eventually(t, "three processes", func() bool {
			pids, _ = h.processes(&groups{})
			return len(pids) == 3
		})
		freezes(t, h)
		if cgroup == "" {
			// One process that runs again is enough.
			if err := unix.Kill(pids[2], unix.SIGCONT); err != nil {
				t.Fatal(err)
			}
			becomes(t, h, Freezing)
			freezes(t, h)
		}
	})
}

func TestKillWhileFrozen(t *testing.T) {
	eachFreezer(t, func(t *testing.T, cgroup string) {
		h := start(t, shell("sleep 1000 & sleep 1000 & wait"), cgroup)
		freezes(t, h)
		if err := h.Kill(); err != nil {
			t.Fatal(err)
		}
		becomes(t, h, Gone)
		// A zombie takes signals, to no effect.
		awaitReaping(t, h)
		for name, do := range map[string]func() error{"freeze": h.Freeze, "thaw": h.Thaw} {
			if err := do(); !errors.Is(err, ErrGone) {
				t.Errorf("%s of a machine that is gone: %v", name, err)
			}
		}
		if err := h.Kill(); err != nil && !errors.Is(err, ErrGone) {
			t.Errorf("kill of a machine that is gone: %v", err)
		}
	})
}

func TestZombieIsGone(t *testing.T) {
	cmd := shell("exit 0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h, err := Of(cmd.Process.Pid, "")
	if err != nil {
		t.Fatal(err)
	}
	becomes(t, h, Gone)
	if _, err := procfs.ReadStat(h.PID); err != nil {
		t.Errorf("the zombie should be there until it is reaped: %v", err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	becomes(t, h, Gone)
}

// TestReusedProcessID names a process that is alive with another start time.
func TestReusedProcessID(t *testing.T) {
	eachFreezer(t, func(t *testing.T, cgroup string) {
		h := start(t, exec.Command("sleep", "1000"), cgroup)
		former := Handle{PID: h.PID, StartTime: h.StartTime - 1}
		if state, err := former.State(); err != nil || state != Gone {
			t.Errorf("state of the former process: %v, %v", state, err)
		}
		for _, do := range []func() error{former.Freeze, former.Thaw, former.Kill} {
			if err := do(); !errors.Is(err, ErrGone) {
				t.Errorf("signal to the former process: %v", err)
			}
		}
		if err := Wait(t.Context(), former); err != nil {
			t.Error(err)
		}
		if state, err := h.State(); err != nil || state != Running {
			t.Errorf("the present process was touched: %v, %v", state, err)
		}
	})
}

// TestOrphansAreTheMachine ends the leading process and leaves its child.
func TestOrphansAreTheMachine(t *testing.T) {
	eachFreezer(t, func(t *testing.T, cgroup string) {
		h := start(t, shell("sleep 1000 & exit 0"), cgroup)
		awaitReaping(t, h)
		if state, err := h.State(); err != nil || state == Gone {
			t.Fatalf("a machine with a process left is %v, %v", state, err)
		}
		freezes(t, h)
		thaws(t, h)
		if err := h.Kill(); err != nil {
			t.Fatal(err)
		}
		becomes(t, h, Gone)
	})
}

func awaitReaping(t *testing.T, h Handle) {
	t.Helper()
	eventually(t, "reaping of the leading process", func() bool {
		_, err := procfs.ReadStat(h.PID)
		return errors.Is(err, procfs.ErrGone)
	})
}

// TestLeaderOutsideItsCgroup names a cgroup that the machine is not in.
func TestLeaderOutsideItsCgroup(t *testing.T) {
	cgroup := newCgroup(t)
	h := start(t, exec.Command("sleep", "1000"), "")
	h.Cgroup = cgroup
	freezes(t, h)
	thaws(t, h)
	if err := h.Kill(); err != nil {
		t.Fatal(err)
	}
	becomes(t, h, Gone)
}

// TestUninterruptibleSleep uses the freezer of cgroup v1, which puts a process
// into the very state of one that waits for storage: D, out of signals' reach.
func TestUninterruptibleSleep(t *testing.T) {
	eachFreezer(t, func(t *testing.T, cgroup string) {
		h := start(t, exec.Command("sleep", "1000"), cgroup)
		hang := hangInKernel(t, h.PID)
		eventually(t, "uninterruptible sleep", func() bool {
			pending, err := h.IOPending()
			return err == nil && pending
		})
		if state, err := h.State(); err != nil || state != Running {
			t.Fatalf("before the freeze is issued: %v, %v", state, err)
		}
		freezes(t, h)
		if pending, err := h.IOPending(); err != nil || !pending {
			t.Errorf("I/O pending while the process hangs: %v, %v", pending, err)
		}
		hang.release(t)
		eventually(t, "end of uninterruptible sleep", func() bool {
			pending, err := h.IOPending()
			return err == nil && !pending
		})
		becomes(t, h, Frozen)
	})
}

type hang struct{ dir string }

func hangInKernel(t *testing.T, pid int) hang {
	t.Helper()
	dir := filepath.Join("/sys/fs/cgroup/freezer", "storebeat-test-"+strconv.Itoa(pid))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skip("needs root and the freezer of cgroup v1 to stand for hanging storage: ", err)
	}
	h := hang{dir}
	t.Cleanup(func() {
		h.release(t)
		_ = os.WriteFile("/sys/fs/cgroup/freezer/cgroup.procs", []byte(strconv.Itoa(pid)), 0)
		eventually(t, "removal of "+dir, func() bool { return os.Remove(dir) == nil || !exists(dir) })
	})
	h.write(t, "cgroup.procs", strconv.Itoa(pid))
	h.write(t, "freezer.state", "FROZEN")
	return h
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

func (h hang) release(t *testing.T) { h.write(t, "freezer.state", "THAWED") }

func (h hang) write(t *testing.T, file, value string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(h.dir, file), []byte(value), 0); err != nil {
		t.Fatal(err)
	}
}

// TestWaitForStranger waits for a process that is not this one's child.
func TestWaitForStranger(t *testing.T) {
	eachFreezer(t, func(t *testing.T, cgroup string) {
		path := filepath.Join(t.TempDir(), "pid")
		parent := start(t, shell("setsid sh -c 'echo $$ >"+path+".new; mv "+path+".new "+path+"; exec sleep 1000' & exit 0"), cgroup)
		var text []byte
		eventually(t, "stranger's id", func() (ok bool) {
			var err error
			text, err = os.ReadFile(path)
			return err == nil
		})
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		h, err := Of(pid, parent.Cgroup)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { result <- Wait(ctx, h) }()
		cancel()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("wait that was given up: %v", err)
		}
		go func() { result <- Wait(t.Context(), h) }()
		if err := h.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := <-result; err != nil {
			t.Error(err)
		}
		becomes(t, h, Gone)
	})
}

func TestStatesOfSeveral(t *testing.T) {
	frozen, running := start(t, exec.Command("sleep", "1000"), ""), start(t, exec.Command("sleep", "1000"), "")
	freezes(t, frozen)
	got := States([]Handle{frozen, running, {PID: frozen.PID, StartTime: 1}})
	want := []Sight{{State: Frozen}, {State: Running}, {State: Gone}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestHandleIsData(t *testing.T) {
	for _, want := range []Handle{{PID: 7, StartTime: 99}, {PID: 7, StartTime: 1 << 63, Cgroup: "/sys/fs/cgroup/x"}} {
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got Handle
		if err := json.Unmarshal(text, &got); err != nil || got != want {
			t.Errorf("%s became %v, %v", text, got, err)
		}
	}
}

func TestStateAsText(t *testing.T) {
	for state := Running; state <= Gone; state++ {
		text, err := state.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var got State
		if err := got.UnmarshalText(text); err != nil || got != state {
			t.Errorf("%s became %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "Running", "State(0)", "thawed"} {
		var got State
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q became %v", text, got)
		}
	}
}

func TestValidate(t *testing.T) {
	for name, h := range map[string]Handle{
		"no process":       {StartTime: 1},
		"first process":    {PID: 1, StartTime: 1},
		"negative":         {PID: -5, StartTime: 1},
		"no start time":    {PID: 99},
		"this process":     {PID: os.Getpid(), StartTime: 1},
		"our group":        {PID: unix.Getpgrp(), StartTime: 1},
		"elsewhere":        {PID: 1 << 22, StartTime: 1, Cgroup: "/mnt/datastore"},
		"climbing":         {PID: 1 << 22, StartTime: 1, Cgroup: "/sys/fs/cgroup/../../../mnt"},
		"relative":         {PID: 1 << 22, StartTime: 1, Cgroup: "sys/fs/cgroup/x"},
		"all of them":      {PID: 1 << 22, StartTime: 1, Cgroup: "/sys/fs/cgroup"},
		"no such cgroup":   {PID: 1 << 22, StartTime: 1, Cgroup: "/sys/fs/cgroup/storebeat-no-such-cgroup"},
		"holds this guard": {PID: 1 << 22, StartTime: 1, Cgroup: "/sys/fs/cgroup/unified"},
	} {
		if err := h.Validate(); err == nil {
			t.Errorf("%s: %v is accepted", name, h)
		}
	}
	eachFreezer(t, func(t *testing.T, cgroup string) {
		if err := start(t, exec.Command("sleep", "1000"), cgroup).Validate(); err != nil {
			t.Error(err)
		}
	})
}

func TestNewCgroup(t *testing.T) {
	dir := newCgroup(t)
	root, name := filepath.Dir(dir), filepath.Base(dir)
	if again, err := NewCgroup(root, name); err != nil || again != dir {
		t.Errorf("an empty cgroup is not used again: %q, %v", again, err)
	}
	start(t, exec.Command("sleep", "1000"), dir)
	if _, err := NewCgroup(root, name); err == nil {
		t.Error("a cgroup that holds a process is used again")
	}
	if err := RemoveCgroup(dir); err == nil {
		t.Error("a cgroup that holds a process is removed")
	}
	for _, bad := range []string{"", ".", "..", "../x", "/x", "a/../../x"} {
		if got, err := NewCgroup(root, bad); err == nil {
			t.Errorf("name %q makes %s", bad, got)
		}
	}
	if err := RemoveCgroup(t.TempDir()); err == nil {
		t.Error("a directory that is no cgroup is removed")
	}
}

func FuzzParsePending(f *testing.F) {
	f.Add("Name:\tx\nShdPnd:\t0000000000040000\n")
	f.Add("ShdPnd:\n")
	f.Add("ShdPnd:\tfffffffffffffffff")
	f.Fuzz(func(t *testing.T, status string) {
		if got, err := parsePending(status); err != nil && got != 0 {
			t.Errorf("%d comes with error %v", got, err)
		}
	})
}

func FuzzParseProcs(f *testing.F) {
	f.Add("1\n22\n0\n")
	f.Add("-1 99999999999999999999 x")
	f.Fuzz(func(t *testing.T, text string) {
		for _, pid := range parseProcs(text) {
			if pid <= 0 {
				t.Errorf("process id %d", pid)
			}
		}
	})
}
