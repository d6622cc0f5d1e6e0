package freeze

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"storebeat/agent/hypervisor/procfs"
)

// signalProcessGroup is PIDFD_SIGNAL_PROCESS_GROUP of Linux 6.9.
const signalProcessGroup = 1 << 2

// open returns a file descriptor that stands for the machine's leading process
// and for no later one with the same id: the start time is read after the
// descriptor was made, so it can only match if the descriptor is of our process.
func (h Handle) open(flags int) (int, procfs.Stat, error) {
	fd, err := pidfdOpen(h.PID, flags)
	if err != nil {
		return -1, procfs.Stat{}, err
	}
	stat, err := procfs.ReadStat(h.PID)
	if err == nil && stat.Start != h.StartTime {
		err = ErrGone
	}
	if err != nil {
		unix.Close(fd)
		return -1, procfs.Stat{}, goneOr(err, "read", h.PID)
	}
	return fd, stat, nil
}

func pidfdOpen(pid, flags int) (int, error) {
	fd, err := unix.PidfdOpen(pid, flags)
	// EINVAL and ENOENT are what kernels say of an id that only a process group bears.
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return -1, ErrGone
	}
	if err != nil {
		return -1, fmt.Errorf("open process %d: %w", pid, err)
	}
	return fd, nil
}

// goneOr turns all ways of saying "no such process" into ErrGone.
func goneOr(err error, doing string, pid int) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, ErrGone) || errors.Is(err, procfs.ErrGone) || errors.Is(err, unix.ESRCH) {
		return ErrGone
	}
	return fmt.Errorf("%s process %d: %w", doing, pid, err)
}

// signalGroup signals the process group that the machine's leading process
// leads, or that process alone if it leads none.
func (h Handle) signalGroup(signal unix.Signal) error {
	fd, stat, err := h.open(0)
	if errors.Is(err, ErrGone) {
		return h.signalOrphans(signal)
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	err = h.signalBy(fd, stat.Group == h.PID, signal)
	if err == nil && signal == unix.SIGSTOP {
		h.stopThreads()
	}
	return goneOr(err, "signal process group of", h.PID)
}

// signalBy signals a process by its descriptor, or the whole group that it leads.
func (h Handle) signalBy(fd int, leads bool, signal unix.Signal) error {
	if !leads {
		return unix.PidfdSendSignal(fd, signal, nil, 0)
	}
	err := unix.PidfdSendSignal(fd, signal, nil, signalProcessGroup)
	if errors.Is(err, unix.EINVAL) {
		// An older kernel. The descriptor doesn't keep the id from being reused,
		// but for that our process must end and all ids go round within this line.
		err = unix.Kill(-h.PID, signal)
	}
	return err
}

// stopThreads stops the leading process by each of its threads, if one of them
// waits in the kernel: the kernel may leave a process's signal to that very one,
// which does not take it before its I/O returns, while the others go on. Whichever
// takes the signal first stops all. SIGCONT takes back what is left of it.
func (h Handle) stopThreads() {
	threads, err := threadsOf(h.PID)
	if err != nil || threads.blocked == 0 || threads.runnable+threads.sleeping == 0 {
		return
	}
	tasks, err := procfs.Tasks(h.PID)
	if err != nil {
		return
	}
	for _, tid := range tasks {
		_ = unix.Tgkill(h.PID, tid, unix.SIGSTOP) // one that has ended needs no signal; one that runs on is seen
	}
}

// signalOrphans signals the processes that a leading process, reaped by now,
// left in its group. The kernel does not give the id away while they live.
func (h Handle) signalOrphans(signal unix.Signal) error {
	if _, err := procfs.ReadStat(h.PID); !errors.Is(err, procfs.ErrGone) {
		// Another process bears the id by now, so the group was empty before.
		if err == nil {
			return ErrGone
		}
		return goneOr(err, "read", h.PID)
	}
	pids, err := (&groups{}).members(h.orphan)
	if err != nil {
		return err
	}
	result := ErrGone
	for _, pid := range pids {
		err := h.signalOrphan(pid, signal)
		if errors.Is(result, ErrGone) || err != nil && !errors.Is(err, ErrGone) {
			result = err
		}
	}
	return result
}

func (h Handle) signalOrphan(pid int, signal unix.Signal) error {
	fd, err := pidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	stat, err := procfs.ReadStat(pid)
	if err != nil {
		return goneOr(err, "read", pid)
	}
	if !h.orphan(stat) {
		return ErrGone
	}
	return goneOr(unix.PidfdSendSignal(fd, signal, nil, 0), "signal", pid)
}

// orphan tells whether a process belongs to the group that the machine's
// leading process led, given that the leading process is gone.
func (h Handle) orphan(stat procfs.Stat) bool {
	return stat.Group == h.PID && stat.PID != h.PID && stat.Start >= h.StartTime && !stat.Dead()
}

// signalMember signals a process if it is a member of the cgroup still when a
// descriptor holds on to it.
func signalMember(dir string, pid int, signal unix.Signal) error {
	fd, err := pidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	inside, err := holds(dir, pid)
	if err != nil {
		return err
	}
	if !inside {
		return ErrGone
	}
	return goneOr(unix.PidfdSendSignal(fd, signal, nil, 0), "signal", pid)
}

// Wait returns nil once the machine is gone, whoever its parent is, or the
// context's error.
func Wait(ctx context.Context, h Handle) error {
	if err := h.waitLeader(ctx); err != nil {
		return err
	}
	// What the leading process left behind has no descriptor to wait on.
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		if state, err := h.State(); err == nil && state == Gone {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the end of %v: %w", h, ctx.Err())
		case <-time.After(pause):
		}
	}
}

// waitLeader waits until the leading process has no thread left. The runtime's
// poller does the waiting, so it costs no thread.
func (h Handle) waitLeader(ctx context.Context) error {
	fd, _, err := h.open(unix.PIDFD_NONBLOCK)
	if errors.Is(err, ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), "pidfd")
	defer file.Close()
	defer context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Unix(1, 0)) })()
	raw, err := file.SyscallConn()
	if err != nil {
		return fmt.Errorf("wait for process %d: %w", h.PID, err)
	}
	if err := raw.Read(ended); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return fmt.Errorf("wait for the end of %v: %w", h, err)
	}
	return nil
}

// ended tells whether the process behind a descriptor has ended.
func ended(fd uintptr) bool {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(poll, 0)
	return err == nil && n > 0
}
