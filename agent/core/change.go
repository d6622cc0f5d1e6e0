package core

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/core/cluster"
	"storebeat/datastorehb"
)

// change is a new revision of the cluster record that this host makes as master.
//
//	look ─▶ settle ─▶ claim ─▶ done
//	 ▲        │ the newest one neither counts nor is void: it is claimed where it lacks
//	 └────────┘◀────── another one came to count
//
// Every master may do this at the same time as others: which revision counts, the
// datastores decide (cluster.Judge).
type change struct {
	command ClusterCommand // ID 0 for the master's own
	step    changeStep
	asked   []uuid.UUID // datastores whose answers are awaited
	without []uuid.UUID
	spared  []datastorehb.HostID // hosts that an upgrade does not wait for
	level   uint16               // that an upgrade raises the cluster to; 0 before it is known
	next    *cluster.Record      // that is being claimed
	sum     uint64               // of next
	claims  bool                 // something was claimed for it: it may come to count, whatever is answered
	tries   int
	ends    datastorehb.Instant // of waiting for answers
}

type changeStep uint8

const (
	changeLook  changeStep = iota // what every datastore holds
	changeFill                    // the newest one where it lacks
	changeClaim                   // the next one
)

// ownAgain is for how many intervals a master leaves a change of its own alone that failed.
const ownAgain = 10

// changeTries is how often a lost race for the next revision is run again.
const changeTries = 5

func (c *Core) onClusterCommand(o ClusterCommand) {
	switch {
	case c.record.outcast != "" && c.takesPlace(&o) && c.record.change == nil:
		c.beginChange(o)
	case c.record.outcast != "":
		c.do(Reply{Command: o.ID, Err: c.record.outcast, NotMaster: true})
	case !c.net.leading && c.net.master == 0:
		c.do(Reply{Command: o.ID, Err: "there is no master to change the cluster record: wait until one is elected", NotMaster: true})
	case !c.net.leading:
		c.do(Reply{Command: o.ID, Err: fmt.Sprintf("%s is not the master: ask %s", c.HostName(c.cfg.Self.Host), c.HostName(c.net.master)), NotMaster: true})
	case c.record.change != nil:
		c.record.queue = append(c.record.queue, o)
	default:
		c.beginChange(o)
	}
}

// beginChange looks at every datastore that can be used.
func (c *Core) beginChange(o ClusterCommand) {
	ch := &change{command: o}
	c.record.change = ch
	var err error
	if ch.without, ch.spared, err = c.resolve(o); err != nil {
		c.endChange(Reply{Err: err.Error()})
		return
	}
	c.lookAtRecords()
	c.advanceChange()
}

// resolve finds the datastores, and the hosts, that a user gives up for a change.
func (c *Core) resolve(o ClusterCommand) (without []uuid.UUID, spared []datastorehb.HostID, err error) {
	for _, name := range o.Without {
		at := slices.IndexFunc(c.footings, func(f *footing) bool { return f.Name == name || f.ID.String() == name })
		host := slices.IndexFunc(c.cfg.Hosts, func(m Member) bool { return m.Name == name })
		switch {
		case host >= 0 && at >= 0:
			return nil, nil, fmt.Errorf("a host and a datastore are called %s: give the datastore's UUID", name)
		case host >= 0 && o.Verb == ClusterUpgrade:
			spared = append(spared, c.cfg.Hosts[host].ID)
		case at < 0:
			return nil, nil, fmt.Errorf("there is no datastore %q: `storebeat datastore list` shows all", name)
		case c.accessible(c.footings[at]):
			return nil, nil, fmt.Errorf("datastore %s can be used: leave it out of --without", name)
		default:
			without = append(without, c.footings[at].ID)
		}
	}
	return without, spared, nil
}

func (c *Core) lookAtRecords() {
	ch := c.record.change
	ch.step, ch.asked, ch.next = changeLook, nil, nil
	ch.ends = c.now.Add(c.cfg.Timing.Lease)
	for _, f := range c.footings {
		if c.inReach(f) {
			ch.asked = append(ch.asked, f.ID)
			f.record.next = c.now
			c.readRecord(f)
		}
	}
}

// inReach reports whether a datastore answers, and so takes part in the change.
func (c *Core) inReach(f *footing) bool {
	hangs := f.record.busy && c.now.Sub(f.record.since) >= c.cfg.Timing.Lease
	return c.accessible(f) && !hangs && !slices.Contains(c.record.change.without, f.ID)
}

// tendRecord does what a master does about the record besides its users' wishes:
// it makes the first revision, brings the newest one to its end, and copies it to
// datastores that lack it.
func (c *Core) tendRecord() {
	r := &c.record
	if r.change != nil {
		c.advanceChange()
		return
	}
	if !c.net.leading || !c.due(r.repair) || c.record.outcast != "" {
		return
	}
	r.repair = c.now.Add(c.interval())
	if r.standing.Best != nil {
		c.fillRecord()
		if verb := c.ownChange(); verb != "" && c.due(r.nextOwn) {
			c.beginChange(ClusterCommand{Verb: verb})
			return
		}
		c.remindOfPause()
		if c.endPause() {
			return
		}
		c.tidyReturns()
		return
	}
	if why := c.unfounded(); why == "" {
		c.beginChange(ClusterCommand{Verb: ClusterInit})
	} else if why != r.told {
		r.told = why
		c.journal(Event{Kind: "cluster-record-missing", Host: c.cfg.Self.Host, Text: "there is no cluster record yet: " + why})
	}
}

// ownChange is what a master changes by itself, "" for nothing.
func (c *Core) ownChange() ClusterVerb {
	s := &c.record.standing
	switch {
	case len(s.Rivals) > 0 && (s.Counts || s.Void) || c.formerVoter(s):
		return clusterSettle
	case s.Counts && len(c.unknownComputers(s.Best)) > 0:
		return clusterComputers
	}
	return ""
}

// formerVoter reports whether a datastore still votes that has left the cluster:
// one more revision frees it.
func (c *Core) formerVoter(s *cluster.Standing) bool {
	return s.Counts && slices.ContainsFunc(s.Best.Voters, func(v uuid.UUID) bool { return s.Best.Datastore(v.String()) == nil })
}

// fillRecord claims the newest revision where it lacks, and returns where.
func (c *Core) fillRecord() (asked []uuid.UUID) {
	for _, d := range c.record.standing.Lacks {
		if f := c.footing(d); f != nil && f.usable() {
			asked = append(asked, d)
			c.claimRecord(f, c.record.standing.Best, c.record.standing.Payload)
		}
	}
	return asked
}

func (c *Core) claimRecord(f *footing, r *cluster.Record, payload []byte) {
	if f.record.busy {
		return // what is under way will have it looked at again
	}
	f.record.busy, f.record.since = true, c.now
	c.do(ClaimRecord{Datastore: f.ID, Record: r, Payload: payload})
}

// unfounded says why the first revision is not made yet: the master waits until
// all hosts are there and their files say the same, lest a file that somebody
// forgot to copy becomes the cluster's.
func (c *Core) unfounded() string {
	if c.record.founding == nil {
		return "the configuration makes none"
	}
	if _, known := c.wallNow(); !known {
		return "the time of day is not known"
	}
	var absent, different []string
	for _, m := range c.cfg.Hosts {
		if m.ID == c.cfg.Self.Host {
			continue
		}
		if p, ok := c.net.peers.LastPacket(m.ID); !ok || !c.heard(m.ID) {
			absent = append(absent, m.Name)
		} else if p.Sum != c.record.sum {
			different = append(different, m.Name)
		}
	}
	switch {
	case len(different) > 0:
		return fmt.Sprintf("the configuration of %s names other hosts, datastores, timings or machine defaults than that of %s: make them the same and restart the agents", strings.Join(different, ", "), c.HostName(c.cfg.Self.Host))
	case len(absent) > 0:
		return fmt.Sprintf("%s has not been heard: start its agent, or go on without it by `storebeat cluster init`", strings.Join(absent, ", "))
	}
	return ""
}

// advanceChange goes on with the change under way, once the answers that it
// waits for are there, or were long enough in coming.
func (c *Core) advanceChange() {
	ch := c.record.change
	if ch == nil {
		return
	}
	if ch.step == changeClaim && c.claimed() {
		return
	}
	if c.awaited() && !c.due(ch.ends) {
		return
	}
	if ch.step == changeClaim {
		c.tryAgain()
	} else {
		c.settle()
	}
}

// awaited reports whether answers are still to come: what the datastores hold and, where
// nobody may lose a machine by the change, where the machines are. A new master reads that first.
func (c *Core) awaited() bool {
	ch := c.record.change
	removes := ch.command.Verb == ClusterHostRemove || ch.command.Verb == ClusterDatastoreRemove
	return slices.ContainsFunc(ch.asked, func(d uuid.UUID) bool {
		f := c.footing(d)
		return c.inReach(f) && (f.record.busy || f.record.next <= c.now || removes && !f.scanned)
	})
}

// claimed ends the change when it is known which revision of its number counts.
func (c *Core) claimed() bool {
	ch := c.record.change
	s := cluster.Judge(c.recordCopies(), ch.without)
	switch {
	case s.Best == nil || s.Best.Revision < ch.next.Revision || !s.Counts:
		return false
	case s.Best.Revision == ch.next.Revision && s.Best.Sum() == ch.sum:
		c.journal(Event{Kind: "cluster-record-changed", Host: c.cfg.Self.Host, Text: fmt.Sprintf("revision %d of the cluster record counts: %s", s.Best.Revision, s.Best.Change)})
		c.endChange(Reply{Text: fmt.Sprintf("%s: recorded as revision %d", s.Best.Change, s.Best.Revision)})
	default:
		c.tryAgain()
	}
	return true
}

// tryAgain begins anew, from what is there now.
func (c *Core) tryAgain() {
	ch := c.record.change
	if ch.tries++; ch.tries > changeTries {
		c.giveUpChange(nil)
		return
	}
	c.lookAtRecords()
}

// settle makes sure that the newest revision has come to its end, and goes on
// from there.
func (c *Core) settle() {
	ch := c.record.change
	s := cluster.Judge(c.recordCopies(), ch.without)
	switch {
	case s.Best == nil || s.Counts || s.Void:
		c.proposeNext(&s)
	case len(s.Lacks) > 0 && ch.tries < changeTries:
		ch.tries++
		ch.step, ch.ends = changeFill, c.now.Add(c.cfg.Timing.Lease)
		ch.asked = c.fillRecord()
	default:
		c.giveUpChange(append(s.Unknown, s.Lacks...))
	}
}

// giveUpChange ends a change that did not come to its end in time, for want of
// the datastores that did not answer.
func (c *Core) giveUpChange(silent []uuid.UUID) {
	why := ""
	if len(silent) > 0 {
		why = fmt.Sprintf(", because %s did not answer", c.datastoreNames(silent))
	}
	if c.record.change.claims {
		c.endChange(Reply{Err: fmt.Sprintf("it is not known whether the change was recorded%s: look with `storebeat cluster show` and repeat it", why)})
		return
	}
	c.endChange(Reply{Err: fmt.Sprintf("it can't be told which revision of the cluster record counts%s: mend it, or go on without it by --without", why)})
}

// proposeNext claims what follows the newest revision on every datastore in reach.
func (c *Core) proposeNext(s *cluster.Standing) {
	ch, base := c.record.change, s.Best
	next, err := c.nextRecord(base, len(s.Rivals) > 0)
	if err != nil {
		c.endChange(Reply{Err: err.Error()})
		return
	}
	if next == nil {
		c.endChange(Reply{Text: fmt.Sprintf("nothing to change: revision %d has it already", base.Revision)})
		return
	}
	if why := c.outOfReach(next); why != "" {
		c.endChange(Reply{Err: why})
		return
	}
	payload, err := cluster.Encode(next)
	if err != nil {
		c.endChange(Reply{Err: err.Error()})
		return
	}
	ch.next, ch.sum, ch.step, ch.asked, ch.ends = next, next.Sum(), changeClaim, nil, c.now.Add(c.cfg.Timing.Lease)
	ch.claims = true
	for _, f := range c.footings {
		if c.inReach(f) {
			ch.asked = append(ch.asked, f.ID)
			c.claimRecord(f, next, payload)
		}
	}
}

// outOfReach says which voters are missing for the next revision to count.
func (c *Core) outOfReach(next *cluster.Record) string {
	var missing []uuid.UUID
	for _, v := range next.Voters {
		if f := c.footing(v); f == nil || !c.inReach(f) {
			missing = append(missing, v)
		}
	}
	if len(next.Voters)-len(missing) >= next.Majority() {
		return ""
	}
	return fmt.Sprintf("a change of the cluster record takes %d of its %d datastores, and %s can't be used: mend it, or go on without it by --without", next.Majority(), len(next.Voters), c.datastoreNames(missing))
}

func (c *Core) datastoreNames(ids []uuid.UUID) string {
	names := make([]string, 0, len(ids))
	for _, id := range ids {
		name := id.String()
		if f := c.footing(id); f != nil {
			name = f.Name
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// nextRecord makes the revision that the command asks for, nil when there is
// nothing to change. What follows a number with rivals is made in any case, since a
// datastore keeps the revision that it has of a number, and hosts act on it.
func (c *Core) nextRecord(base *cluster.Record, rivals bool) (*cluster.Record, error) {
	ch := c.record.change
	at := ch.command.At
	if at.IsZero() {
		at, _ = c.wallNow()
	}
	if base == nil {
		return c.firstRecord(at)
	}
	next := base.Next(base.Revision+1, c.cfg.Self.Host, at, "", ch.without)
	what, err := c.applyChange(&next)
	if what == "" && err == nil && (rivals || ch.command.Verb == clusterSettle) {
		what = fmt.Sprintf("settled revision %d: %s", base.Revision, base.Change)
	}
	if err != nil || what == "" {
		return nil, err
	}
	next.Change = datastorehb.Shorten(what, cluster.MaxText)
	return &next, nil
}

func (c *Core) firstRecord(at time.Time) (*cluster.Record, error) {
	if c.record.founding == nil {
		return nil, fmt.Errorf("there is no cluster record, and the configuration makes none")
	}
	if c.record.change.command.Verb != ClusterInit {
		return nil, fmt.Errorf("there is no cluster record yet: %s", c.unfounded())
	}
	next := c.record.founding.Next(1, c.cfg.Self.Host, at, "first revision, from the configuration of "+c.HostName(c.cfg.Self.Host), c.record.change.without)
	next.Level = c.commonLevel()
	c.noteComputers(&next)
	return &next, nil
}

// applyChange carries the command out on a copy of the newest revision. It returns
// what was changed in words, "" for nothing.
func (c *Core) applyChange(next *cluster.Record) (what string, err error) {
	ch := c.record.change
	switch ch.command.Verb {
	case ClusterInit, clusterSettle:
		return "", nil
	case ClusterSet:
		return assign(next, ch.command.Set)
	case ClusterUpgrade:
		return c.upgrade(next)
	case ClusterPause:
		return pause(next, ch.command)
	case ClusterResume:
		return resume(next)
	case ClusterMaintenance:
		return c.setMaintenance(next)
	case clusterReturned:
		return c.noteReturned(next)
	case ClusterHostAdd, ClusterHostSet, ClusterHostRemove, ClusterDatastoreAdd, ClusterDatastoreRemove, clusterComputers:
		return c.changeMembers(next)
	}
	return "", fmt.Errorf("%q is nothing that can be done to the cluster record: upgrade this host", ch.command.Verb)
}

func assign(next *cluster.Record, all []cluster.Assignment) (string, error) {
	before := next.Sum()
	if err := next.Assign(all); err != nil || next.Sum() == before {
		return "", err
	}
	words := make([]string, 0, len(all))
	for _, a := range all {
		words = append(words, a.String())
	}
	return "set " + strings.Join(words, " "), nil
}

func (c *Core) endChange(r Reply) {
	id := c.record.change.command.ID
	if id == 0 && r.Err != "" {
		c.record.nextOwn = c.now.Add(ownAgain * c.interval())
	}
	c.record.change = nil
	if r.Command = id; id != 0 {
		c.do(r)
	}
	if len(c.record.queue) > 0 {
		next := c.record.queue[0]
		c.record.queue = c.record.queue[1:]
		c.onClusterCommand(next)
	}
}
