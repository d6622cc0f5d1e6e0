package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process is what a process of a host is for.
type Process string

// The processes of a host.
const (
	Agent      Process = "agent"
	Guard      Process = "guard"
	Hypervisor Process = "hypervisor" // of one machine
)

// StartAgent starts the host's agent, as its unit would.
func (h *Host) StartAgent() error {
	if err := h.tell(startOrder{Argv: []string{h.lab.binary, "agent"}, Log: h.Log()}); err != nil {
		return fmt.Errorf("start the agent of %s: %w", h.Name, err)
	}
	return nil
}

// StopAgent ends the agent in good order: its machines go into custody.
func (h *Host) StopAgent(ctx context.Context) error { return h.end(ctx, Agent, nil, syscall.SIGTERM) }

// KillAgent ends the agent alone, without a word.
func (h *Host) KillAgent(ctx context.Context) error { return h.end(ctx, Agent, nil, syscall.SIGKILL) }

// KillGuard ends the guard alone, without a word.
func (h *Host) KillGuard(ctx context.Context) error { return h.end(ctx, Guard, nil, syscall.SIGKILL) }

// KillHypervisor ends the process that runs a machine on the host.
func (h *Host) KillHypervisor(ctx context.Context, m *Machine) error {
	return h.end(ctx, Hypervisor, m, syscall.SIGKILL)
}

// Signal sends a signal to processes of the host.
func (h *Host) Signal(p Process, m *Machine, s syscall.Signal) error {
	pids, err := h.PIDs(p, m)
	if err != nil {
		return err
	}
	if len(pids) == 0 {
		return fmt.Errorf("%s has no %s", h.Name, p)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("send %v to process %d of %s: %w", s, pid, h.Name, err)
		}
	}
	return nil
}

// end sends a signal and waits until the processes are gone, and with them their sockets
// and locks.
func (h *Host) end(ctx context.Context, p Process, m *Machine, s syscall.Signal) error {
	old, err := h.PIDs(p, m)
	if err != nil {
		return err
	}
	if err := h.Signal(p, m, s); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*patience)
	defer cancel()
	for slices.ContainsFunc(old, func(pid int) bool { return !ended(pid) }) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("end the %s of %s: it was told to and has not, as when it hangs on storage: %w", p, h.Name, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// ended reports whether a process has let go of everything. One that is dying has no
// words any more long before it closes its files; a zombie has closed them, once it has
// no other thread.
func ended(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return true
	}
	_, state, _ := strings.Cut(string(stat), ") ") // none of our programs has this in its name
	return len(threads) == 1 && (strings.HasPrefix(state, "Z") || strings.HasPrefix(state, "X"))
}

// PIDs lists the host's processes of one kind, of one machine or, with nil, of
// all, as they are numbered outside of it.
func (h *Host) PIDs(p Process, m *Machine) (found []int, err error) {
	pids, err := h.cgroup.pids()
	for _, pid := range pids {
		text, readErr := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if readErr != nil || len(text) == 0 {
			continue // it has ended
		}
		if words := strings.Split(string(text), "\x00"); h.isProcess(words, p, m) {
			found = append(found, pid)
		}
	}
	return found, err
}

func (h *Host) isProcess(words []string, p Process, m *Machine) bool {
	if p != Hypervisor {
		return len(words) > 1 && words[0] == h.lab.binary && words[1] == string(p)
	}
	return strings.Contains(words[0], "qemu-system") && (m == nil || slices.Contains(words, m.VM.String()))
}

// Stopped reports whether none of the host's machines can execute: the cgroup of
// each is told to freeze, so no thread of it returns to its program. A thread that
// waits for storage does so on.
func (h *Host) Stopped() (bool, error) {
	pids, err := h.PIDs(Hypervisor, nil)
	for _, pid := range pids {
		if !toldToFreeze(pid) {
			return false, err
		}
	}
	return true, err
}

func toldToFreeze(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if gone(err) || errors.Is(err, unix.ESRCH) {
		return true // it has ended meanwhile
	}
	root, mountErr := cgroupMount()
	if err != nil || mountErr != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			told, err := os.ReadFile(filepath.Join(root, path, "cgroup.freeze"))
			return err == nil && strings.TrimSpace(string(told)) == "1"
		}
	}
	return false
}
