package freeze

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"storebeat/agent/hypervisor/procfs"
)

// ErrGone means that nothing is left of the machine that could be frozen.
var ErrGone = errors.New("machine has no process any more")

// Handle names the processes of one machine. It is plain data: it can be stored
// and handed to another process.
type Handle struct {
	PID       int    `json:"pid"`
	StartTime uint64 `json:"start_time"`       // field 22 of /proc/PID/stat: tells a reused process id apart
	Cgroup    string `json:"cgroup,omitempty"` // cgroup v2 directory that holds this machine and nothing else; "" means weak freeze
}

// Of returns the handle of a process that is alive now.
func Of(pid int, cgroup string) (Handle, error) {
	stat, err := procfs.ReadStat(pid)
	if err != nil {
		return Handle{}, fmt.Errorf("read start time of process %d: %w", pid, err)
	}
	return Handle{PID: pid, StartTime: stat.Start, Cgroup: cgroup}, nil
}

// Weak tells whether the machine can only be frozen by SIGSTOP.
func (h Handle) Weak() bool { return h.Cgroup == "" }

// String names the machine's leading process and its cgroup for errors and logs.
func (h Handle) String() string {
	if h.Weak() {
		return fmt.Sprintf("process %d (weak freeze)", h.PID)
	}
	return fmt.Sprintf("process %d in %s", h.PID, h.Cgroup)
}

// Validate refuses handles whose freezing would stop something else: this very
// process, the first process, or whatever a path outside the cgroup file
// systems may be.
func (h Handle) Validate() error {
	if h.PID <= 1 {
		return fmt.Errorf("process id %d names no machine", h.PID)
	}
	if h.StartTime == 0 {
		return fmt.Errorf("process %d: start time is missing; read it from field 22 of /proc/%d/stat", h.PID, h.PID)
	}
	if err := h.reachesUs(); err != nil {
		return err
	}
	if h.Weak() {
		return nil
	}
	return checkCgroup(h.Cgroup)
}

// reachesUs refuses a handle whose freezing would freeze the freezer.
func (h Handle) reachesUs() error {
	if h.PID == os.Getpid() || h.PID == unix.Getpgrp() {
		return fmt.Errorf("process %d is this process or leads its process group; start the machine in a group of its own", h.PID)
	}
	if h.Weak() {
		return nil
	}
	inside, err := holds(h.Cgroup, os.Getpid())
	if inside {
		return fmt.Errorf("cgroup %s holds this process; it must hold the machine and nothing else", h.Cgroup)
	}
	return err
}

// Freeze issues the freeze and waits for nothing. Doing it again does no harm.
// A machine whose cgroup can't be frozen, or that is not in it, is stopped by
// SIGSTOP as well. The error is ErrGone when there was nothing to freeze, not
// even a zombie.
func (h Handle) Freeze() error {
	if h.Weak() {
		return h.signalGroup(unix.SIGSTOP)
	}
	err := writeCgroup(h.Cgroup, freezeFile, "1")
	members, listErr := processesIn(h.Cgroup)
	if err == nil && slices.Contains(members, h.PID) {
		return nil
	}
	// The leading process is elsewhere, or gone while others live on.
	stopErr := h.signalGroup(unix.SIGSTOP)
	if errors.Is(stopErr, ErrGone) && len(members) > 0 {
		stopErr = nil
	}
	if errors.Is(stopErr, ErrGone) && listErr == nil {
		return ErrGone
	}
	return errors.Join(ignoreMissing(err), listErr, stopErr)
}

// ignoreMissing drops the error of a cgroup that has been removed: it held nothing.
func ignoreMissing(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// Thaw lets the machine go on: it undoes the SIGSTOP a machine is born with,
// and then the freezing of its cgroup.
func (h Handle) Thaw() error {
	if h.Weak() {
		return h.signalGroup(unix.SIGCONT)
	}
	members, err := h.signalMembers(unix.SIGCONT)
	if err != nil {
		return err
	}
	if !slices.Contains(members, h.PID) {
		err := h.signalGroup(unix.SIGCONT)
		if err != nil && (!errors.Is(err, ErrGone) || len(members) == 0) {
			return err
		}
	}
	return writeCgroup(h.Cgroup, freezeFile, "0")
}

// Kill sends SIGKILL to every process of the machine, frozen or not. It is true
// only once State says Gone: a thread that hangs in the kernel stays.
func (h Handle) Kill() error {
	if h.Weak() {
		return h.signalGroup(unix.SIGKILL)
	}
	err := ignoreMissing(writeCgroup(h.Cgroup, killFile, "1"))
	// A kernel before 5.14 has no such file. There the processes are killed one
	// by one, frozen so that none can fork in between.
	if _, statErr := os.Stat(filepath.Join(h.Cgroup, killFile)); err != nil || statErr != nil {
		_ = writeCgroup(h.Cgroup, freezeFile, "1")
		_, err = h.signalMembers(unix.SIGKILL)
	}
	// The leading process may have been left out of its cgroup by mistake.
	if groupErr := h.signalGroup(unix.SIGKILL); groupErr != nil && !errors.Is(groupErr, ErrGone) {
		err = errors.Join(err, groupErr)
	}
	return err
}

// signalMembers signals every process of the cgroup and returns their ids.
func (h Handle) signalMembers(signal unix.Signal) ([]int, error) {
	members, err := processesIn(h.Cgroup)
	for _, pid := range members {
		if memberErr := signalMember(h.Cgroup, pid, signal); memberErr != nil && !errors.Is(memberErr, ErrGone) {
			err = errors.Join(err, memberErr)
		}
	}
	return members, err
}
