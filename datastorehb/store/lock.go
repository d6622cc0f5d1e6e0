package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"
)

// ErrLocked means that another process of this host has the datastore.
var ErrLocked = errors.New("datastore is in use by another process of this host")

// hostLock keeps two agents of one host from writing to one datastore. The kernel
// drops it when the last thread of its process is gone: a thread that hangs in a
// write keeps it, which is what R1 asks for.
type hostLock struct{ f *os.File }

func acquireLock(dir string, datastore uuid.UUID) (*hostLock, error) {
	if dir == "" {
		return nil, fmt.Errorf("open datastore %s: no directory for the local lock is given", datastore)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("lock datastore %s: %w", datastore, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, datastore.String()+".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock datastore %s: %w", datastore, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s holds %s; stop it, and if it is gone, a thread of it still hangs in storage I/O", ErrLocked, holder(f), f.Name())
		}
		return nil, fmt.Errorf("lock datastore %s: flock %s: %w", datastore, f.Name(), err)
	}
	if err := sign(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock datastore %s: %w", datastore, err)
	}
	return &hostLock{f}, nil
}

// sign leaves the process in the file, for whoever is refused.
func sign(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt(fmt.Appendf(nil, "process %d (%s)\n", os.Getpid(), filepath.Base(os.Args[0])), 0)
	return err
}

func holder(f *os.File) string {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 200))
	if text := strings.TrimSpace(string(b)); err == nil && text != "" {
		return text
	}
	return "an unknown process"
}

func (l *hostLock) release() { l.f.Close() }
