package hypervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
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
// computer, whatever its driver. Four things tell that a process belongs to a
// machine: the marker in its environment, the record in the run directory (""
// for none), being in the session that a machine's leading process began, and
// being in a machine's own cgroup. When the error is not nil the list holds what
// could be found, and may be incomplete; an *UnseenError in its chain says which
// machines may have processes that could not be looked at.
func Scan(ctx context.Context, cluster uuid.UUID, host datastorehb.HostID, runDir string) ([]Found, error) {
	stats, err := processes(ctx)
	if err != nil {
		return nil, err
	}
	records, recordErr := recordsOf(cluster, host, runDir)
	s := &survey{cluster: cluster, host: host, stats: stats, records: records,
		sessions: map[int]sighted{}, members: map[int]sighted{}, strangers: map[int]bool{}, unseen: map[int]error{}, confined: map[int]instance{}}
	s.byRecord()
	s.byEnvironment()
	s.byCgroup()
	s.bySession()
	found := group(s.members, records)
	if runDir == "" {
		// Without records nobody can tell.
		for i := range found {
			found[i].Newborn = false
		}
	}
	return found, errors.Join(recordErr, s.doubt(runDir, found))
}

// survey is one look at all processes of this computer.
type survey struct {
	cluster uuid.UUID
	host    datastorehb.HostID
	stats   map[int]procfs.Stat
	records []sighted

	sessions  map[int]sighted  // by session, the machine that began it
	members   map[int]sighted  // processes that belong to a machine of the host
	strangers map[int]bool     // processes that carry no marker of the host's
	unseen    map[int]error    // processes that could not be looked at, and why
	confined  map[int]instance // those of unseen that are in a machine's cgroup, and in whose
}

// byRecord finds leading processes, and the sessions that they began, by what is
// recorded of them.
func (s *survey) byRecord() {
	for _, r := range s.records {
		stat, ok := s.stats[r.handle.PID]
		if !ok || stat.Start != r.handle.StartTime {
			continue
		}
		s.sessions[r.handle.PID] = r
		if !stat.Dead() {
			s.members[r.handle.PID] = r // it may lead no session: another daemon gave birth to it
		}
	}
}

// byEnvironment finds the processes that carry the marker.
func (s *survey) byEnvironment() {
	var alive []procfs.Stat
	for pid, stat := range s.stats {
		_, recorded := s.members[pid] // the record is newer than the environment
		if !recorded && !stat.Dead() && !stat.Kernel {
			alive = append(alive, stat)
		}
	}
	for pid, env := range procfs.Environs(alive) {
		if env.Err != nil {
			s.miss(pid, env.Err)
			continue
		}
		m, ok := sight(s.stats[pid], env.Words)
		if !ok || m.Cluster != s.cluster || m.Host != s.host {
			s.strangers[pid] = true
			continue
		}
		s.members[pid] = m
		if _, known := s.sessions[pid]; m.sessionLeader && !known {
			s.sessions[pid] = m
		}
	}
}

// miss notes that a process could not be looked at. One that ended meanwhile is
// no loss, and neither is one of a user whom this one may not look at: a machine
// was started by this user.
func (s *survey) miss(pid int, err error) {
	if !errors.Is(err, procfs.ErrGone) && !errors.Is(err, fs.ErrPermission) {
		s.unseen[pid] = err
	}
}

// bySession finds the processes that came from a leading one, marker or not. What
// came from one that belongs to no machine of ours belongs to none itself.
func (s *survey) bySession() {
	for pid, stat := range s.stats {
		leader, ok := s.sessions[stat.Session]
		if _, known := s.members[pid]; ok && !known && !stat.Dead() {
			s.add(stat, leader)
		}
		if _, confined := s.confined[pid]; !ok && !confined && s.strangers[stat.Session] {
			delete(s.unseen, pid)
		}
	}
}

// add counts a process among those of a machine.
func (s *survey) add(stat procfs.Stat, of sighted) {
	of.handle = Handle{PID: stat.PID, StartTime: stat.Start, Cgroup: of.handle.Cgroup}
	of.sessionLeader = stat.PID == stat.Session
	s.members[stat.PID] = of
	delete(s.unseen, stat.PID)
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
		stat, err := procfs.ReadStat(pid)
		if errors.Is(err, procfs.ErrGone) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("scan /proc for machines: %w", err)
		}
		stats[pid] = stat
	}
	return stats, nil
}

// sight looks for the marker in the environment of one process.
func sight(stat procfs.Stat, env []string) (sighted, bool) {
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
