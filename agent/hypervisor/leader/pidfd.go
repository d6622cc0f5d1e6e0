package leader

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/procfs"
)

// pidfd holds on to one process, whatever becomes of its id.
type pidfd struct {
	file *os.File
	conn syscall.RawConn
}

// openPidfd opens the process that the handle names. The start time is compared
// after opening: from then on the descriptor can't mean another process.
func openPidfd(h hypervisor.Handle) (*pidfd, error) {
	fd, err := unix.PidfdOpen(h.PID, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil, hypervisor.ErrGone
	}
	if err != nil {
		return nil, fmt.Errorf("open a pidfd of process %d (needs Linux 5.10 or newer): %w", h.PID, err)
	}
	file := os.NewFile(uintptr(fd), "pidfd")
	conn, err := file.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	stat, err := procfs.ReadStat(h.PID)
	if err != nil || stat.Start != h.StartTime {
		return nil, errors.Join(hypervisor.ErrGone, file.Close())
	}
	return &pidfd{file: file, conn: conn}, nil
}

// wait returns once no thread of the process is left, parked in the poller
// meanwhile.
func (p *pidfd) wait() error {
	return p.conn.Read(func(fd uintptr) bool {
		set := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(set, 0)
		return err == nil && n == 1
	})
}

// signal sends the signal; a process that is gone makes no error.
func (p *pidfd) signal(s unix.Signal) error {
	var sendErr error
	err := p.conn.Control(func(fd uintptr) { sendErr = unix.PidfdSendSignal(int(fd), s, nil, 0) })
	// Control fails only on a closed descriptor, and it is closed after the end.
	if err != nil || errors.Is(sendErr, unix.ESRCH) {
		return nil
	}
	return sendErr
}

func (p *pidfd) close() { _ = p.file.Close() }
