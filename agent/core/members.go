package core

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"storebeat/agent/core/cluster"
	"storebeat/datastorehb"
	"storebeat/partition"
	"storebeat/poweron"
)

// membersOf returns the members that a record names.
func membersOf(r *cluster.Record) (all []Member) {
	for i := range r.Members {
		m := &r.Members[i]
		all = append(all, Member{ID: m.ID, Name: m.Name, Address: m.Heartbeat.Addr().String()})
	}
	return all
}

// takeMembers goes over to the members and datastores of the revision that this
// host acts on. Without a record those of the configuration file go on.
func (c *Core) takeMembers() {
	r := c.record.acting
	if r == nil {
		return
	}
	c.takeDatastores(r)
	if c.record.taken == c.record.sum {
		return
	}
	c.record.taken = c.record.sum
	c.cfg.Hosts = membersOf(r)
	c.net.peers.Expect(c.now, c.members())
	for h := range c.status {
		if r.Member(h) == nil {
			delete(c.status, h)
			delete(c.net.selections, h)
			delete(c.net.acks, h)
		}
	}
	for h, machine := range c.net.strangers {
		if m := r.Member(h); m == nil || m.Machine == machine || m.Machine == uuid.Nil {
			delete(c.net.strangers, h)
		}
	}
	c.net.nextRank, c.net.nextVerdict, c.mastery.stale = c.now, c.now, true
	c.do(ActOn{Record: r})
	c.takePart()
}

// Outcast says why this host takes no part in the cluster, or nothing.
func (c *Core) Outcast() string { return c.record.outcast }

// outcast says why this host takes no part, by the revision acted on. Such a
// host claims no term, starts and thaws nothing, and does not stand for election;
// what it runs under a lease that goes on it hands over in good order.
func (c *Core) outcast() string {
	r := c.record.acting
	if r == nil {
		return ""
	}
	self := r.Member(c.cfg.Self.Host)
	if self == nil {
		if gone := r.Former(c.cfg.Self.Host); gone != nil {
			return fmt.Sprintf("%s (id %d) was removed from the cluster with revision %d of its record: stop this agent, or join the cluster again", gone.Name, gone.ID, gone.In)
		}
		return fmt.Sprintf("id %d is no member of the cluster by revision %d of its record: join it with `storebeat join`, or add the host on a member with `storebeat host add`", c.cfg.Self.Host, r.Revision)
	}
	if self.Machine != uuid.Nil && self.Machine != c.cfg.Self.Machine {
		return fmt.Sprintf("%s (id %d) is another computer by the cluster record: this one has machine-id %s, and the member %s; if it takes the other's place, say so with `storebeat host add %s --replace`, on a member or here",
			self.Name, self.ID, c.cfg.Self.Machine, self.Machine, self.Name)
	}
	return ""
}

// takePart notices that this host takes part no more, or again.
func (c *Core) takePart() {
	why := c.outcast()
	if why == c.record.outcast {
		return
	}
	was := c.record.outcast
	c.record.outcast = why
	switch {
	case why != "":
		c.net.election = partition.NewElection(c.cfg.Self.Host, c.now, &c.net.timing)
		c.net.master, c.net.leading, c.net.standing, c.net.followed, c.net.isolated = 0, false, false, false, false
		for _, o := range c.record.queue {
			c.do(Reply{Command: o.ID, Err: why, NotMaster: true})
		}
		c.record.queue = nil
		c.journal(Event{Kind: "host-outcast", Host: c.cfg.Self.Host, Text: "this host takes no part in the cluster", Evidence: []string{why}})
	case was != "":
		c.journal(Event{Kind: "host-admitted", Host: c.cfg.Self.Host, Text: fmt.Sprintf("this host takes part in the cluster, as %s", c.HostName(c.cfg.Self.Host))})
	}
	for _, f := range c.footings {
		f.dirty = true
		f.failing, f.slow = f.failing && why == "", f.slow && why == "" // it writes no heartbeats that could succeed again
	}
}

// strange reports whether a packet comes from another computer than the one that
// is the member (R1). It is told once, and counts for nothing.
func (c *Core) strange(p *partition.Packet) bool {
	m := c.recordMember(p.From.Host)
	if m == nil || m.Machine == uuid.Nil || m.Machine == p.From.Machine {
		return false
	}
	if c.net.strangers[m.ID] != p.From.Machine {
		if c.net.strangers == nil {
			c.net.strangers = map[datastorehb.HostID]uuid.UUID{}
		}
		c.net.strangers[m.ID] = p.From.Machine
		c.journal(Event{Kind: "host-replaced", Host: m.ID, Rule: "R1", Text: fmt.Sprintf("another computer says that it is %s: it takes no part", m.Name),
			Evidence: []string{fmt.Sprintf("its machine-id is %s, and that of %s is %s", p.From.Machine, m.Name, m.Machine)}})
	}
	return true
}

// changeMembers carries a wish about members or datastores out on a copy of the
// newest revision.
func (c *Core) changeMembers(next *cluster.Record) (what string, err error) {
	o := c.record.change.command
	switch o.Verb {
	case ClusterHostAdd:
		if o.Member == nil {
			return "", fmt.Errorf("no host is given to be added")
		}
		return c.addHost(next, *o.Member, o.Replace)
	case ClusterHostSet:
		if o.Member == nil {
			return "", fmt.Errorf("nothing is given to be changed")
		}
		return next.SetMember(o.Host, *o.Member)
	case ClusterHostRemove:
		return c.removeHost(next, o.Host)
	case ClusterDatastoreAdd:
		if o.Datastore == nil {
			return "", fmt.Errorf("no datastore is given to be added")
		}
		return next.AddDatastore(*o.Datastore)
	case ClusterDatastoreRemove:
		return c.removeDatastore(next, o.Host)
	default: // clusterComputers
		return c.noteComputers(next), nil
	}
}

// takesPlace reports whether a wish is that this very computer takes the place of
// the member by its id. It is granted here, too: there may be no member left.
func (c *Core) takesPlace(o *ClusterCommand) bool {
	if o.Verb != ClusterHostAdd || !o.Replace || o.Member == nil {
		return false
	}
	have := c.record.acting.Named(o.Member.Name)
	return have != nil && have.ID == c.cfg.Self.Host && (o.Member.Machine == uuid.Nil || o.Member.Machine == c.cfg.Self.Machine)
}

func (c *Core) addHost(next *cluster.Record, m cluster.Member, replace bool) (what string, err error) {
	if !replace {
		return next.AddMember(m, c.ownsMachines)
	}
	have := next.Named(m.Name)
	if have == nil {
		return next.ReplaceMember(m)
	}
	self := have.ID == c.cfg.Self.Host
	if m.Machine == uuid.Nil && self {
		m.Machine = c.cfg.Self.Machine
	} else if m.Machine == uuid.Nil {
		m.Machine = c.net.strangers[have.ID]
	}
	if have.Machine != m.Machine && (self && c.record.outcast == "" || c.heard(have.ID)) {
		return "", fmt.Errorf("%s is heard on the network: another computer can take its place only once it is off", have.Name)
	}
	return next.ReplaceMember(m)
}

// ownsMachines reports whether a machine is in a host's name, as far as is known.
func (c *Core) ownsMachines(h datastorehb.HostID) bool {
	return slices.ContainsFunc(c.locate(), func(l located) bool { return l.host == h || c.shares(l.home, l.info, h) })
}

// shares reports whether a hypervisor moves a machine to the host, which may run it as well as its owner.
func (c *Core) shares(f *footing, i *info, h datastorehb.HostID) bool {
	g := i.newest()
	return g != nil && g.Shared() && g.Names(h) && !c.knownOver(f, *g)
}

// removeHost takes a host out once nothing is in its name any more: until its
// machines have been claimed by others, or given up, only its own id tells whose
// they are.
func (c *Core) removeHost(next *cluster.Record, name string) (what string, err error) {
	if m := next.Named(name); m != nil {
		if err := c.mayLeave(m); err != nil {
			return "", err
		}
	}
	return next.RemoveMember(name)
}

func (c *Core) mayLeave(m *cluster.Member) error {
	var owned []string
	for _, f := range c.footings {
		given := slices.Contains(c.record.change.without, f.ID)
		if !given && (!f.usable() || !f.scanned) {
			return fmt.Errorf("%s can't be read, and machines of %s may be there: mend it, or go on without it by --without", f.Name, m.Name)
		}
		for _, i := range f.infos {
			if c.placeOf(f, i) == m.ID || c.shares(f, i, m.ID) {
				owned = append(owned, i.name())
			} else if i.GenerationState != datastorehb.Valid && i.GenerationState != datastorehb.Absent && !given {
				return fmt.Errorf("whose machine %s on %s is can't be read (its newest generation is %s): try again", i.name(), f.Name, i.GenerationState)
			}
		}
	}
	switch {
	case len(owned) == 0:
		return nil
	case m.ID == c.cfg.Self.Host || c.heard(m.ID):
		return fmt.Errorf("%s runs %s: move them first by `storebeat host maintenance on %s --move`, and stop those that are not protected", m.Name, strings.Join(owned, ", "), m.Name)
	}
	return fmt.Errorf("%s are in the name of %s, which is not heard: wait until they run elsewhere; if its agent was stopped, start it again, or switch the host off and say so by `storebeat host confirm-dead %s`", strings.Join(owned, ", "), m.Name, m.Name)
}

// unknownComputers are the members that were heard and whose computers the record
// does not know yet.
func (c *Core) unknownComputers(r *cluster.Record) (all map[datastorehb.HostID]uuid.UUID) {
	for i := range r.Members {
		m := &r.Members[i]
		if m.Machine != uuid.Nil {
			continue
		}
		machine := c.cfg.Self.Machine
		if m.ID != c.cfg.Self.Host {
			p, ok := c.net.peers.LastPacket(m.ID)
			if !ok || !c.heard(m.ID) {
				continue
			}
			machine = p.From.Machine
		}
		if all == nil {
			all = map[datastorehb.HostID]uuid.UUID{}
		}
		all[m.ID] = machine
	}
	return all
}

// noteComputers enters the computers of members that were heard: from then on
// another one under the same id is recognised (R1).
func (c *Core) noteComputers(next *cluster.Record) (what string) {
	known := c.unknownComputers(next)
	var names []string
	for i := range next.Members {
		if m := &next.Members[i]; known[m.ID] != uuid.Nil {
			m.Machine, names = known[m.ID], append(names, m.Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "noted the computer of " + strings.Join(names, ", ")
}

// evict hands a machine over that runs on a host which takes no part.
func (c *Core) evict(m *machine) bool {
	if c.record.outcast == "" || !c.mayRun(m) {
		return false
	}
	c.stop(m, poweron.HandedOver, c.record.outcast, true)
	return true
}
