package freeze

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"storebeat/test/stuck"
)

// The test binary runs itself as a machine with several threads that count in
// a shared file, which shows from outside whether they execute.
const counterEnv = "STOREBEAT_TEST_COUNTER"

func TestMain(m *testing.M) {
	stuck.Main()
	if path := os.Getenv(counterEnv); path != "" {
		countForEver(path)
	}
	os.Exit(m.Run())
}

const countingThreads = 3

func countForEver(path string) {
	words := mapCounters(path)
	for i := range countingThreads {
		go func() {
			runtime.LockOSThread()
			for {
				atomic.AddUint64(&words[i], 1)
				time.Sleep(time.Millisecond / 4)
			}
		}()
	}
	select {}
}

func mapCounters(path string) *[countingThreads]uint64 {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	mem, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	return (*[countingThreads]uint64)(unsafe.Pointer(&mem[0]))
}

// counter is a machine that counts.
type counter struct {
	Handle
	path string
}

func startCounter(t *testing.T, cgroup string) counter {
	t.Helper()
	path := filepath.Join(t.TempDir(), "counter")
	if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), counterEnv+"="+path)
	return counter{start(t, cmd, cgroup), path}
}

// count sums up what all threads have counted.
func (c counter) count(t *testing.T) uint64 {
	t.Helper()
	data, err := os.ReadFile(c.path)
	if err != nil {
		t.Fatal(err)
	}
	var sum uint64
	for i := range countingThreads {
		sum += binary.NativeEndian.Uint64(data[8*i:])
	}
	return sum
}

// advance waits until the machine has counted on.
func (c counter) advance(t *testing.T) {
	t.Helper()
	from := c.count(t)
	eventually(t, fmt.Sprintf("%v counts on from %d", c.Handle, from), func() bool { return c.count(t) > from+20 })
}

// start runs a command as a machine, in its own session and process group, and
// ends it with the test.
func start(t *testing.T, cmd *exec.Cmd, cgroup string) Handle {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if cgroup != "" {
		dir, err := os.Open(cgroup)
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		cmd.SysProcAttr.UseCgroupFD = true
		cmd.SysProcAttr.CgroupFD = int(dir.Fd())
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h, err := Of(cmd.Process.Pid, cgroup)
	if err != nil {
		t.Fatal(err)
	}
	reaped := make(chan struct{})
	go func() { defer close(reaped); _ = cmd.Wait() }()
	t.Cleanup(func() {
		_ = h.Kill()
		<-reaped
		eventually(t, "end of "+h.String(), func() bool { s, err := h.State(); return err == nil && s == Gone })
	})
	return h
}

func shell(script string) *exec.Cmd { return exec.Command("/bin/sh", "-c", script) }

// eachFreezer runs a test with a weak freeze and with a cgroup, if there is one.
func eachFreezer(t *testing.T, test func(t *testing.T, cgroup string)) {
	t.Run("weak", func(t *testing.T) { test(t, "") })
	t.Run("cgroup", func(t *testing.T) { test(t, newCgroup(t)) })
}

// newCgroup makes a cgroup for one machine of a test.
func newCgroup(t *testing.T) string {
	t.Helper()
	root, err := FindCgroupRoot()
	if err != nil {
		t.Skip("needs root and cgroup v2: ", err)
	}
	parent := fmt.Sprintf("storebeat-test-%d", os.Getpid())
	dir, err := NewCgroup(root, fmt.Sprintf("%s/%d", parent, cgroups.Add(1)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		eventually(t, "removal of "+dir, func() bool { return RemoveCgroup(dir) == nil })
		_ = RemoveCgroup(filepath.Join(root, parent)) // the last one succeeds
	})
	return dir
}

var cgroups atomic.Uint64

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// freezes freezes a machine and waits until it is seen frozen.
func freezes(t *testing.T, h Handle) {
	t.Helper()
	if err := h.Freeze(); err != nil {
		t.Fatal(err)
	}
	becomes(t, h, Frozen)
}

// thaws thaws a machine and waits until it is seen running.
func thaws(t *testing.T, h Handle) {
	t.Helper()
	if err := h.Thaw(); err != nil {
		t.Fatal(err)
	}
	becomes(t, h, Running)
}

func becomes(t *testing.T, h Handle, want State) {
	t.Helper()
	eventually(t, fmt.Sprintf("%v is %v", h, want), func() bool {
		got, err := h.State()
		if err != nil {
			t.Fatal(err)
		}
		return got == want
	})
}
