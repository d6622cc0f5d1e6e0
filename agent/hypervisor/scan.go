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
	recorded       bool
}

// Scan lists every machine of the host and cluster that has a process on this
// computer, whatever its driver, by the marker in the processes' environment
// and by the records in the run directory ("" for none). When the error is not
// nil the list holds what could be found, and may be incomplete.
func Scan(ctx context.Context, cluster uuid.UUID, host datastorehb.HostID, runDir string) ([]Found, error) {
	pids, err := procfs.Pids()
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var all []sighted
	for _, pid := range pids {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("scan /proc for machines: %w", err)
		}
		if s, ok := sight(pid); ok && s.Cluster == cluster && s.Host == host {
			all = append(all, s)
		}
	}
	records, recordErr := recordsOf(cluster, host, runDir)
	return group(all, records), recordErr
}

// sight reads one process. Processes of other users, and those that end
// meanwhile, are no machines of ours.
func sight(pid int) (sighted, bool) {
	env, err := procfs.Environ(pid)
	if err != nil {
		return sighted{}, false
	}
	value := lookup(env, EnvMachine)
	if value == "" {
		return sighted{}, false
	}
	marker, err := ParseMarker(value)
	if err != nil {
		return sighted{}, false
	}
	stat, err := procfs.ReadStat(pid)
	if err != nil || stat.Dead() {
		return sighted{}, false
	}
	return sighted{
		Marker:        marker,
		driver:        lookup(env, EnvDriver),
		runDir:        lookup(env, EnvRun),
		handle:        Handle{PID: pid, StartTime: stat.Start, Cgroup: lookup(env, EnvCgroup)},
		sessionLeader: stat.Session == pid,
	}, true
}

// recordsOf returns the recorded leading processes that are still alive, and,
// with a zero process id, those that are gone: their machines are leaderless.
func recordsOf(cluster uuid.UUID, host datastorehb.HostID, runDir string) ([]sighted, error) {
	if runDir == "" {
		return nil, nil
	}
	records, err := readRecords(runDir)
	var out []sighted
	for _, r := range records {
		marker, parseErr := ParseMarker(r.Marker)
		if parseErr != nil || marker.Cluster != cluster || marker.Host != host {
			continue
		}
		s := sighted{Marker: marker, driver: r.Driver, runDir: runDir, handle: r.Handle, recorded: true}
		if !Alive(r.Handle) {
			s.handle = Handle{}
		}
		out = append(out, s)
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
func group(all, records []sighted) []Found {
	byMarker := map[Marker][]sighted{}
	for _, s := range all {
		byMarker[s.Marker] = append(byMarker[s.Marker], s)
	}
	recorded := map[Marker]sighted{}
	for _, r := range records {
		recorded[r.Marker] = r
		if r.handle.PID != 0 && !slices.ContainsFunc(byMarker[r.Marker], func(s sighted) bool { return s.handle.PID == r.handle.PID }) {
			byMarker[r.Marker] = append(byMarker[r.Marker], r)
		}
	}
	var found []Found
	for marker, members := range byMarker {
		leader, known := recorded[marker]
		found = append(found, assemble(members, leader.handle.PID, known))
	}
	slices.SortFunc(found, func(a, b Found) int { return strings.Compare(a.Marker.String(), b.Marker.String()) })
	return found
}

// assemble picks the leading process: the recorded one; without a record (the
// agent died before it could write it) the oldest one that leads a session.
func assemble(members []sighted, leaderPID int, recorded bool) Found {
	slices.SortFunc(members, func(a, b sighted) int {
		return cmp.Or(cmp.Compare(a.handle.StartTime, b.handle.StartTime), cmp.Compare(a.handle.PID, b.handle.PID))
	})
	at := slices.IndexFunc(members, func(s sighted) bool {
		if recorded {
			return s.handle.PID == leaderPID
		}
		return s.sessionLeader
	})
	f := Found{Leaderless: at < 0}
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
