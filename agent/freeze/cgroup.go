package freeze

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	cgroupMounts = "/sys/fs/cgroup" // where every distribution mounts cgroup file systems
	freezeFile   = "cgroup.freeze"
	eventsFile   = "cgroup.events"
	procsFile    = "cgroup.procs"
	killFile     = "cgroup.kill"
)

// machinesUnit is the cgroup that systemd delegates to the machines where the
// package's units are installed (packaging/systemd). It outlives agent and guard,
// and systemd leaves alone what is below it.
const machinesUnit = "machine.slice/storebeat-machines.service"

// FindCgroupRoot returns a directory of a cgroup v2 hierarchy in which this
// process can make cgroups that can be frozen: the one that systemd delegates to
// machines, or else the hierarchy's root. An error says why there is none;
// machines are frozen weakly then.
func FindCgroupRoot() (string, error) {
	var reasons []string
	for _, mount := range []string{cgroupMounts, filepath.Join(cgroupMounts, "unified")} {
		for _, root := range []string{filepath.Join(mount, machinesUnit), mount} {
			err := probeRoot(root)
			if err == nil {
				return root, nil
			}
			if root == mount || !errors.Is(err, os.ErrNotExist) {
				reasons = append(reasons, err.Error())
			}
		}
	}
	return "", fmt.Errorf("no usable cgroup v2 hierarchy, machines get a weak freeze: %s", strings.Join(reasons, "; "))
}

// probeRoot makes a cgroup, looks for its freezer and removes it again. Its name
// carries the process id, so that two probes don't meet.
func probeRoot(root string) error {
	if err := onCgroup2(root); err != nil {
		return err
	}
	dir := filepath.Join(root, fmt.Sprintf("storebeat-probe-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make a cgroup: %w", err)
	}
	defer os.Remove(dir)
	for _, file := range []string{freezeFile, procsFile} {
		if err := unix.Access(filepath.Join(dir, file), unix.W_OK); err != nil {
			return fmt.Errorf("write %s: %w", filepath.Join(dir, file), err)
		}
	}
	return nil
}

func onCgroup2(dir string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("look at %s: %w", dir, err)
	}
	if fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return fmt.Errorf("%s is no cgroup v2 file system", dir)
	}
	return nil
}

// checkCgroup refuses anything but a cgroup that can be frozen. The path is
// judged before it is touched: a path on a datastore might hang for ever.
func checkCgroup(dir string) error {
	if filepath.Clean(dir) != dir || !strings.HasPrefix(dir, cgroupMounts+"/") {
		return fmt.Errorf("cgroup %q is not a clean path below %s", dir, cgroupMounts)
	}
	if err := onCgroup2(dir); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, freezeFile)); err != nil {
		return fmt.Errorf("cgroup can't be frozen: %w", err)
	}
	return nil
}

// NewCgroup makes the cgroup of one machine below root and returns its
// directory. The name may have several elements. A cgroup of that name that
// holds no process is used again; one that does is refused.
func NewCgroup(root, name string) (string, error) {
	if !filepath.IsLocal(name) || name == "." {
		return "", fmt.Errorf("cgroup name %q must be a path below its root", name)
	}
	dir := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", fmt.Errorf("make cgroup: %w", err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("make cgroup: %w", err)
	}
	pids, err := processesIn(dir)
	if err != nil {
		return "", err
	}
	if len(pids) > 0 {
		return "", fmt.Errorf("cgroup %s holds process %d already; end it, or give the machine another cgroup", dir, pids[0])
	}
	if err := checkCgroup(dir); err != nil {
		return "", err
	}
	// A birth in a frozen cgroup would hang the one who gives birth.
	if err := writeCgroup(dir, freezeFile, "0"); err != nil {
		return "", err
	}
	return dir, nil
}

// Includes reports whether a process is in the machine's cgroup, or below it, by
// its path as /proc/PID/cgroup has it: from the root of the hierarchy, wherever
// that is mounted. It is false for weak freeze.
func (h Handle) Includes(path string) bool {
	for _, mount := range []string{cgroupMounts, filepath.Join(cgroupMounts, "unified")} {
		own, ok := strings.CutPrefix(h.Cgroup, mount)
		if ok && len(own) > 1 && (path == own || strings.HasPrefix(path, own+"/")) {
			return true
		}
	}
	return false
}

// RemoveCgroup removes a cgroup that holds no process any more. That it is gone
// already is no error.
func RemoveCgroup(dir string) error {
	if !strings.HasPrefix(filepath.Clean(dir), cgroupMounts+"/") {
		return fmt.Errorf("cgroup %q is not below %s", dir, cgroupMounts)
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove cgroup %s: %w", dir, err)
	}
	return nil
}

// writeCgroup writes a cgroup's control file. The kernel obeys within the write.
func writeCgroup(dir, file, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(value)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("write %s to %s of cgroup: %w", value, file, err)
	}
	return nil
}

// cgroupFrozen returns whether a cgroup has been told to freeze, and whether
// the kernel has frozen all that is in it.
func cgroupFrozen(dir string) (told, done bool) {
	order, err := os.ReadFile(filepath.Join(dir, freezeFile))
	if err != nil || strings.TrimSpace(string(order)) != "1" {
		return false, false
	}
	events, err := os.ReadFile(filepath.Join(dir, eventsFile))
	return true, err == nil && strings.Contains("\n"+string(events), "\nfrozen 1\n")
}

// processesIn lists the processes of a cgroup and of those below it. A cgroup
// that does not exist has none; one that can't be read is an error, because to
// take it for empty would be to take its machine for gone.
func processesIn(dir string) ([]int, error) {
	pids, err := readProcs(dir)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return pids, unlessMissing(err)
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		below, err := processesIn(filepath.Join(dir, entry.Name()))
		if err != nil {
			return nil, err
		}
		pids = append(pids, below...)
	}
	return pids, nil
}

func readProcs(dir string) ([]int, error) {
	text, err := os.ReadFile(filepath.Join(dir, procsFile))
	if errors.Is(err, unix.EOPNOTSUPP) {
		// A threaded cgroup: its processes are listed by the one it belongs to.
		return nil, nil
	}
	if err != nil {
		return nil, unlessMissing(err)
	}
	return parseProcs(string(text)), nil
}

// unlessMissing passes on all errors but those of a cgroup that is removed.
func unlessMissing(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return fmt.Errorf("list processes of cgroup: %w", err)
}

func parseProcs(text string) []int {
	var pids []int
	for field := range strings.FieldsSeq(text) {
		// Zero stands for a process that this namespace can't name.
		if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// holds tells whether a process is in the cgroup.
func holds(dir string, pid int) (bool, error) {
	pids, err := processesIn(dir)
	return slices.Contains(pids, pid), err
}
