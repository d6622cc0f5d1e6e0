package hypervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"storebeat/agent/hypervisor/procfs"
	"storebeat/datastorehb"
)

// sighted is one process that belongs to a machine.
type sighted struct {
	Marker
	driver, runDir string
	handle         Handle
	sessionLeader  bool
}

// Scan lists every machine of the host and cluster that has a process on this
// computer, whatever its driver. Three things tell that a process belongs to a
// machine: the marker in its environment, the record in the run directory (""
// for none), and being in the session that a machine's leading process began.
// When the error is not nil the list holds what could be found, and may be
// incomplete.
func Scan(ctx context.Context, cluster uuid.UUID, host datastorehb.HostID, runDir string) ([]Found, error) {
	stats, err := processes(ctx)
	if err != nil {
		return nil, err
	}
	records, recordErr := recordsOf(cluster, host, runDir)
	sessions, members := map[int]sighted{}, map[int]sighted{}
	for _, r := range records {
		stat, ok := stats[r.handle.PID]
		if !ok || stat.Start != r.handle.StartTime {
			continue
		}
		sessions[r.handle.PID] = r
		if !stat.Dead() {
			members[r.handle.PID] = r // it may lead no session: another daemon gave birth to it
		}
	}
	for pid, stat := range stats {
		if _, recorded := members[pid]; recorded {
			continue // the record is newer than the environment
		}
		if s, ok := sight(stat); ok && s.Cluster == cluster && s.Host == host {
			members[pid] = s
			if _, known := sessions[pid]; s.sessionLeader && !known {
				sessions[pid] = s
			}
		}
	}
	for pid, stat := range stats {
		leader, ok := sessions[stat.Session]
		if _, known := members[pid]; ok && !known && !stat.Dead() {
			leader.handle = Handle{PID: pid, StartTime: stat.Start, Cgroup: leader.handle.Cgroup}
			leader.sessionLeader = pid == stat.Session
			members[pid] = leader
		}
	}
	found := group(members, records)
	if runDir == "" {
		// Without records nobody can tell.
		for i := range found {
			found[i].Newborn = false
		}
	}
	return found, recordErr
}

// processes reads the state of every process.
func processes(ctx context.Context) (map[int]procfs.Stat, error) {
	pids, err := procfs.Pids()
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	stats := make(map[int]procfs.Stat, len(pids))
	for _, pid := range pids {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("scan /proc for machines: %w", err)
		}
		if stat, err := procfs.ReadStat(pid); err == nil {
			stats[pid] = stat
		}
	}
	return stats, nil
}

// sight looks for the marker in one process. Processes of other users, and
// those that end meanwhile, are no machines of ours.
func sight(stat procfs.Stat) (sighted, bool) {
	if stat.Dead() {
		return sighted{}, false
	}
	env, err := procfs.Environ(stat.PID)
	if err != nil {
		return sighted{}, false
	}
	marker, err := ParseMarker(lookup(env, EnvMachine))
	if err != nil {
		return sighted{}, false
	}
	return sighted{
		Marker:        marker,
		driver:        lookup(env, EnvDriver),
		runDir:        lookup(env, EnvRun),
		handle:        Handle{PID: stat.PID, StartTime: stat.Start, Cgroup: lookup(env, EnvCgroup)},
		sessionLeader: stat.Session == stat.PID,
	}, true
}

// recordsOf returns what the run directory says of the cluster's machines on
// the host. The recorded processes may be gone.
func recordsOf(cluster uuid.UUID, host datastorehb.HostID, runDir string) ([]sighted, error) {
	if runDir == "" {
		return nil, nil
	}
	records, err := readRecords(runDir)
	var out []sighted
	for _, r := range records {
		marker, parseErr := ParseMarker(r.Marker)
		if parseErr == nil && marker.Cluster == cluster && marker.Host == host {
			out = append(out, sighted{Marker: marker, driver: r.Driver, runDir: runDir, handle: r.Handle})
		}
	}
	return out, err
}

// Alive tells whether the process that the handle names still has threads. It
// is not fooled by another process that got the same id.
func Alive(h Handle) bool {
	stat, err := procfs.ReadStat(h.PID)
	if err != nil {
		// Only the kernel's word that it is gone counts.
		return !errors.Is(err, procfs.ErrGone)
	}
	return stat.Start == h.StartTime && !stat.Dead()
}

// group makes one Found of all processes with the same marker.
func group(members map[int]sighted, records []sighted) []Found {
	byMarker := map[Marker][]sighted{}
	for _, s := range members {
		byMarker[s.Marker] = append(byMarker[s.Marker], s)
	}
	recorded := map[Marker]Handle{}
	for _, r := range records {
		recorded[r.Marker] = r.handle
	}
	found := []Found{} // not nil: an empty list is an answer
	for marker, members := range byMarker {
		leader, known := recorded[marker]
		found = append(found, assemble(members, leader, known))
	}
	slices.SortFunc(found, func(a, b Found) int { return strings.Compare(a.Marker.String(), b.Marker.String()) })
	return found
}

// assemble picks the leading process: the recorded one; without a record (the
// agent died before it could write it) the oldest one that leads a session.
func assemble(members []sighted, leader Handle, recorded bool) Found {
	slices.SortFunc(members, func(a, b sighted) int {
		return cmp.Or(cmp.Compare(a.handle.StartTime, b.handle.StartTime), cmp.Compare(a.handle.PID, b.handle.PID))
	})
	at := slices.IndexFunc(members, func(s sighted) bool {
		if recorded {
			return s.handle.PID == leader.PID && s.handle.StartTime == leader.StartTime
		}
		return s.sessionLeader
	})
	f := Found{Leaderless: at < 0, Newborn: !recorded}
	if at < 0 {
		at = 0
	}
	lead := members[at]
	f.Marker, f.Driver, f.RunDir, f.Handle = lead.Marker, lead.driver, lead.runDir, lead.handle
	for i, m := range members {
		if i != at {
			f.Others = append(f.Others, m.handle)
		}
	}
	return f
}

func lookup(env []string, name string) string {
	for _, e := range env {
		if value, ok := strings.CutPrefix(e, name+"="); ok {
			return value
		}
	}
	return ""
}

// FindDriver is Scan for the machines of one driver.
func FindDriver(ctx context.Context, driver string, cluster uuid.UUID, host datastorehb.HostID, runDir string) ([]Found, error) {
	found, err := Scan(ctx, cluster, host, runDir)
	return slices.DeleteFunc(found, func(f Found) bool { return f.Driver != driver }), err
}
