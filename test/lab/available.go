package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"storebeat/test/faultfs"
)

// programs are what a lab calls.
var programs = []string{"unshare", "ip", "qemu-system-x86_64"}

// Available returns why this computer can have no lab, or nil.
func Available() error {
	if err := faultfs.Available(); err != nil {
		return fmt.Errorf("a lab needs root and FUSE: %w", err)
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			return fmt.Errorf("a lab needs %s: run scripts/install-dependencies: %w", p, err)
		}
	}
	kinds, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return err
	}
	if !strings.Contains(string(kinds), "\toverlay\n") {
		return errors.New("a lab needs overlay file systems, which this kernel does not have")
	}
	if err := unix.Access("/dev/net/tun", unix.R_OK|unix.W_OK); err != nil {
		return fmt.Errorf("a lab needs /dev/net/tun: %w", err)
	}
	_, err = cgroupMount()
	return err
}

// cgroupMount finds the cgroup v2 hierarchy.
func cgroupMount() (string, error) {
	for _, at := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var fs unix.Statfs_t
		if err := unix.Statfs(at, &fs); err == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
			return at, nil
		}
	}
	return "", errors.New("a lab needs cgroup v2, which is mounted neither at /sys/fs/cgroup nor at /sys/fs/cgroup/unified")
}

// tempDir holds the directories of all labs.
func tempDir() string { return filepath.Clean(os.TempDir()) }
