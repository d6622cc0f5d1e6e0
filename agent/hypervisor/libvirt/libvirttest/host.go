// Package libvirttest runs real libvirtds for tests, several on one computer:
// each in a mount namespace with its own /run, state and configuration, as on a
// host of its own. It also writes domains that tick.
package libvirttest

import (
	_ "embed" // the script that a daemon is started by
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"
)

//go:embed libvirtd.sh
var script string

// limit is how long the first answer may take: libvirt asks QEMU what it can do.
const limit = time.Minute

// Host is one libvirtd.
type Host struct {
	URI string
	dir string
	id  string

	port int // the first of sixteen that guests are received at

	mu      sync.Mutex
	process *os.Process
	ended   chan struct{}
}

// cache is what libvirt knows of QEMU, found out once for all hosts of a test binary.
var cache = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "libvirtcache") })

// first keeps two hosts from finding out the same at the same time.
var first sync.Mutex

// hosts counts those of a test binary. Each has ports of its own: all are on one computer, and a libvirtd
// knows only of its own guests which ports they wait at.
var hosts atomic.Int32

// firstPort is below those that the kernel gives to connections.
const firstPort = 21000

// sideBySide is how many tests run at a time: they wait most of the time.
const sideBySide = "4"

// Main runs the tests of a package, and removes what all hosts share.
func Main(m *testing.M) int {
	flag.Parse()
	if err := flag.Set("test.parallel", sideBySide); err != nil {
		panic(err)
	}
	status := m.Run()
	Clean()
	return status
}

// Clean removes what all hosts of a test binary share.
func Clean() {
	if dir, err := cache(); err == nil {
		_ = os.RemoveAll(dir)
	}
}

// Need skips a test where no libvirtd can be run.
func Need(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("not root: libvirtd needs a mount namespace of its own")
	}
	for _, program := range []string{"libvirtd", "virsh", "qemu-system-x86_64", "unshare"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
}

// New starts a libvirtd that ends with the test, and waits for its first answer.
func New(t testing.TB) *Host {
	t.Helper()
	Need(t)
	// Not t.TempDir: it holds the test's name, and socket paths are short.
	dir, err := os.MkdirTemp("", "lv")
	if err != nil {
		t.Fatal(err)
	}
	h := &Host{dir: dir, id: uuid.NewString(), port: firstPort + 16*int(hosts.Add(1)), URI: "qemu+unix:///system?socket=" + dir + "/sock/libvirt-sock"}
	t.Cleanup(func() {
		h.Kill(t)
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "log/libvirtd.log"))
			t.Logf("libvirtd: %s", log)
		}
		_ = os.RemoveAll(dir)
	})
	h.Start(t)
	return h
}

// RunDir is the host's /run, as seen from outside.
func (h *Host) RunDir() string { return filepath.Join(h.dir, "run") }

// Hook has a shell script as the hook of the host's libvirt from now on.
func (h *Host) Hook(t testing.TB, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(h.dir, "hook"), []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// Try is Virsh for a command that may fail.
func (h *Host) Try(args ...string) (string, error) { return h.try(args...) }

// Start starts the daemon, for the first time or again, and waits until it answers.
func (h *Host) Start(t testing.TB) {
	t.Helper()
	h.Launch(t)
	h.Await(t)
}

// Launch starts the daemon and does not wait for its first answer.
func (h *Host) Launch(t testing.TB) {
	t.Helper()
	shared, err := cache()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "-c", script, "libvirtd.sh", h.dir, h.id, shared, strconv.Itoa(h.port))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	log, err := os.OpenFile(filepath.Join(h.dir, "start.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	h.mu.Lock()
	h.process, h.ended = cmd.Process, ended
	h.mu.Unlock()
}

// Await waits until the daemon answers.
func (h *Host) Await(t testing.TB) {
	t.Helper()
	first.Lock()
	defer first.Unlock()
	for deadline := time.Now().Add(limit); ; {
		_, err := h.try("domcapabilities")
		if err == nil {
			_, err = h.try("version", "--daemon")
		}
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(filepath.Join(h.dir, "start.log"))
			t.Fatalf("libvirtd does not answer within %v: %s", limit, said)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Kill ends the daemon by SIGKILL; its domains go on.
func (h *Host) Kill(t testing.TB) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.process == nil {
		return
	}
	_ = h.process.Kill() // it may have ended already
	<-h.ended
	h.process = nil
}

// Signal sends a signal to the daemon, such as SIGSTOP.
func (h *Host) Signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := unix.Kill(h.process.Pid, s); err != nil {
		t.Fatal(err)
	}
}

// Virsh runs a command as an operator on that host does.
func (h *Host) Virsh(t testing.TB, args ...string) string {
	t.Helper()
	out, err := h.try(args...)
	if err != nil {
		t.Fatalf("virsh %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

func (h *Host) try(args ...string) (string, error) {
	cmd := exec.Command("virsh", append([]string{"--quiet", "--connect", h.URI}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// Domain returns the XML of a guest that ticks: its disk is a boot sector's
// (package bootsector), its console is written to tick.log beside the disk, and
// what is sent to the socket reaches the guest as commands.
func Domain(name string, vm uuid.UUID, disk, socket string) string {
	return fmt.Sprintf(`<domain type='qemu'>
  <name>%s</name>
  <uuid>%s</uuid>
  <memory unit='KiB'>2048</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc-i440fx-7.2'>hvm</type></os>
  <features><acpi/></features>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>preserve</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='none' error_policy='stop'/>
      <source file='%s'/>
      <target dev='hda' bus='ide'/>
    </disk>
    <controller type='usb' model='none'/>
    <serial type='unix'>
      <source mode='bind' path='%s'/>
      <log file='%s' append='on'/>
      <target port='0'/>
    </serial>
    <panic model='isa'/>
    <memballoon model='none'/>
  </devices>
</domain>
`, name, vm, disk, socket, filepath.Join(filepath.Dir(disk), "tick.log"))
}
