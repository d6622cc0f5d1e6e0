package core

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/core/cluster"
	"storebeat/datastorehb"
	"storebeat/partition"
)

// record is what this host knows of the cluster record. The host acts on the
// newest revision that it has found anywhere, whether that counts yet or not: the
// record is order and not right, and an order that comes to nothing is taken back
// with the next revision.
type record struct {
	acting      *cluster.Record // the revision that this host acts on, nil while it knows none
	founding    *cluster.Record // the first one, as the configuration file would make it
	silent      []string        // settings of which the file says nothing
	sum         uint64          // of acting, or else of founding
	taken       uint64          // sum of the revision whose members this host goes by
	outcast     string          // why this host takes no part, "" when it does
	differences []string        // of the configuration file from acting
	standing    cluster.Standing
	rivalry     uint64 // the number for which rivals were journalled last
	outdated    string // why this program can't read the newest revision, "" when it can
	wanted      uint64 // the highest revision that another host was seen to act on

	level uint16 // at which this host writes, as the shell was told; 0 before that

	wall   time.Time // as it was at wallAt; zero while it is not known
	wallAt datastorehb.Instant

	change    *change          // that this host makes as master
	queue     []ClusterCommand // that wait for its end
	repair    datastorehb.Instant
	nextOwn   datastorehb.Instant // not before, a change of the master's own
	pauseSaid cluster.Pause       // the pause that was journalled last
	pauseDue  datastorehb.Instant // not before, the same one
	told      string              // why there is no first revision yet, as it was journalled last
}

// recordCopy is what is known of the revisions on one datastore.
type recordCopy struct {
	cluster.Copy
	at      datastorehb.Instant // when the read or claim that it comes from had returned
	busy    bool                // it is being read or claimed
	tried   bool                // a read has returned, whatever it brought
	since   datastorehb.Instant // when that was issued
	next    datastorehb.Instant // read
	holding holding
}

func (r *record) begin(cfg Config) {
	r.acting = cfg.Record
	r.refound(cfg.Founding, cfg.Silent)
}

// refound takes in what the configuration file says now.
func (r *record) refound(founding *cluster.Record, silent []string) {
	r.founding, r.silent = founding, silent
	if r.acting != nil {
		r.act(r.acting)
	} else if founding != nil {
		r.sum = founding.Sum()
	}
}

// act makes a revision the one to act on.
func (r *record) act(next *cluster.Record) {
	r.acting, r.sum, r.differences = next, next.Sum(), nil
	if r.founding != nil {
		r.differences = cluster.Differences(r.founding, next, r.silent)
	}
}

// Acting returns the revision of the cluster record that the host acts on, nil
// while it knows none. It is never changed.
func (c *Core) Acting() *cluster.Record { return c.record.acting }

// level returns the feature level at which this host writes: the cluster's, and
// the lowest that its program knows while there is no record.
func (c *Core) level() uint16 {
	if r := c.record.acting; r != nil && c.cfg.Levels.Know(r.Level) {
		return r.Level
	}
	return c.cfg.Levels.Lowest
}

// tellLevel tells the shell at which level to write.
func (c *Core) tellLevel() {
	if level := c.level(); level != c.record.level {
		c.record.level = level
		c.do(WriteLevel{Level: level})
	}
}

// revision returns the number of the revision acted on, 0 while there is none.
func (r *record) revision() uint64 {
	if r.acting == nil {
		return 0
	}
	return r.acting.Revision
}

// wallNow returns the time of day, and whether it is known.
func (c *Core) wallNow() (time.Time, bool) {
	r := &c.record
	return r.wall.Add(c.now.Sub(r.wallAt)), !r.wall.IsZero()
}

func (c *Core) onWallClock(o WallClock) { c.record.wall, c.record.wallAt = o.At, c.now }

// readRecord reads a datastore's newest revision when it is time.
func (c *Core) readRecord(f *footing) {
	if !f.usable() || f.record.busy || !c.due(f.record.next) {
		return
	}
	f.record.busy, f.record.since, f.record.next = true, c.now, c.now.Add(scanEvery)
	c.do(ReadRecord{Datastore: f.ID})
}

// noticeRevision has the record read when somebody acts on a newer revision.
func (c *Core) noticeRevision(revision uint64) {
	if revision <= max(c.record.revision(), c.record.wanted) {
		return
	}
	c.record.wanted = revision
	for _, f := range c.footings {
		f.record.next = c.now
	}
}

func (c *Core) onRecordRead(o RecordRead) {
	f := c.footing(o.Datastore)
	if f == nil {
		return
	}
	f.record.busy, f.record.tried = false, true
	if o.Newer {
		c.outdate(o.Err)
	}
	if o.Err != "" || o.State != datastorehb.Valid && o.State != datastorehb.Absent {
		f.record.next = min(f.record.next, c.now.Add(2*c.interval()))
		c.advanceChange()
		return
	}
	if o.Issued > f.record.at && f.record.Record != nil && (o.Record == nil || o.Record.Revision < f.record.Record.Revision) {
		c.distrust(f, fmt.Sprintf("revision %d of the cluster record is gone", f.record.Record.Revision))
		return
	}
	c.learnRecord(f, o.State, o.Record, o.Payload, o.Returned)
	c.advanceChange()
}

// outdate notes that this program can't read what the cluster writes.
func (c *Core) outdate(why string) {
	if c.record.outdated == "" {
		c.journal(Event{Kind: "program-outdated", Host: c.cfg.Self.Host, Text: fmt.Sprintf("%s runs a program that is too old for the cluster: its machines go on, and it takes on nothing new", c.HostName(c.cfg.Self.Host)), Evidence: []string{why}})
	}
	c.record.outdated = why
}

func (c *Core) onRecordClaimed(o RecordClaimed) {
	f := c.footing(o.Datastore)
	if f == nil {
		return
	}
	f.record.busy = false
	if o.Outcome == datastorehb.ClaimWon {
		c.learnRecord(f, datastorehb.Valid, o.Record, o.Payload, o.Returned)
	} else {
		f.record.next = c.now // it may be there after all, or something else is
		if o.Outcome == datastorehb.ClaimFailed {
			f.record.next = c.now.Add(c.interval() / 2)
		}
	}
	c.advanceChange()
}

// learnRecord takes in what a datastore holds, and acts on it if it is newer.
func (c *Core) learnRecord(f *footing, state datastorehb.ReadState, r *cluster.Record, payload []byte, returned datastorehb.Instant) {
	have := f.record.Record
	if have != nil && (r == nil || r.Revision < have.Revision) {
		return
	}
	f.record.at = max(f.record.at, returned)
	f.record.Copy = cluster.Copy{Datastore: f.ID, State: state, Record: r, Payload: payload}
	c.judgeRecord()
}

// judgeRecord finds out which revision there is to act on.
func (c *Core) judgeRecord() {
	r := &c.record
	r.standing = cluster.Judge(c.recordCopies(), nil)
	best := r.standing.Best
	if best == nil {
		return
	}
	if len(r.standing.Rivals) > 0 && r.rivalry != best.Revision {
		r.rivalry = best.Revision
		c.journalRivals()
	}
	if number := r.revision(); best.Revision < number || best.Revision == number && (!r.standing.Counts || best.Sum() == r.sum) {
		return
	}
	r.act(best)
	c.journal(Event{Kind: "cluster-record", Host: best.By, Text: fmt.Sprintf("%s acts on revision %d of the cluster record: %s", c.HostName(c.cfg.Self.Host), best.Revision, best.Change), Evidence: r.differences})
	c.do(KeepRecord{Payload: r.standing.Payload})
	c.takeMembers()
	c.mastery.stale, c.net.nextBeat = true, c.now
}

func (c *Core) journalRivals() {
	s := &c.record.standing
	e := Event{Kind: "cluster-record-rivals", Host: c.cfg.Self.Host, Text: fmt.Sprintf("revision %d of the cluster record stands in several forms: %q by %s goes first", s.Best.Revision, s.Best.Change, c.HostName(s.Best.By))}
	for _, r := range s.Rivals {
		e.Evidence = append(e.Evidence, fmt.Sprintf("%q by %s", r.Change, c.HostName(r.By)))
	}
	c.journal(e)
}

// recordCopies returns what is known of every datastore.
func (c *Core) recordCopies() []cluster.Copy {
	copies := make([]cluster.Copy, len(c.footings))
	for i, f := range c.footings {
		copies[i] = f.record.Copy
		copies[i].Datastore = f.ID
	}
	return copies
}

func (c *Core) viewCluster() ClusterView {
	r := &c.record
	v := ClusterView{Record: r.acting, Level: c.level(), Missing: r.told, Differences: r.differences, Outdated: r.outdated, Outcast: r.outcast}
	s := &r.standing
	if r.acting == nil || s.Best == nil || s.Best.Sum() != r.sum {
		return v
	}
	v.Missing, v.Counts = "", s.Counts
	for _, d := range s.Lacks {
		v.Lacks = append(v.Lacks, c.datastoreNames([]uuid.UUID{d}))
	}
	for _, d := range s.Unknown {
		v.Unknown = append(v.Unknown, c.datastoreNames([]uuid.UUID{d}))
	}
	for _, rival := range s.Rivals {
		v.Rivals = append(v.Rivals, fmt.Sprintf("%q by %s", rival.Change, c.HostName(rival.By)))
	}
	return v
}

// fillProgram fills in what a host said of its program and of what it acts on.
func (c *Core) fillProgram(v *HostView) {
	if v.ID == c.cfg.Self.Host {
		v.Machine = c.cfg.Self.Machine
		v.Revision, v.Levels, v.Version, v.Differs = c.record.revision(), c.cfg.Levels, c.cfg.Version, len(c.record.differences) > 0
		v.Lease, v.Takeover = c.cfg.Timing.Lease, c.cfg.Timing.Takeover
		v.Uninhibited = c.inhibition.known && !c.inhibition.Delays
		return
	}
	if p, ok := c.net.peers.LastPacket(v.ID); ok {
		v.Revision, v.Levels, v.Version, v.Differs = p.Revision, p.Levels, p.Version, p.Flags&partition.PacketDiffers != 0
		v.Uninhibited = p.Flags&partition.PacketUninhibited != 0
		v.Lease, v.Takeover, v.Machine = p.Lease, p.Takeover, p.From.Machine
	}
	v.Stranger = c.net.strangers[v.ID]
}
