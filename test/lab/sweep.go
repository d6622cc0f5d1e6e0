package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	prefix   = "storebeat-lab-" // of every lab's directory and cgroup
	lockFile = "lock"           // in a lab's directory, locked for as long as its holder lives
)

// lockFileAt locks a file, and makes it if need be. It returns EWOULDBLOCK when
// somebody else has the lock and it is not to wait.
func lockFileAt(path string, wait bool) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

// makeDir makes a new lab's directory and locks it, after it has removed what
// labs have left whose holders are dead.
func makeDir() (dir string, lock *os.File, err error) {
	// One at a time, so that nobody takes a lab for dead that is being made.
	door, err := lockFileAt(filepath.Join(tempDir(), "storebeat-lab.lock"), true)
	if err != nil {
		return "", nil, err
	}
	defer door.Close()
	if err := sweep(); err != nil {
		return "", nil, err
	}
	dir, err = os.MkdirTemp(tempDir(), prefix)
	if err != nil {
		return "", nil, err
	}
	lock, err = lockFileAt(filepath.Join(dir, lockFile), false)
	return dir, lock, err
}

// sweep removes what is left of dead labs.
func sweep() error {
	dirs, err := filepath.Glob(filepath.Join(tempDir(), prefix+"*"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		lock, err := lockFileAt(filepath.Join(dir, lockFile), false)
		if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.ENOTDIR) {
			continue // it lives, or is none
		}
		if err != nil {
			return err
		}
		err = remove(dir)
		lock.Close()
		if err != nil {
			return fmt.Errorf("remove what is left of a dead lab: %w", err)
		}
	}
	return nil
}

// Living lists the directories of the labs on this computer whose holders live.
func Living() (dirs []string, err error) {
	all, err := filepath.Glob(filepath.Join(tempDir(), prefix+"*"))
	for _, dir := range all {
		lock, lockErr := os.Open(filepath.Join(dir, lockFile))
		if lockErr != nil {
			continue // it is being made or removed, or is none
		}
		if errors.Is(unix.Flock(int(lock.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK) {
			dirs = append(dirs, dir)
		}
		lock.Close()
	}
	return dirs, err
}

// remove ends whatever still runs of a lab and removes its cgroups and files.
func remove(dir string) error {
	root, err := cgroupMount()
	if err != nil {
		return err
	}
	cg := cgroup(filepath.Join(root, filepath.Base(dir)))
	if err := cg.end(); err != nil {
		return err
	}
	datastores, err := filepath.Glob(filepath.Join(dir, "ds*"))
	for _, d := range datastores {
		_ = unix.Unmount(d, unix.MNT_DETACH) // most are plain directories
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// patience is how long the kernel may take to do what it was told.
const patience = 20 * time.Second
