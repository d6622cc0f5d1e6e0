package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the test binary stand for the program, also where the program
// starts itself: as guard, journal store and machine.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && slices.Contains([]string{"guard", "journal-store", "ticker"}, os.Args[1]) {
		main()
	}
	testscript.Main(m, map[string]func(){"storebeat": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setUp,
		Condition:           scriptCondition,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"status": scriptStatus, "until": scriptUntil, "mode": scriptMode, "replace": scriptReplace},
	})
}

// scriptCondition is what a script may ask for besides what testscript knows.
func scriptCondition(name string) (bool, error) {
	if name == "root" {
		return os.Geteuid() == 0, nil
	}
	return false, fmt.Errorf("there is no condition %q", name)
}

// setUp gives each script an address of its own, that nothing else uses which runs at
// the same time, here or in a demo cluster, and ends whatever it leaves behind.
func setUp(env *testscript.Env) error {
	pid, number := os.Getpid(), 100+int(scripts.Add(1)%150)
	env.Setenv("ADDRESS", fmt.Sprintf("127.%d.%d.%d", 1+pid>>8&0x7f, pid&0xff, number))
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("GORACE", "atexit_sleep_ms=0") // under the race detector every process sleeps for a second at its end
	env.Setenv("UUID", uuid.NewString())      // a fixed one would name the cgroup of another run's machine
	env.Defer(func() { endAll(env.WorkDir) })
	return nil
}

// scripts counts the scripts.
var scripts atomic.Int32

// endAll kills every process whose command line names the folder: agents, guards
// and machines of one script, and nothing else. Children of a machine that do not
// name the folder would be left, frozen in its cgroup: scripts run none such.
func endAll(folder string) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && strings.Contains(string(line), folder+"/") {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// scriptStatus runs a command and compares its exit status: status N COMMAND…
func scriptStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N COMMAND…")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if fmt.Sprint(got) != args[0] {
		ts.Fatalf("exit status %d, want %s", got, args[0])
	}
}

// patience is how long a script waits for something to come true. It is
// generous: other tests may be using the computer.
const patience = time.Minute

// scriptUntil repeats a command until it succeeds and its standard output
// matches: until PATTERN COMMAND…
func scriptUntil(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until PATTERN COMMAND…")
	}
	wanted := regexp.MustCompile("(?m)" + args[0])
	limit := time.After(patience)
	ticks := time.NewTicker(50 * time.Millisecond)
	defer ticks.Stop()
	for {
		err := ts.Exec(args[1], args[2:]...)
		if err == nil && wanted.MatchString(ts.ReadFile("stdout")) {
			return
		}
		select {
		case <-limit:
			ts.Fatalf("it has not printed %q within %v (%v)", args[0], patience, err)
		case <-ticks.C:
		}
	}
}

// scriptMode compares the mode of a file: mode 0600 FILE
func scriptMode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode MODE FILE")
	}
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[0] {
		ts.Fatalf("%s has mode %s, want %s", args[1], got, args[0])
	}
}

// scriptReplace changes a file: replace OLD NEW FILE
func scriptReplace(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: replace OLD NEW FILE")
	}
	content := ts.ReadFile(args[2])
	if !strings.Contains(content, args[0]) {
		ts.Fatalf("%s does not contain %q", args[2], args[0])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(strings.Replace(content, args[0], args[1], 1)), 0o644))
}
