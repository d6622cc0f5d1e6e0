package procfs

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// envHalfDead makes the test binary a process whose leading thread is dead.
const envHalfDead = "PROCFSTEST_HALF_DEAD"

func TestMain(m *testing.M) {
	if os.Getenv(envHalfDead) != "" {
		// TestMain runs on the leading thread unless the scheduler moved it; the
		// loop in the test below waits for the outcome, whichever thread it hits.
		halfDie()
	}
	os.Exit(m.Run())
}

func init() {
	if os.Getenv(envHalfDead) != "" {
		// Init runs on the leading thread, and locked there stays on it.
		runtime.LockOSThread()
	}
}

func halfDie() {
	go func() { select {} }()
	go func() {
		for {
			time.Sleep(time.Hour)
		}
	}()
	time.Sleep(10 * time.Millisecond)
	_, _, _ = unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
}

func TestHalfDeadProcessIsNotDead(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), envHalfDead+"=yes")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	until(t, func() bool { stat, err := ReadStat(pid); return err == nil && stat.State == 'Z' })
	stat, err := ReadStat(pid)
	if err != nil || stat.Dead() || stat.Threads < 2 {
		t.Errorf("a zombie with threads is %+v, dead %v, %v", stat, stat.Dead(), err)
	}
	env := Environs([]Stat{stat})[pid]
	if env.Err != nil || !slices.Contains(env.Words, envHalfDead+"=yes") {
		t.Errorf("its environment is not found: %+v", env)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { stat, err := ReadStat(pid); return err == nil && stat.Dead() })
	_ = cmd.Wait()
	if _, err := ReadStat(pid); !errors.Is(err, ErrGone) {
		t.Errorf("a reaped process: %v, want %v", err, ErrGone)
	}
}

func TestStopped(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", "kill -STOP $$; exit 3")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { stopped, err := Stopped(cmd.Process.Pid); return err == nil && stopped })
	if err := cmd.Process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 3 {
		t.Errorf("exit status %d, want 3", code)
	}
	if stopped, err := Stopped(cmd.Process.Pid); stopped || !errors.Is(err, ErrGone) {
		t.Errorf("a process that is gone is stopped: %v, %v", stopped, err)
	}
}

func until(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the condition has not come true in time")
		}
	}
}

const line = "77 (a (b) c) S 1 2 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 9 0 123456 1 2 3"

func TestParseStat(t *testing.T) {
	got, err := parseStat([]byte(line))
	want := Stat{PID: 77, Name: "a (b) c", State: 'S', Parent: 1, Group: 2, Session: 3, Threads: 9, Start: 123456, CPU: 110 * time.Millisecond, Resident: 2 * uint64(os.Getpagesize())}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	own, err := ReadStat(os.Getpid())
	if err != nil || own.PID != os.Getpid() || own.Parent != os.Getppid() || own.Group != unix.Getpgrp() {
		t.Errorf("own state is %+v, %v", own, err)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte(line))
	f.Add([]byte("1 ()"))
	f.Add([]byte(") (1"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		if stat, err := parseStat(data); err != nil && stat != (Stat{}) {
			t.Errorf("%q gives %+v along with %v", data, stat, err)
		}
	})
}

func TestKernelThreadsAreTold(t *testing.T) {
	kernel := "29 (rcu_tasks) I 2 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 23 0 0"
	if stat, err := parseStat([]byte(kernel)); err != nil || !stat.Kernel || stat.Start != 23 {
		t.Errorf("%+v, %v", stat, err)
	}
	if stat, err := ReadStat(os.Getpid()); err != nil || stat.Kernel {
		t.Errorf("this process: %+v, %v", stat, err)
	}
}
