package hypervisortest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"storebeat/agent/hypervisor"
)

// envSpec tells the test binary to be an agent that dies.
const envSpec = "HYPERVISORTEST_SPEC"

// DieAsAgent returns at once in an ordinary test run. In the suite's helper
// process it starts a machine and is killed, without a chance to tidy up.
func DieAsAgent(d hypervisor.Driver) {
	text, ok := os.LookupEnv(envSpec)
	if !ok {
		return
	}
	if err := startAndDie(d, text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func startAndDie(d hypervisor.Driver, text string) error {
	// The machine shall not become an agent in its turn.
	if err := os.Unsetenv(envSpec); err != nil {
		return err
	}
	var spec hypervisor.Spec
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		return err
	}
	if _, err := d.Start(context.Background(), spec); err != nil {
		return err
	}
	return unix.Kill(unix.Getpid(), unix.SIGKILL)
}

// lostAgent leaves a machine that was started by an agent that is dead now.
func lostAgent(t *testing.T, r *rig) {
	t.Helper()
	text, err := json.Marshal(r.spec)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), envSpec+"="+string(text))
	out, err := cmd.CombinedOutput()
	status, ok := cmd.ProcessState.Sys().(interface{ Signaled() bool })
	if err == nil || !ok || !status.Signaled() {
		t.Fatalf("the agent that was to die: %v: %s", err, out)
	}
}
