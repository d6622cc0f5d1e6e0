package hypervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/uuid"

	"storebeat/agent/hypervisor/procfs"
)

// UnseenError says that processes could not be looked at, most likely because
// they wait for storage inside the kernel, and that nobody can tell whether they
// belong to a machine. It is no sign that a machine has none.
type UnseenError struct {
	Processes []string    // each with its name and what kept it from being looked at
	Machines  []uuid.UUID // whose they may be; none: anybody's
}

func (e *UnseenError) Error() string {
	whose := "a machine of this host"
	if len(e.Machines) > 0 {
		var names []string
		for _, vm := range e.Machines {
			names = append(names, vm.String())
		}
		whose = "machine " + strings.Join(names, " or ")
	}
	return fmt.Sprintf("nobody can tell whether these belong to %s: %s; mend the storage that they wait for, or end them", whose, strings.Join(e.Processes, ", "))
}

// Concerns reports whether a machine may have a process that was not seen.
func (e *UnseenError) Concerns(vm uuid.UUID) bool {
	return len(e.Machines) == 0 || slices.Contains(e.Machines, vm)
}

// byCgroup finds out about the processes that could not be looked at by where
// they are: the cgroup of a machine holds that machine and nothing else, and in
// which one a process is the kernel says without waiting for storage.
func (s *survey) byCgroup() {
	known := slices.Concat(s.records, slices.Collect(maps.Values(s.members)))
	for pid := range maps.Clone(s.unseen) {
		path, err := procfs.Cgroup(pid)
		if err != nil {
			delete(s.unseen, pid)
			s.miss(pid, err)
			continue
		}
		at := slices.IndexFunc(known, func(m sighted) bool { return m.handle.Includes(path) })
		if at >= 0 {
			s.add(s.stats[pid], known[at])
			continue
		}
		s.confine(pid, path)
	}
}

// confine notes that a process is in the cgroup of a machine of which nothing
// else is known, or leaves out one that is in another host's.
func (s *survey) confine(pid int, path string) {
	for element := range strings.SplitSeq(path, "/") {
		if host, i, ok := parseCgroupName(element); ok && host == s.host {
			s.confined[pid] = i
		} else if ok {
			delete(s.unseen, pid)
		}
	}
}

// doubt returns an error if processes that could not be looked at may belong to a
// machine of which none was found.
func (s *survey) doubt(runDir string, found []Found) error {
	if len(s.unseen) == 0 {
		return nil
	}
	suspects, err := s.suspects(runDir)
	if err != nil {
		return &UnseenError{Processes: append(s.describe(slices.Collect(maps.Keys(s.unseen))), err.Error())}
	}
	e := &UnseenError{}
	pids := map[int]bool{}
	for i, of := range suspects {
		if len(of) == 0 || slices.ContainsFunc(found, func(f Found) bool { return f.VM == i.vm && f.Generation == i.generation }) {
			continue
		}
		e.Machines = append(e.Machines, i.vm)
		for _, pid := range of {
			pids[pid] = true
		}
	}
	if len(pids) == 0 {
		return nil
	}
	e.Processes = s.describe(slices.Collect(maps.Keys(pids)))
	return e
}

func (s *survey) describe(pids []int) (texts []string) {
	slices.Sort(pids)
	for _, pid := range pids {
		texts = append(texts, fmt.Sprintf("%s (%v)", s.stats[pid].Name, s.unseen[pid]))
	}
	return texts
}

// suspects returns for each machine that may have them the processes that could
// not be looked at. A machine that was started here and has not ended for good
// has a directory in the run directory. If its record names a cgroup, all of it
// is in there.
func (s *survey) suspects(runDir string) (map[instance][]int, error) {
	out := map[instance][]int{}
	if runDir == "" {
		return nil, errors.New("there is no run directory that says which machines were started here")
	}
	entries, err := os.ReadDir(runDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the machines that were started here: %w", err)
	}
	for _, entry := range entries {
		if i, ok := parseInstance(entry.Name()); ok {
			out[i] = s.suspectsOf(i, filepath.Join(runDir, entry.Name()))
		}
	}
	return out, nil
}

// suspectsOf returns those that may belong to the machine with this directory.
func (s *survey) suspectsOf(i instance, dir string) (pids []int) {
	since, open := recordedSince(filepath.Join(dir, recordFile))
	for pid := range s.unseen {
		in, confined := s.confined[pid]
		if confined && in == i || !confined && open && s.stats[pid].Start >= since {
			pids = append(pids, pid)
		}
	}
	return pids
}

// recordedSince reads from a record whether its machine may have processes outside
// a cgroup of its own, and since when. Without a record nobody can tell.
func recordedSince(path string) (start uint64, open bool) {
	data, err := readSmall(path)
	if err != nil {
		return 0, true
	}
	r, err := decodeRecord(data)
	if err != nil {
		return 0, true
	}
	boot, err := bootID()
	return r.Handle.StartTime, r.Handle.Weak() && (err != nil || r.Boot == boot)
}
