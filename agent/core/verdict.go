package core

import (
	"fmt"
	"slices"

	"github.com/google/uuid"

	"storebeat/datastorehb"
	"storebeat/partition"
	"storebeat/poweron"
)

// hostStatus is the verdict on one other host.
type hostStatus struct {
	partition.Verdict
	reminded datastorehb.Instant // when its custody was journaled last
}

func newNetwork(cfg Config, now datastorehb.Instant) network {
	t := partition.TimingOf(cfg.Timing)
	n := network{timing: t, peers: partition.NewPeers(cfg.Self, t, now), acks: map[datastorehb.HostID][]partition.Ack{},
		election: partition.NewElection(cfg.Self.Host, now, &t), selections: map[datastorehb.HostID][]uuid.UUID{}}
	var ids []datastorehb.HostID
	for _, m := range cfg.Hosts {
		ids = append(ids, m.ID)
	}
	n.peers.Expect(now, ids)
	return n
}

// judge finds out who is master, whether this host is isolated, and what has
// happened to the others.
func (c *Core) judge() {
	c.rank()
	if c.record.outcast != "" {
		return // it has no say about the others
	}
	c.elect()
	c.ping()
	c.isolate()
	if !c.due(c.net.nextVerdict) {
		return
	}
	c.net.nextVerdict = c.now.Add(c.interval() / 4)
	for _, m := range c.cfg.Hosts {
		if m.ID != c.cfg.Self.Host && (c.net.leading || m.ID == c.net.master || c.net.master == 0) {
			c.judgeHost(m.ID)
		}
	}
}

func (c *Core) elect() {
	heard := c.net.candidates[:0]
	for _, m := range c.cfg.Hosts {
		if m.ID == c.cfg.Self.Host || !c.net.peers.TwoWay(m.ID, c.now, c.net.timing.MasterLost) {
			continue
		}
		if p, ok := c.net.peers.LastPacket(m.ID); ok {
			heard = append(heard, partition.CandidateOf(p))
		}
	}
	c.net.candidates = heard
	self := partition.Candidate{Host: c.cfg.Self.Host, Leaving: c.leaving != nil}
	for _, f := range c.footings {
		if c.accessible(f) {
			self.Datastores++
		}
	}
	changed := c.net.election.Step(c.now, self, heard, &c.net.timing)
	c.net.followed = c.net.election.Followed(heard)
	c.net.master = c.net.election.Master()
	c.net.leading = c.net.election.Role() == partition.Mastering
	c.net.standing = c.net.election.Role() == partition.Standing
	if changed {
		c.mastery.stale = true
		c.net.nextBeat = c.now.Add(c.net.timing.Beat / 4)
		c.journalElection()
	}
}

func (c *Core) journalElection() {
	self := c.HostName(c.cfg.Self.Host)
	kind, text := Kind("no-master"), self+" has no master and stands for election"
	switch {
	case c.net.leading:
		kind, text = "election", self+" is master"
		c.record.pauseDue = c.now
		for _, f := range c.footings {
			f.nextScan, f.scanned = c.now, false
		}
	case c.net.master != 0:
		kind, text = "election", self+" follows "+c.HostName(c.net.master)
	}
	c.journal(Event{Kind: kind, Host: c.net.master, Text: text, Rule: "R6"})
}

// judgeHost renews the verdict on a host, and journals it when it has changed.
func (c *Core) judgeHost(h datastorehb.HostID) {
	s := c.status[h]
	if s == nil {
		s = &hostStatus{}
		c.status[h] = s
	}
	e := c.evidence(h)
	before := s.State
	if s.Update(c.now, &e, &c.net.timing) && s.State != before {
		c.mastery.stale = true
		c.journal(Event{Kind: hostKind(s.State), Host: h, Text: fmt.Sprintf("%s is %s: %s", c.HostName(h), s.State, s.Rule), Evidence: slices.Clone(s.Evidence)})
	}
	c.remind(h, s)
}

func (c *Core) evidence(h datastorehb.HostID) partition.Evidence {
	e := partition.Evidence{Host: h, Network: c.net.peers.Network(h, c.now), Ping: c.net.pings.OfHost(h)}
	e.Datastores = make([]partition.DatastoreEvidence, 0, len(c.footings))
	last, heard := c.net.peers.LastPacket(h)
	for _, f := range c.footings {
		d := partition.DatastoreEvidence{Datastore: f.ID, Name: f.Name}
		if heard {
			d.Access = partition.AccessOf(last, f.ID)
		}
		w := f.watches.of(h)
		if w == nil {
			w = &watch{}
			if !f.usable() || f.readErr != "" {
				w.trail.Fail(f.errSince, f.whyUnread())
			}
		}
		w.trail.Fill(&d)
		if c.readsHang(f) {
			d.Slot, d.ReadSince, d.Why = datastorehb.Unreadable, f.readBack, "reads do not return"
		}
		d.Writes = w.slot.State == datastorehb.Valid || w.slot.State == datastorehb.Corrupt || c.reports(h, f.ID, partition.DatastoreHeartbeat)
		d.Isolated = w.slot.Slot.Flags&datastorehb.SlotIsolated != 0 || w.listOK && w.listed.Isolated
		if w.slot.State == datastorehb.Valid {
			d.Leave, d.Custody = w.slot.Slot.Leave, w.inCustody()
		}
		e.Datastores = append(e.Datastores, d)
	}
	return e
}

// readsHang reports whether no read has returned for as long as it takes to call a
// host silent. One that hangs is no better than one that fails.
func (c *Core) readsHang(f *footing) bool {
	return f.usable() && f.readBack > 0 && c.now.Sub(f.readBack) >= c.net.timing.DiskSilent
}

func (f *footing) whyUnread() string {
	if f.usable() {
		return f.readErr
	}
	return f.why
}

// ping asks the other hosts when they are not heard, and the isolation addresses
// when nobody is.
func (c *Core) ping() {
	if !c.due(c.net.nextPing) {
		return
	}
	c.net.nextPing = c.now.Add(c.interval())
	for _, m := range c.cfg.Hosts {
		quiet := m.ID != c.cfg.Self.Host && c.net.peers.Silence(m.ID, c.now) >= c.net.timing.Suspect
		if m.Address != "" && quiet && (c.net.leading || m.ID == c.net.master || c.net.master == 0) {
			c.net.pings.Asked(c.now, m.ID, m.Address)
			c.do(Ping{Address: m.Address, Host: m.ID})
		}
	}
	if c.net.peers.Quiet(c.now) < c.net.timing.Suspect {
		return
	}
	for _, a := range c.cfg.Isolation.Addresses {
		c.net.pings.Asked(c.now, 0, a)
		c.do(Ping{Address: a})
	}
}

func (c *Core) onPing(o PingAnswered) { c.net.pings.Answered(c.now, o.Host, o.Address) }

// isolate finds out whether this host is isolated, tells the others on disk, and
// gives up those machines whose policy says so.
func (c *Core) isolate() {
	around := partition.Surroundings{Members: len(c.cfg.Hosts), Quiet: c.net.peers.Quiet(c.now)}
	for _, a := range c.cfg.Isolation.Addresses {
		around.Addresses = append(around.Addresses, partition.Probe{Address: a, Ping: c.net.pings.Of(0, a)})
	}
	changed := c.net.isolation.Step(c.now, around, &c.net.timing)
	_, c.net.isolated = c.net.isolation.Isolated()
	if changed {
		self := c.HostName(c.cfg.Self.Host)
		kind, text := Kind("isolation-ended"), self+" is no longer isolated"
		if c.net.isolated {
			kind, text = "isolated", self+" holds itself for isolated"
		}
		c.journal(Event{Kind: kind, Host: c.cfg.Self.Host, Text: text, Evidence: []string{c.net.isolation.Why()}})
		for _, f := range c.footings {
			f.dirty, f.nextWrite = true, c.now
		}
	}
	if c.net.isolated {
		c.respond()
	}
}

// respond carries out the isolation response of every machine that somebody else could start.
func (c *Core) respond() {
	for _, m := range slices.Clone(c.machines) {
		if m.phase != phaseRun || m.frozen || m.entry.Policy.Isolation == poweron.Leave || m.entry.Policy.Isolation == "" {
			continue
		}
		if ok, why := c.net.isolation.Respond(c.now, c.witnesses(m.home), &c.net.timing); ok {
			c.stop(m, poweron.Isolation, c.named("isolated: "+why), m.entry.Policy.Isolation == poweron.ShutDown)
		}
	}
}

func (c *Core) witnesses(f *footing) (all []partition.Witness) {
	if !c.readable(f) {
		return nil
	}
	for _, w := range f.watches {
		var d partition.DatastoreEvidence
		w.trail.Fill(&d)
		all = append(all, partition.Witness{Host: w.host, Master: w.slot.Slot.Flags&datastorehb.SlotMaster != 0,
			Isolated: w.slot.Slot.Flags&datastorehb.SlotIsolated != 0, Changed: d.Changed, ChangedAt: d.ChangedAt, LeadsSince: w.leads})
	}
	return all
}

// describePeer fills in what the planner wants to know of another host. Only a
// host that is heard may be given a machine (I3).
func (c *Core) describePeer(id datastorehb.HostID, h *poweron.Host) {
	s := c.status[id]
	if s == nil {
		h.State = "not judged yet"
		return
	}
	h.State = s.State.String()
	h.Live = s.State == partition.Live || s.State == partition.StorageLost || s.State == partition.Maintenance
	h.Maintenance = s.State == partition.Maintenance
	p, ok := c.net.peers.LastPacket(id)
	if !ok {
		return
	}
	if p.Flags&(partition.PacketIsolated|partition.PacketLeaving) != 0 {
		h.Live, h.State = false, "isolated or leaving"
	}
	h.Memory, h.Used = p.MemoryTotal, p.MemoryUsed
	for _, r := range p.Datastores {
		if r.Flags&partition.DatastoreAccessible != 0 {
			h.Datastores = append(h.Datastores, r.Datastore)
		}
	}
}

// StateOf returns the state of a host as this one sees it, which View shows with its reasons.
func (c *Core) StateOf(h datastorehb.HostID) partition.State {
	switch s := c.watched(h); {
	case h == c.cfg.Self.Host && c.net.isolated:
		return partition.Isolated
	case h == c.cfg.Self.Host && c.inMaintenance():
		return partition.Maintenance
	case h == c.cfg.Self.Host:
		return partition.Live
	case s == nil:
		return partition.Undetermined
	default:
		return s.State
	}
}

// watched returns the verdict on another host, nil while this one does not watch it.
func (c *Core) watched(h datastorehb.HostID) *hostStatus {
	if !c.net.leading && h != c.net.master {
		return nil
	}
	return c.status[h]
}

// fillVerdict fills in the state of a host for a view.
func (c *Core) fillVerdict(v *HostView, now datastorehb.Instant) {
	v.State = c.StateOf(v.ID).String()
	if v.ID == c.cfg.Self.Host {
		v.Rule, v.MemoryTotal, v.MemoryUsed = "it is the host that answers", c.memory, c.memoryUsed()
		if c.inMaintenance() {
			v.Rule = "it is in maintenance by the cluster record"
		}
		if c.net.isolated {
			v.Rule = "no other host and no isolation address answers"
			v.Evidence = append(v.Evidence, c.net.isolation.Why())
		}
		return
	}
	s := c.watched(v.ID)
	if s == nil {
		v.Rule = "only the master watches " + v.Name
		return
	}
	e := c.evidence(v.ID)
	v.Silence = c.net.peers.Silence(v.ID, now)
	v.Rule, v.For = s.Rule, now.Sub(s.Since)
	v.Evidence = append(v.Evidence, c.allNamed(partition.Explain(now, &e, &c.net.timing))...)
	for _, l := range s.Lost {
		if f := c.footing(l); f != nil {
			v.Lost = append(v.Lost, f.Name)
		}
	}
	c.fillCustody(v)
	if p, ok := c.net.peers.LastPacket(v.ID); ok {
		v.MemoryTotal, v.MemoryUsed = p.MemoryTotal, p.MemoryUsed
	}
}

// fillCustody says where a host that is not heard left its machines in custody.
func (c *Core) fillCustody(v *HostView) {
	for _, f := range c.footings {
		w := f.watches.of(v.ID)
		if w == nil || w.slot.State != datastorehb.Valid || c.heard(v.ID) {
			continue
		}
		if w.slot.Slot.Leave.By != 0 {
			v.Leave = w.slot.Slot.Leave
		}
		if w.inCustody() {
			v.Custody = append(v.Custody, f.Name)
		}
	}
}

// readable reports whether the datastore could be read lately.
func (c *Core) readable(f *footing) bool {
	return f.usable() && f.readErr == "" && f.readBack > 0 && c.now.Sub(f.readBack) < 2*c.interval()
}
