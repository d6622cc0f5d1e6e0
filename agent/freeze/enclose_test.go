package freeze

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// sleeper starts a process that shares the test's cgroup.
func sleeper(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

// frozenIn has a process frozen by the cgroup that it is in.
func frozenIn(t *testing.T, pid int, cgroup string) Handle {
	t.Helper()
	h, err := Of(pid, cgroup)
	if err != nil {
		t.Fatal(err)
	}
	freezes(t, h)
	return h
}

func TestEncloseMovesOnceAndIsFoundAgain(t *testing.T) {
	root, err := FindCgroupRoot()
	if err != nil {
		t.Skip(err)
	}
	pid := sleeper(t).Process.Pid
	name := fmt.Sprintf("storebeat-test-enclose-%d", pid)
	dir, err := Enclose(root, name, pid)
	if err != nil || dir != filepath.Join(root, name) {
		t.Fatalf("enclosed in %q, %v", dir, err)
	}
	// What another one made for the process alone is used, whatever its name.
	if again, err := Enclose(root, name+"-other", pid); err != nil || again != dir {
		t.Errorf("enclosed again in %q, %v; want %q", again, err, dir)
	}
	h := frozenIn(t, pid, dir)
	if err := h.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := Wait(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	if err := RemoveCgroup(dir); err != nil {
		t.Error(err)
	}
}

func TestEncloseWithoutRoot(t *testing.T) {
	if dir, err := Enclose("", "any", sleeper(t).Process.Pid); err != nil || dir != "" {
		t.Errorf("enclosed in %q, %v; want weak freeze", dir, err)
	}
}

func TestEncloseWhatIsGone(t *testing.T) {
	root, err := FindCgroupRoot()
	if err != nil {
		t.Skip(err)
	}
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("storebeat-test-gone-%d", os.Getpid())
	if dir, err := Enclose(root, name, cmd.Process.Pid); err == nil {
		t.Errorf("a process that is gone was enclosed in %q", dir)
	}
	if _, err := os.Stat(filepath.Join(root, name)); !os.IsNotExist(err) {
		t.Errorf("the cgroup is left behind: %v", err)
	}
}

func TestCgroupPath(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "0::/\n": "/", "9:name=systemd:/x\n0::/machine.slice/a b.scope/libvirt\n": "/machine.slice/a b.scope/libvirt",
		"0::/../x\n": "", "0::x\n": "",
	} {
		if got := cgroupPath(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// libvirt puts the threads of a machine into cgroups of threads, below one that
// holds the process.
func TestEncloseFindsTheProcessAboveItsThreads(t *testing.T) {
	root, err := FindCgroupRoot()
	if err != nil {
		t.Skip(err)
	}
	pid := sleeper(t).Process.Pid
	dir, err := NewCgroup(root, fmt.Sprintf("storebeat-test-threads-%d", pid))
	if err != nil {
		t.Fatal(err)
	}
	threads := filepath.Join(dir, "emulator")
	t.Cleanup(func() {
		_ = (Handle{PID: pid, StartTime: 1, Cgroup: dir}).Kill()
		for _, d := range []string{threads, dir} {
			eventually(t, "the cgroup is empty", func() bool { return os.Remove(d) == nil })
		}
	})
	if err := os.Mkdir(threads, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, w := range [][3]string{{threads, "cgroup.type", "threaded"}, {dir, procsFile, fmt.Sprint(pid)}, {threads, "cgroup.threads", fmt.Sprint(pid)}} {
		if err := writeCgroup(w[0], w[1], w[2]); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := Enclose(root, "storebeat-test-other", pid); err != nil || got != dir {
		t.Fatalf("enclosed in %q, %v; want %q", got, err, dir)
	}
	thaws(t, frozenIn(t, pid, dir))
}
