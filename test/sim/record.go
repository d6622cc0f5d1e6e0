package sim

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"storebeat/agent/core"
	clusterrecord "storebeat/agent/core/cluster"
	"storebeat/datastorehb"
)

// wallEvery is how often a core is told the time of day.
const wallEvery = 10 * time.Second

// revision is one revision of the cluster record on a datastore.
type revision struct {
	record  *clusterrecord.Record
	payload []byte
	by      datastorehb.Writer
}

// founding is the first revision as the host's configuration would make it.
func (h *host) founding(cfg *core.Config) *clusterrecord.Record {
	r := clusterrecord.Record{Timing: cfg.Timing, Machines: h.w.setup.Policy}
	for _, m := range cfg.Hosts {
		address := netip.AddrFrom4([4]byte{10, 0, 0, byte(m.ID)})
		r.Members = append(r.Members, clusterrecord.Member{ID: m.ID, Name: m.Name, Heartbeat: netip.AddrPortFrom(address, 7480), Management: netip.AddrPortFrom(address, 7481)})
	}
	for _, d := range cfg.Datastores {
		r.Datastores = append(r.Datastores, clusterrecord.Datastore{ID: d.ID, Name: d.Name})
	}
	return clusterrecord.Founding(r)
}

// recall gives a new core what the host's disk kept of the record.
func (h *host) recall(cfg *core.Config) {
	cfg.Founding = h.founding(cfg)
	if h.kept == nil || h.recordless {
		return
	}
	r, err := clusterrecord.Decode(h.kept, h.levels)
	if err != nil {
		h.w.fail("format", "%s kept a cluster record that can't be decoded: %v", h.name, err)
		return
	}
	cfg.Record = &r
	if h.timing == h.w.setup.Timing { // or else its agent has been started under another revision
		cfg.Timing = r.Timing
	}
}

// tellTime gives the core the time of day, now and every few seconds.
func (a *agent) tellTime() {
	a.observe(core.WallClock{At: a.h.wall()})
	a.h.w.after(wallEvery, a.at(a.tellTime))
}

func (s *store) newestRevision() (newest revision, ok bool) {
	for _, r := range s.revisions {
		if !ok || r.record.Revision > newest.record.Revision {
			newest, ok = r, true
		}
	}
	return newest, ok
}

// claimRevision is the exclusive create. The numbers of this register may have
// gaps: a datastore that was away gets only the newest revision.
func (s *store) claimRevision(r *clusterrecord.Record, payload []byte, by datastorehb.Writer) datastorehb.Outcome {
	newest, ok := s.newestRevision()
	if ok && s.create(newest.record.Revision, 0, r.Revision) == datastorehb.ClaimLost {
		return datastorehb.ClaimLost
	}
	s.revisions = append(s.revisions, revision{r, payload, by})
	s.w.note(s.name(), "host %d claims revision %d of the cluster record: %s", by.Host, r.Revision, r.Change)
	s.w.seeRevision(r)
	return datastorehb.ClaimWon
}

// seeRevision checks that of each number one revision of the cluster record counts at most.
func (w *World) seeRevision(r *clusterrecord.Record) {
	votes := 0
	for _, s := range w.stores {
		for _, held := range s.revisions {
			if held.record.Sum() == r.Sum() && voter(r, s) {
				votes++
			}
		}
	}
	if votes < r.Majority() {
		return
	}
	if old := w.counted[r.Revision]; old != nil && old.Sum() != r.Sum() && !w.forced {
		w.fail("record", "of revision %d of the cluster record both %q and %q count", r.Revision, old.Change, r.Change)
	}
	if w.counted[r.Revision] == nil {
		w.countedAt[r.Revision] = w.now
		w.meetMembers(w.newestCounted(), r)
	}
	w.counted[r.Revision] = r
}

// maintenanceGrace is how long a host may not have read that it is in maintenance:
// it reads the record once a minute, and whenever it hears of a newer one.
const maintenanceGrace = 70 * time.Second

// stopsLong is how long a stop may go on after what asked for it is over.
const stopsLong = time.Minute

// leaves reports whether a revision that is in force, or was until lately, has a
// machine move away from its host.
func (w *World) leaves(p *process) bool {
	oldest := uint64(0)
	for n, at := range w.countedAt {
		if w.now-at > stopsLong {
			oldest = max(oldest, n)
		}
	}
	for _, s := range w.stores {
		for _, r := range s.revisions {
			if r.record.Revision < oldest {
				continue
			}
			if !p.h.memberOf(r.record) {
				return true
			}
			for _, m := range r.record.Members {
				if m.ID == p.h.id && m.Maintenance != nil && m.Maintenance.Move || m.ID != p.h.id && slices.Contains(m.Returning, p.vm) {
					return true
				}
			}
		}
	}
	return false
}

// seeMaintenance checks I3: nothing starts on a host in maintenance.
func (w *World) seeMaintenance(p *process) {
	number, since := uint64(0), time.Duration(0)
	for n := range w.counted {
		number = max(number, n)
	}
	for n := number; n > 0 && w.counted[n] != nil && w.counted[n].InMaintenance(p.h.id); n-- {
		since = w.countedAt[n]
	}
	if since > 0 && w.now-since > maintenanceGrace {
		w.fail("I3", "%s starts on %s, which is in maintenance since %s", w.nameOf(p.vm), p.h.name, w.stamp(since))
	}
}

func voter(r *clusterrecord.Record, s *store) bool {
	for _, v := range r.Voters {
		if v == s.id {
			return true
		}
	}
	return false
}

// withhold says why a host can't read the cluster record, or nothing.
func (h *host) withhold() string {
	if h.recordless {
		return "input/output error"
	}
	return ""
}

func (a *agent) readRecord(e core.ReadRecord) {
	s := a.h.w.storeOf(e.Datastore)
	var err error
	o := core.RecordRead{State: datastorehb.Absent}
	a.issue(e.Datastore, "catalogue", operation{what: "cluster record", refuse: a.h.withhold, effect: func() {
		if r, ok := s.newestRevision(); ok {
			o.State, o.Record, o.Payload = datastorehb.Valid, r.record, r.payload
			_, err = clusterrecord.Decode(r.payload, a.h.levels)
		}
	}}, func(span core.Span) {
		if o.Newer = errors.Is(err, clusterrecord.ErrNewer); err != nil && span.Err == "" {
			span.Err = err.Error()
		}
		if o.Span = span; span.Err != "" {
			o.State, o.Record, o.Payload = datastorehb.Unreadable, nil, nil
		}
		a.observe(o)
	})
}

func (a *agent) claimRecord(e core.ClaimRecord) {
	s := a.h.w.storeOf(e.Datastore)
	if again, err := clusterrecord.Decode(e.Payload, a.h.levels); err != nil || again.Sum() != e.Record.Sum() {
		a.h.w.fail("format", "%s: revision %d of the cluster record: %v", a.h.name, e.Record.Revision, err)
	}
	o := core.RecordClaimed{Record: e.Record, Payload: e.Payload}
	a.issue(e.Datastore, "catalogue", operation{what: fmt.Sprintf("claim of revision %d", e.Record.Revision), claims: true, outcome: &o.Outcome,
		refuse: func() string { return a.spend(s, false) },
		effect: func() {
			o.Outcome = a.claimed(s, register{kind: "record"}, s.claimRevision(e.Record, e.Payload, a.self))
		}}, func(span core.Span) {
		o := o
		if o.Span = span; span.Err != "" {
			o.Outcome = datastorehb.ClaimFailed
		}
		a.observe(o)
	})
}

// order gives a user's wish about the cluster to a host's agent.
func (w *World) order(h *host, c core.ClusterCommand) uint64 {
	w.commands++
	c.ID = w.commands
	w.note("user", "asks %s: cluster %s %v", h.name, c.Verb, c.Set)
	if a := h.agent; a != nil {
		c.At = h.wall()
		w.after(w.latency(), a.at(func() { a.observe(c) }))
	}
	return c.ID
}

// tidyUp is an operator who ends every pause and every maintenance that a master knows of, and
// brings back all hosts and datastores that were removed, again and again.
func (w *World) tidyUp() {
	for _, h := range w.hosts {
		if h.agent == nil || h.agent.core == nil || !h.agent.core.Leading() {
			continue
		}
		acting := h.agent.core.Acting()
		if acting == nil {
			continue
		}
		if acting.Pause != nil {
			w.order(h, core.ClusterCommand{Verb: core.ClusterResume})
		}
		w.bringBack(h, acting)
		for _, m := range acting.Members {
			if m.Maintenance != nil {
				w.order(h, core.ClusterCommand{Verb: core.ClusterMaintenance, Host: m.Name})
			}
		}
	}
	w.after(3*time.Second, w.tidyUp)
}

// disagreement says why the cluster record is not at rest: every agent acts on one
// revision, every datastore holds it, and nothing is left to be done for it.
func (w *World) disagreement() string {
	var r *clusterrecord.Record
	for _, h := range w.hosts {
		if h.agent == nil || h.agent.core == nil || w.twins[h.id] {
			continue
		}
		acting := h.agent.core.Acting()
		if acting == nil && r == nil {
			continue
		}
		if r != nil && (acting == nil || acting.Sum() != r.Sum()) {
			return h.name + " acts on another revision of the cluster record"
		}
		r = acting
	}
	if r == nil {
		return ""
	}
	if r.Pause != nil {
		return "the cluster is paused"
	}
	if why := w.missing(r); why != "" {
		return why
	}
	for i := range r.Members {
		if m := &r.Members[i]; m.Maintenance != nil || len(m.Returning) > 0 {
			return m.Name + " is in maintenance, or machines are to return there"
		}
	}
	for _, s := range w.stores {
		if newest, ok := s.newestRevision(); !s.tampered && (!ok || newest.record.Sum() != r.Sum()) {
			return s.name() + " does not hold the newest revision of the cluster record"
		}
	}
	return ""
}
