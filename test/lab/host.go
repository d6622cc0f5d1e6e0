package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"storebeat/agent/config"
	"storebeat/agent/control"
	"storebeat/datastorehb"
	"storebeat/test/faultfs"
)

// Host is one computer of a lab.
type Host struct {
	Name    string
	ID      datastorehb.HostID
	Dir     string // of its files, as they are seen from outside
	Address string // on the lab's network
	Client  *control.Client

	lab    *Lab
	cgroup cgroup

	mu      sync.Mutex
	line    *os.File // to its first process; nil while it is off
	ended   chan struct{}
	storage map[string]*faultfs.Mount // by datastore
}

func newHost(l *Lab, id datastorehb.HostID) *Host {
	h := &Host{Name: fmt.Sprintf("host%d", id), ID: id, Address: fmt.Sprintf("%s.%d", network, id), lab: l}
	h.Dir = filepath.Join(l.Dir, h.Name)
	h.Client = control.NewClient(filepath.Join(h.RunDir(), "control.sock"))
	return h
}

// RunDir is the agent's run directory, as it is seen from outside.
func (h *Host) RunDir() string { return filepath.Join(h.Dir, "run", "storebeat") }

// Config is the path of the configuration, as it is seen from outside.
func (h *Host) Config() string { return filepath.Join(h.Dir, "etc", "storebeat", "storebeat.hcl") }

// Log is the path of the agent's log.
func (h *Host) Log() string { return filepath.Join(h.Dir, "agent.log") }

// install lays out the host's files, as installation and configuration would.
func (h *Host) install(configuration string, key config.Key) error {
	for _, d := range []string{"etc/storebeat", "etc.work", "var/storebeat", "mnt"} {
		if err := os.MkdirAll(filepath.Join(h.Dir, d), 0o755); err != nil {
			return err
		}
	}
	machineID := strings.ReplaceAll(uuid.NewString(), "-", "") + "\n"
	return errors.Join(
		os.WriteFile(filepath.Join(h.Dir, "etc", "machine-id"), []byte(machineID), 0o644),
		os.WriteFile(filepath.Join(h.Dir, "etc", "hostname"), []byte(h.Name+"\n"), 0o644),
		os.WriteFile(h.Config(), []byte(configuration), 0o644),
		config.WriteKey(filepath.Join(filepath.Dir(h.Config()), "cluster.key"), key))
}

// IsOn reports whether the host is switched on.
func (h *Host) IsOn() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.line != nil
}

// PowerOn switches the host on: it boots, which takes its run directory and gives
// it a new boot id, and starts its agent.
func (h *Host) PowerOn() error {
	if h.IsOn() {
		return fmt.Errorf("switch %s on: it is on", h.Name)
	}
	if err := h.boot(); err != nil {
		return errors.Join(fmt.Errorf("switch %s on: %w", h.Name, err), h.PowerOff())
	}
	return h.StartAgent()
}

func (h *Host) boot() error {
	run, bootID := filepath.Join(h.Dir, "run"), filepath.Join(h.Dir, "boot_id")
	if err := errors.Join(os.RemoveAll(run), os.MkdirAll(h.RunDir(), 0o755), os.WriteFile(bootID, []byte(uuid.NewString()+"\n"), 0o444)); err != nil {
		return err
	}
	root, err := cgroupMount()
	if err != nil {
		return err
	}
	h.cgroup = cgroup(filepath.Join(root, filepath.Base(h.lab.Dir), h.Name))
	if err := h.cgroup.make(); err != nil {
		return err
	}
	order := bootOrder{Name: h.Name, Address: h.Address + "/24", MAC: macOf(int(h.ID)).String(), Gateway: gatewayAddress,
		Etc: filepath.Join(h.Dir, "etc"), EtcWork: filepath.Join(h.Dir, "etc.work"), Run: run, Var: filepath.Join(h.Dir, "var"),
		Mnt: filepath.Join(h.Dir, "mnt"), BootID: bootID}
	for _, d := range h.lab.Datastores {
		order.Datastores = append(order.Datastores, d.Name)
	}
	if err := h.startFirst(order); err != nil {
		return err
	}
	fds, err := h.hear()
	if err != nil {
		log, _ := os.ReadFile(h.consoleLog())
		return fmt.Errorf("%w: %s", err, log)
	}
	return h.plugIn(fds)
}

func (h *Host) consoleLog() string { return filepath.Join(h.Dir, "console.log") }

// startFirst starts the host's first process, in its namespaces and cgroup.
func (h *Host) startFirst(order bootOrder) error {
	text, err := json.Marshal(order)
	if err != nil {
		return err
	}
	self := fmt.Sprintf("/proc/%d/exe", os.Getpid()) // there even if its file is gone
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "line"), os.NewFile(uintptr(pair[1]), "line")
	defer theirs.Close()
	group, err := os.Open(string(h.cgroup))
	if err != nil {
		return errors.Join(err, ours.Close())
	}
	defer group.Close()
	console, err := os.OpenFile(h.consoleLog(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return errors.Join(err, ours.Close())
	}
	defer console.Close()
	apart := fmt.Sprint(uint64(h.ID) * 10_000_000) // seconds between the hosts' clocks: nobody may compare them (R13)
	c := exec.Command("unshare", "--cgroup", "--mount", "--propagation", "private", "--net", "--pid", "--ipc", "--uts",
		"--time", "--boottime", apart, "--monotonic", apart, "--fork", "--kill-child", "--", self)
	c.Env = append(os.Environ(), firstEnv+"="+string(text))
	c.ExtraFiles = []*os.File{theirs} // becomes lineFD
	c.Stdout, c.Stderr = console, console
	c.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd()), Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	h.lab.spawner <- func() { started <- c.Start() }
	if err := <-started; err != nil {
		return errors.Join(err, ours.Close())
	}
	h.mu.Lock()
	h.line, h.ended, h.storage = ours, make(chan struct{}), map[string]*faultfs.Mount{}
	ended := h.ended
	h.mu.Unlock()
	go func() {
		_ = c.Wait() // how it ends says nothing
		close(ended)
	}()
	return nil
}

// hear waits for the answer of the host's first process.
func (h *Host) hear() (files []*os.File, err error) {
	buf, rights := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(64*4))
	_ = unix.SetsockoptTimeval(int(h.line.Fd()), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(patience.Seconds())})
	n, length, err := receive(int(h.line.Fd()), buf, rights)
	if err != nil {
		return nil, fmt.Errorf("its first process does not answer: %w", err)
	}
	if n == 0 {
		return nil, errors.New("its first process has ended: does the program call lab.Main first?")
	}
	var a answer
	if err := json.Unmarshal(buf[:n], &a); err != nil {
		return nil, err
	}
	if a.Error != "" {
		return nil, errors.New(a.Error)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:length])
	if err != nil {
		return nil, err
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return nil, err
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "of a host"))
		}
	}
	return files, nil
}

// receive waits for a message. A socket with a time limit is one of the things whose
// waiting a signal interrupts, and Go's own signals come all the time.
func receive(socket int, buf, rights []byte) (n, length int, err error) {
	for {
		n, length, _, _, err = unix.Recvmsg(socket, buf, rights, unix.MSG_CMSG_CLOEXEC)
		if !errors.Is(err, unix.EINTR) {
			return n, length, err
		}
	}
}

// plugIn joins the host's ends of network and storage to the lab's.
func (h *Host) plugIn(files []*os.File) error {
	if len(files) != 1+len(h.lab.Datastores) {
		return fmt.Errorf("its first process sent %d devices", len(files))
	}
	if err := h.lab.Network.plugIn(int(h.ID), files[0]); err != nil {
		return err
	}
	for i, d := range h.lab.Datastores {
		m, err := faultfs.Serve(d.Dir, files[1+i])
		if err != nil {
			return err
		}
		h.mu.Lock()
		h.storage[d.Name] = m
		h.mu.Unlock()
	}
	return nil
}

// tell has the host's first process start a program.
func (h *Host) tell(order startOrder) error {
	text, err := json.Marshal(order)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.line == nil {
		return fmt.Errorf("%s is off", h.Name)
	}
	if err := unix.Send(int(h.line.Fd()), text, 0); err != nil {
		return err
	}
	_, err = h.hear()
	return err
}

// PowerOff cuts the host's power: every process ends at once, and whatever hung on
// storage is never carried out. The file server gives its locks up.
func (h *Host) PowerOff() error {
	h.mu.Lock()
	line, ended, storage := h.line, h.ended, h.storage
	h.line, h.storage = nil, nil
	h.mu.Unlock()
	if line == nil {
		return nil
	}
	h.lab.Network.unplug(int(h.ID))
	for _, m := range storage {
		m.Disconnect()
	}
	err := errors.Join(h.cgroup.end(), line.Close())
	for _, m := range storage {
		err = errors.Join(err, await(m.Ended(), "the storage of "+h.Name+" to end"), m.Err())
	}
	return errors.Join(err, await(ended, "the first process of "+h.Name+" to end"))
}

func await(done <-chan struct{}, what string) error {
	select {
	case <-done:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("waited %v for %s", patience, what)
	}
}

// Storage is the host's path to a datastore, with its faults. It is nil while the
// host is off.
func (h *Host) Storage(d Datastore) *faultfs.Mount {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.storage[d.Name]
}

// Freeze stops every process of the host, as a hypervisor pauses a virtual machine.
// Storage and network go on.
func (h *Host) Freeze() error { return h.cgroup.freeze(true) }

// Resume lets a frozen host go on.
func (h *Host) Resume() error { return h.cgroup.freeze(false) }

// LinkDown pulls the host's network cable.
func (h *Host) LinkDown() error { return h.lab.Network.carrier(int(h.ID), false) }

// LinkUp puts it back.
func (h *Host) LinkUp() error { return h.lab.Network.carrier(int(h.ID), true) }

func lockThread() { runtime.LockOSThread() }
