package core

import (
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"

	"storebeat/datastorehb"
	"storebeat/partition"
)

// network is this host's standing among the other hosts.
type network struct {
	timing      partition.Timing
	peers       *partition.Peers
	sequence    uint64
	sent        []sentBeat // those that may still be acknowledged, oldest first
	nextBeat    datastorehb.Instant
	wished      bool // a vouch was wished for at the last beat
	acks        map[datastorehb.HostID][]partition.Ack
	pings       partition.Pings
	nextPing    datastorehb.Instant
	nextVerdict datastorehb.Instant
	election    *partition.Election
	isolation   partition.Isolation
	candidates  []partition.Candidate // heard at the last election, kept for its memory
	followed    bool                  // this host is master and somebody follows it

	master   datastorehb.HostID // that this host follows, itself included; 0 while there is none
	leading  bool               // this host is a master
	standing bool               // it stands for election
	isolated bool

	strangers  map[datastorehb.HostID]uuid.UUID // machine-ids of computers that say they are members, and are not (R1)
	selections map[datastorehb.HostID][]uuid.UUID
	ranked     []datastorehb.Ranked
	nextRank   datastorehb.Instant
}

// sentBeat says when a network heartbeat was sent.
type sentBeat struct {
	sequence uint64
	at       datastorehb.Instant
}

func (c *Core) members() (ids []datastorehb.HostID) {
	for _, m := range c.cfg.Hosts {
		ids = append(ids, m.ID)
	}
	return ids
}

// heard reports whether a host was heard lately enough to be called live.
func (c *Core) heard(h datastorehb.HostID) bool {
	n := c.net.peers.Network(h, c.now)
	return n.Heard && n.Silence < c.net.timing.Heard
}

// masterQuiet reports whether the master has been silent for so long that a
// careful host begins to read more.
func (n *network) masterQuiet(now datastorehb.Instant) bool {
	return n.master != 0 && !n.leading && n.peers.Silence(n.master, now) >= n.timing.Suspect
}

// heartbeatNetwork sends network heartbeats when it is time, and at once when
// this host begins to need vouches.
func (c *Core) heartbeatNetwork() {
	wishing := slices.ContainsFunc(c.footings, c.wishes)
	if wishing && !c.net.wished {
		c.net.nextBeat = c.now
	}
	c.net.wished = wishing
	if c.net.master != 0 && !c.net.leading {
		c.due(c.now.Add(c.net.timing.Suspect - c.net.peers.Silence(c.net.master, c.now)))
	}
	if !c.due(c.net.nextBeat) {
		return
	}
	c.net.nextBeat = c.now.Add(c.net.timing.Beat)
	for _, h := range c.recipients() {
		c.beat(h, c.net.peers.EchoFor(h))
	}
}

// recipients are everybody for a master, for a host without one and for one that
// stops, and the master alone for everybody else. A host that was removed has
// nothing to say; another computer than the member is to be noticed.
func (c *Core) recipients() (to []datastorehb.HostID) {
	if c.record.outcast != "" && c.recordMember(c.cfg.Self.Host) == nil {
		return nil
	}
	if c.leaving == nil && c.net.master != 0 && !c.net.leading && !c.net.standing && !c.net.masterQuiet(c.now) {
		return []datastorehb.HostID{c.net.master}
	}
	for _, h := range c.members() {
		if h != c.cfg.Self.Host {
			to = append(to, h)
		}
	}
	return to
}

// wishes reports whether this host needs others to vouch for it on a datastore.
func (c *Core) wishes(f *footing) bool {
	if f.phase != termHeld && f.inherited == nil || f.distrusted || !f.lease.Valid(c.now) {
		return false
	}
	if f.writing {
		c.due(f.issued.Add(c.patience()))
	}
	return !c.accessible(f) || f.writing && c.now.Sub(f.issued) >= c.patience()
}

// beat sends one network heartbeat.
func (c *Core) beat(to datastorehb.HostID, echo partition.Echo) {
	n := &c.net
	n.sequence++
	n.peers.Sent(c.now, n.sequence)
	n.sent = append(n.sent, sentBeat{n.sequence, c.now})
	for len(n.sent) > 0 && c.now.Sub(n.sent[0].at) > 2*c.cfg.Timing.Lease {
		n.sent = n.sent[1:]
	}
	p := partition.Packet{Level: c.level(), Cluster: c.cfg.Cluster, From: c.cfg.Self, To: to, Sequence: n.sequence, Flags: c.packetFlags(), Master: n.master,
		Echo: echo, MemoryTotal: c.memory, MemoryUsed: c.memoryUsed(), Acks: slices.Clone(n.acks[to]),
		Revision: c.record.revision(), Sum: c.record.sum, Levels: c.cfg.Levels, Lease: c.cfg.Timing.Lease, Takeover: c.cfg.Timing.Takeover,
		Version: datastorehb.Shorten(c.cfg.Version, partition.MaxVersion)}
	for _, f := range c.footings {
		flags := c.reportFlags(f, to)
		if flags == 0 && !f.opened && f.why == notOpened {
			continue // A starting agent has not tried yet: to say "not accessible" would be a false alarm.
		}
		p.Datastores = append(p.Datastores, partition.DatastoreReport{Datastore: f.ID, Flags: flags})
	}
	c.do(SendHeartbeat{Packet: p})
}

func (c *Core) packetFlags() (flags partition.PacketFlags) {
	if c.net.leading {
		flags |= partition.PacketMaster
	}
	if c.net.followed {
		flags |= partition.PacketFollowed
	}
	if c.net.standing {
		flags |= partition.PacketStanding
	}
	if c.net.isolated {
		flags |= partition.PacketIsolated
	}
	if c.inMaintenance() {
		flags |= partition.PacketMaintenance
	}
	if len(c.record.differences) > 0 {
		flags |= partition.PacketDiffers
	}
	if c.leaving != nil {
		flags |= partition.PacketLeaving
	}
	if c.inhibition.known && !c.inhibition.Delays {
		flags |= partition.PacketUninhibited
	}
	return flags
}

func (c *Core) reportFlags(f *footing, to datastorehb.HostID) (flags partition.DatastoreFlags) {
	if c.accessible(f) {
		flags |= partition.DatastoreAccessible
	}
	if f.selected {
		flags |= partition.DatastoreHeartbeat
	}
	if c.wishes(f) {
		flags |= partition.DatastoreWish
	}
	if c.net.leading && slices.Contains(c.net.selections[to], f.ID) {
		flags |= partition.DatastoreSelected
	}
	return flags
}

// onHeartbeat takes in an authentic packet. Only a fresh one counts for anything.
func (c *Core) onHeartbeat(p partition.Packet) {
	c.noticeRevision(p.Revision) // also of a host that this one does not know yet
	if c.strange(&p) {
		return
	}
	fresh, reply := c.net.peers.Heard(c.now, p)
	if reply {
		c.beat(p.From.Host, c.net.peers.ReplyEcho(p.From.Host))
	}
	if !fresh {
		return
	}
	c.takeAcks(p)
	for _, r := range p.Datastores {
		if f := c.footing(r.Datastore); f != nil {
			c.takeReport(f, p, r.Flags)
		}
	}
}

// takeAcks renews leases by heartbeats that others have recorded (R4b).
func (c *Core) takeAcks(p partition.Packet) {
	for _, a := range p.Acks {
		f := c.footing(a.Datastore)
		if f == nil || f.distrusted || a.Boot != c.cfg.Self.Boot || a.Incarnation != c.cfg.Self.Incarnation {
			continue
		}
		i := slices.IndexFunc(c.net.sent, func(s sentBeat) bool { return s.sequence == a.Sequence })
		if i >= 0 {
			c.proveLife(f, c.net.sent[i].at)
		}
	}
}

// takeReport notes what a fresh packet says of one datastore. A vouch stays in
// the slot until the host is heard not to need it: taking it out of a dead
// host's evidence would look like a sign of life.
func (c *Core) takeReport(f *footing, p partition.Packet, flags partition.DatastoreFlags) {
	if flags&partition.DatastoreWish != 0 {
		if f.wishers == nil {
			f.wishers = map[datastorehb.HostID]datastorehb.Vouch{}
		}
		f.wishers[p.From.Host] = datastorehb.Vouch{Host: p.From.Host, Boot: p.From.Boot, Incarnation: p.From.Incarnation, Sequence: p.Sequence}
	} else {
		delete(f.wishers, p.From.Host)
		c.forgetAck(f, p.From.Host)
	}
}

// vouches returns the vouches for the next write of the own slot.
func (c *Core) vouches(f *footing) []datastorehb.Vouch {
	hosts := slices.Sorted(maps.Keys(f.wishers))
	if len(hosts) > datastorehb.MaxVouches {
		hosts = hosts[:datastorehb.MaxVouches]
	}
	vouches := make([]datastorehb.Vouch, len(hosts))
	for i, h := range hosts {
		vouches[i] = f.wishers[h]
	}
	return vouches
}

// acknowledge tells the hosts vouched for that the write with their vouches has
// completed. It is called only then (R4b).
func (c *Core) acknowledge(f *footing) {
	for _, v := range f.pending {
		if w, ok := f.wishers[v.Host]; !ok || w.Incarnation != v.Incarnation || !c.heard(v.Host) {
			continue
		}
		c.forgetAck(f, v.Host)
		c.net.acks[v.Host] = append(c.net.acks[v.Host], partition.Ack{Datastore: f.ID, Boot: v.Boot, Incarnation: v.Incarnation, Sequence: v.Sequence})
		c.beat(v.Host, c.net.peers.EchoFor(v.Host))
	}
	f.pending = nil
}

// forgetAck takes the acknowledgement of a host's heartbeat on a datastore out of later packets. Until
// then it is repeated: a packet that is overtaken by the next one counts for nothing.
func (c *Core) forgetAck(f *footing, h datastorehb.HostID) {
	c.net.acks[h] = slices.DeleteFunc(c.net.acks[h], func(a partition.Ack) bool { return a.Datastore == f.ID })
}

// rank ranks the heartbeat datastores and selects this host's, and as a master
// everybody's.
func (c *Core) rank() {
	if !c.due(c.net.nextRank) {
		return
	}
	c.net.nextRank = c.now.Add(c.interval())
	live := []datastorehb.HostID{c.cfg.Self.Host}
	for _, h := range c.members() {
		if h != c.cfg.Self.Host && c.heard(h) {
			live = append(live, h)
		}
	}
	var candidates []datastorehb.Candidate
	for _, f := range c.footings {
		candidates = append(candidates, datastorehb.Candidate{Datastore: f.ID, Name: f.Name, Hosts: c.withAccess(f, live),
			Device: f.device.Identity, FSType: f.device.FSType, Preferred: f.Preferred, Excluded: f.Excluded})
	}
	c.net.ranked = datastorehb.Rank(candidates, live, c.cfg.Heartbeats)
	c.selectFor(live)
}

func (c *Core) withAccess(f *footing, live []datastorehb.HostID) (hosts []datastorehb.HostID) {
	for _, h := range live {
		if h == c.cfg.Self.Host && c.accessible(f) || h != c.cfg.Self.Host && c.reports(h, f.ID, partition.DatastoreAccessible) {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// reports reports whether a host's newest packet sets a flag for a datastore.
func (c *Core) reports(h datastorehb.HostID, datastore uuid.UUID, flag partition.DatastoreFlags) bool {
	p, ok := c.net.peers.LastPacket(h)
	return ok && slices.ContainsFunc(p.Datastores, func(r partition.DatastoreReport) bool {
		return r.Datastore == datastore && r.Flags&flag != 0
	})
}

// selectFor selects the heartbeat datastores of the live hosts. A subordinate
// takes its own from the master, as soon as the master names any.
func (c *Core) selectFor(live []datastorehb.HostID) {
	for _, h := range live {
		if h == c.cfg.Self.Host && c.record.outcast != "" {
			c.net.selections[h] = nil
		} else if h == c.cfg.Self.Host || c.net.leading {
			s := datastorehb.Select(h, c.net.ranked, c.net.selections[h], c.cfg.Heartbeats)
			c.net.selections[h] = s.Chosen
		}
	}
	mine := c.net.selections[c.cfg.Self.Host]
	if c.net.master != 0 && !c.net.leading {
		if named := c.selectedByMaster(); len(named) > 0 {
			mine = named
		}
	}
	for _, f := range c.footings {
		c.choose(f, slices.Contains(mine, f.ID))
	}
}

func (c *Core) selectedByMaster() (named []uuid.UUID) {
	for _, f := range c.footings {
		if f.usable() && c.reports(c.net.master, f.ID, partition.DatastoreSelected) {
			named = append(named, f.ID)
		}
	}
	return named
}

func (c *Core) choose(f *footing, selected bool) {
	if f.selected == selected {
		return
	}
	f.selected = selected
	verb := "writes heartbeats on"
	if !selected {
		verb = "stops writing heartbeats on"
	}
	c.journal(Event{Kind: "heartbeat-datastore", Host: c.cfg.Self.Host, Datastore: f.ID, Text: fmt.Sprintf("%s %s %s", c.HostName(c.cfg.Self.Host), verb, f.Name)})
}
