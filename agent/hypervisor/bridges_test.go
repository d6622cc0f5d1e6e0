package hypervisor

import (
	"os"
	"os/exec"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestBridges(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root: a network namespace of its own is needed")
	}
	runtime.LockOSThread() // for good: the thread ends with the test, and its namespace with it
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace to be had: %v", err)
	}
	for _, want := range [][]string{{}, {"sb-two"}, {"sb-one", "sb-two"}} {
		if len(want) > 0 {
			add(t, want[0], "bridge")
			add(t, "t"+want[0], "veth")
		}
		got, err := Bridges()
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("bridges %q (%v), want %q", got, err, want)
		}
	}
}

func add(t *testing.T, name, kind string) {
	t.Helper()
	if said, err := exec.Command("ip", "link", "add", name, "type", kind).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
}
