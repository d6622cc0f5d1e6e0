package freeze

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Enclose finds or makes a cgroup that holds one running process and nothing
// else, and returns its directory. A cgroup that somebody else has made for the
// process, such as libvirt, is used as it is; a process that shares its cgroup
// is moved to a new one of the given name below root. The process should be
// stopped: a child that it begets meanwhile would stay behind.
//
// "" and no error means that root is "" and the process has no cgroup of its
// own: it is frozen weakly.
func Enclose(root, name string, pid int) (string, error) {
	if dir, ok := ownCgroup(pid); ok {
		return dir, nil
	}
	if root == "" {
		return "", nil
	}
	dir, err := NewCgroup(root, name)
	if err != nil {
		return "", err
	}
	if err := writeCgroup(dir, procsFile, strconv.Itoa(pid)); err != nil {
		return "", errors.Join(err, RemoveCgroup(dir))
	}
	return dir, nil
}

// ownCgroup finds the smallest cgroup that holds all threads of the process and
// no other process.
func ownCgroup(pid int) (string, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", false
	}
	for _, mount := range []string{cgroupMounts, filepath.Join(cgroupMounts, "unified")} {
		if onCgroup2(mount) != nil {
			continue
		}
		// The cgroup of the first thread may be one of threads only.
		for at := cgroupPath(string(text)); at != "" && at != "/"; at = filepath.Dir(at) {
			dir := filepath.Join(mount, at)
			if _, err := os.ReadFile(filepath.Join(dir, procsFile)); errors.Is(err, unix.EOPNOTSUPP) {
				continue
			}
			pids, err := processesIn(dir)
			return dir, err == nil && len(pids) == 1 && pids[0] == pid && checkCgroup(dir) == nil
		}
	}
	return "", false
}

// cgroupPath finds the cgroup v2 in /proc/PID/cgroup: the line with hierarchy 0.
func cgroupPath(text string) string {
	for line := range strings.Lines(text) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok && filepath.Clean(path) == path && strings.HasPrefix(path, "/") {
			return path
		}
	}
	return ""
}
