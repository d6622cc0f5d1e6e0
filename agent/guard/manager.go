package guard

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// Manager is what started the guard and starts the next one, such as systemd.
// One that restarts a guard takes its open files from it and gives them to the
// next one, which then knows all that the former did.
type Manager interface {
	// Restarts reports whether the guard is told to end because the next one is to be
	// started at once. It returns when the context ends.
	Restarts(ctx context.Context) bool
	// Keep returns once the manager holds files, which stay open for the next guard.
	Keep(files map[string]int) error
	// Kept returns what the guard before left, as descriptors that are the caller's.
	Kept() (map[string]int, error)
	// Release makes the manager close what it holds under these names.
	Release(names []string) error
}

// Systemd is systemd as the guard's manager: files lie in its file descriptor
// store, which the unit must allow (FileDescriptorStoreMax=).
type Systemd struct {
	socket string // that it listens on for notifications
	unit   string // the guard's own
}

// FindSystemd returns the systemd that has started this process as a service which
// notifies it, nil if none has.
func FindSystemd() Manager {
	s := Systemd{socket: os.Getenv("NOTIFY_SOCKET")}
	cgroups, err := os.ReadFile("/proc/self/cgroup")
	if s.socket == "" || err != nil {
		return nil
	}
	for line := range strings.Lines(string(cgroups)) {
		if unit := path.Base(strings.TrimSpace(line)); strings.HasSuffix(unit, ".service") {
			s.unit = unit
		}
	}
	if s.unit == "" {
		return nil
	}
	return s
}

// Restarts asks for the job that is being done with the unit.
func (s Systemd) Restarts(ctx context.Context) bool {
	out, err := exec.CommandContext(ctx, "systemctl", "list-jobs", "--plain", "--no-legend", s.unit).Output()
	return err == nil && hasRestart(string(out), s.unit)
}

// hasRestart reports whether a list of jobs has a restart of the unit.
func hasRestart(jobs, unit string) bool {
	for line := range strings.Lines(jobs) {
		if f := strings.Fields(line); len(f) >= 3 && f[1] == unit && f[2] == "restart" {
			return true
		}
	}
	return false
}

// barrierTime is how long systemd may take to have taken everything.
const barrierTime = time.Second

// Keep puts files into the store.
func (s Systemd) Keep(files map[string]int) error {
	for name, fd := range files {
		if err := s.notify("FDSTORE=1\nFDNAME="+name, fd); err != nil {
			return fmt.Errorf("leave %s with systemd: %w", name, err)
		}
	}
	return s.barrier()
}

// barrier returns when systemd has handled all notifications so far: it then
// closes the end of a pipe that it was sent.
func (s Systemd) barrier() error {
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("wait for systemd: %w", err)
	}
	defer r.Close()
	err = s.notify("BARRIER=1", int(w.Fd()))
	w.Close()
	if err == nil {
		err = r.SetReadDeadline(time.Now().Add(barrierTime))
	}
	if err != nil {
		return fmt.Errorf("wait for systemd: %w", err)
	}
	if _, err := r.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("systemd took nothing within %v", barrierTime)
	}
	return nil
}

// Kept takes what systemd passes to the process that it starts.
func (s Systemd) Kept() (map[string]int, error) {
	kept := map[string]int{}
	var errs []error
	for _, f := range activation.Files(true) {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3) // the file closes its own
		if err == nil {
			kept[f.Name()] = fd
		}
		errs = append(errs, err, f.Close())
	}
	return kept, errors.Join(errs...)
}

// Release empties the store.
func (s Systemd) Release(names []string) error {
	var errs []error
	for _, name := range names {
		errs = append(errs, s.notify("FDSTOREREMOVE=1\nFDNAME="+name))
	}
	return errors.Join(errs...)
}

func (s Systemd) notify(message string, files ...int) error {
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	defer unix.Close(socket)
	if err := unix.Sendmsg(socket, []byte(message), unix.UnixRights(files...), &unix.SockaddrUnix{Name: s.socket}, 0); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}
