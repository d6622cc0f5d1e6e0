package leader_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"storebeat/agent/freeze"
	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/hypervisortest"
	"storebeat/agent/hypervisor/leader"
	"storebeat/agent/hypervisor/procfs"
)

func judge(e leader.Ending) hypervisor.Exit {
	return hypervisor.Exit{Kind: hypervisor.Crashed, Detail: e.String()}
}

// script starts a shell script as a machine, held.
func script(t *testing.T, text string) (hypervisor.Spec, *leader.Process) {
	t.Helper()
	spec := hypervisortest.NewSpec(t)
	p, err := leader.Start(t.Context(), leader.Config{
		Driver: "script", Spec: spec, Argv: []string{"/bin/sh", "-c", text}, Dir: spec.DatastorePath,
		Held: true, Judge: judge,
	})
	if err != nil {
		t.Fatal(err)
	}
	return spec, p
}

func scan(t *testing.T, spec hypervisor.Spec) []hypervisor.Found {
	t.Helper()
	found, err := hypervisor.Scan(t.Context(), spec.Cluster, spec.Host, spec.RunDir)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func exists(spec hypervisor.Spec, name string) func() bool {
	return func() bool {
		_, err := os.Stat(filepath.Join(spec.DatastorePath, name))
		return err == nil
	}
}

// pidIn reads a process id that a script has written.
func pidIn(t *testing.T, spec hypervisor.Spec, name string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(spec.DatastorePath, name))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// gone does not wait for init to reap what it has inherited.
func gone(pid int) bool {
	stat, err := procfs.ReadStat(pid)
	return errors.Is(err, procfs.ErrGone) || err == nil && stat.Dead()
}

func TestEndingInWords(t *testing.T) {
	for text, want := range map[string]string{
		"exit 0":        "exited with status 0",
		"exit 5":        "exited with status 5",
		"kill -TERM $$": "signal 15",
	} {
		_, p := script(t, text)
		hypervisortest.Thaw(t, p.Handle())
		hypervisortest.Ended(t, machine{p}, hypervisor.Crashed)
		if got := p.Exit().Detail; !strings.Contains(got, want) {
			t.Errorf("%s: %q does not say %q", text, got, want)
		}
	}
}

// machine makes a process look like a machine for the suite's helpers.
type machine struct{ *leader.Process }

func (machine) Shutdown(context.Context) error  { return nil }
func (machine) Condition() hypervisor.Condition { return hypervisor.Condition{} }

// A process may outlive its leader, in a session of its own at that. It is part
// of the machine until it is gone, and Done waits for it.
func TestWhatTheLeaderLeavesBehindIsKilled(t *testing.T) {
	spec, p := script(t, `
		sleep 1000 & echo $! > child
		setsid sh -c 'echo $$ > far.tmp; mv far.tmp far; exec sleep 1000' &
		while ! test -e far; do sleep 0.01; done
		touch ready; sleep 1000`)
	hypervisortest.Thaw(t, p.Handle())
	hypervisortest.Until(t, "script is ready", exists(spec, "ready"))
	found := scan(t, spec)
	if len(found) != 1 || found[0].Leaderless || found[0].Handle != p.Handle() || len(found[0].Others) < 2 {
		t.Fatalf("found %+v", found)
	}
	child, far := pidIn(t, spec, "child"), pidIn(t, spec, "far")
	if err := unix.Kill(p.Handle().PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	hypervisortest.Ended(t, machine{p}, hypervisor.Crashed)
	if !gone(child) || !gone(far) {
		t.Errorf("left behind: child %v, far child %v", !gone(child), !gone(far))
	}
	if left := scan(t, spec); len(left) != 0 {
		t.Errorf("left behind: %+v", left)
	}
}

// A machine found without its leader is over.
func TestAdoptLeaderless(t *testing.T) {
	spec, p := script(t, `setsid sh -c 'kill -STOP $$; sleep 1000' & echo $! > child; touch ready; wait`)
	hypervisortest.Thaw(t, p.Handle())
	hypervisortest.Until(t, "script is ready", exists(spec, "ready"))
	found := scan(t, spec)
	if len(found) != 1 || len(found[0].Others) == 0 {
		t.Fatalf("found %+v", found)
	}
	// What a later agent would see had the leader died while no agent was there.
	orphan := found[0]
	orphan.Leaderless, orphan.Handle, orphan.Others = true, found[0].Others[0], nil
	adopted, err := leader.Adopt(t.Context(), orphan, judge)
	if err != nil {
		t.Fatal(err)
	}
	hypervisortest.Ended(t, machine{adopted}, hypervisor.Crashed)
	hypervisortest.Ended(t, machine{p}, hypervisor.Crashed)
	if left := scan(t, spec); len(left) != 0 {
		t.Errorf("left behind: %+v", left)
	}
}

// A program that overwrites its environment is found by its record, and its
// children by the session.
func TestFoundWithoutMarker(t *testing.T) {
	spec, p := script(t, `exec env -i /bin/sh -c 'sleep 1000 & : >ready; wait'`)
	hypervisortest.Thaw(t, p.Handle())
	hypervisortest.Until(t, "script is ready", exists(spec, "ready"))
	found := scan(t, spec)
	if len(found) != 1 || found[0].Leaderless || found[0].Driver != "script" || found[0].Marker != spec.Marker() || len(found[0].Others) != 1 {
		t.Fatalf("found %+v", found)
	}
	if found[0].Handle != p.Handle() {
		t.Errorf("found %v, want %v", found[0].Handle, p.Handle())
	}
	child := found[0].Others[0].PID
	if err := p.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !gone(child) {
		t.Error("child is left behind")
	}
}

func TestDamagedRecordIsReportedAndHidesNothing(t *testing.T) {
	spec, p := script(t, `exit 0`)
	record := filepath.Join(hypervisor.MachineDir(spec.RunDir, spec.VM, spec.Generation), "process.json")
	if err := os.WriteFile(record, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := hypervisor.Scan(t.Context(), spec.Cluster, spec.Host, spec.RunDir)
	if err == nil || !strings.Contains(err.Error(), record) {
		t.Errorf("damaged record: %v; want an error that names %s", err, record)
	}
	if len(found) != 1 || found[0].Handle != p.Handle() {
		t.Errorf("found %+v", found)
	}
	if err := p.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestAdoptWhatIsGone(t *testing.T) {
	spec, p := script(t, `exit 0`)
	found := scan(t, spec)
	if err := p.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := leader.Adopt(t.Context(), found[0], judge); !errors.Is(err, hypervisor.ErrGone) {
		t.Errorf("adopt: %v, want %v", err, hypervisor.ErrGone)
	}
	other := found[0]
	other.Handle.PID = os.Getpid()
	if _, err := leader.Adopt(t.Context(), other, judge); !errors.Is(err, hypervisor.ErrGone) {
		t.Errorf("adopt a process that got the id later: %v, want %v", err, hypervisor.ErrGone)
	}
}

func TestStopSeesEveryThread(t *testing.T) {
	_, p := script(t, `while :; do :; done`)
	hypervisortest.Thaw(t, p.Handle())
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if state, err := p.Handle().State(); err != nil || state != freeze.Frozen {
		t.Errorf("state %v, %v", state, err)
	}
	if err := p.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(t.Context()); err == nil {
		t.Error("a machine that is gone was stopped")
	}
}

// A daemon of the hypervisor's gives birth to its machines: they are not the
// agent's children, lead no session, and carry no marker if they ran before.
func TestFoundByRecordAlone(t *testing.T) {
	spec := hypervisortest.NewSpec(t)
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	h, err := freeze.Of(cmd.Process.Pid, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(hypervisor.MachineDir(spec.RunDir, spec.VM, spec.Generation), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := hypervisor.WriteRecord(spec.RunDir, spec.Marker(), "script", h); err != nil {
		t.Fatal(err)
	}
	found := scan(t, spec)
	if len(found) != 1 || found[0].Leaderless || found[0].Newborn || found[0].Handle != h || found[0].Marker != spec.Marker() {
		t.Errorf("found %+v, want process %v", found, h)
	}
}
