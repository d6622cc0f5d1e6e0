package core

import (
	"storebeat/datastorehb"
	"storebeat/poweron"
)

// capable is what this host knows of what hosts have, its own word included. It is
// for plans: no right follows from it.
type capable struct {
	of       map[datastorehb.HostID]declared
	untold   bool               // the own word has changed since it was told
	told     datastorehb.HostID // the master that was told last
	toldRun  uint64             // its incarnation
	nextTell datastorehb.Instant
}

// declared is what one run of a host's agent said that the host has.
type declared struct {
	incarnation uint64
	what        *poweron.Capabilities
}

// onHostCapable takes in what this host has.
func (c *Core) onHostCapable(o HostCapable) {
	self := c.cfg.Self.Host
	if c.capable.of[self].what.Equal(&o.Capabilities) {
		return
	}
	c.declare(self, c.cfg.Self.Incarnation, &o.Capabilities)
	c.capable.untold = true
}

// onCapabilities takes in what another host has.
func (c *Core) onCapabilities(from datastorehb.HostID, msg Message) {
	if msg.Capabilities != nil && c.otherMember(from) {
		c.declare(from, msg.Incarnation, msg.Capabilities)
	}
}

// otherMember reports whether a host is another member.
func (c *Core) otherMember(h datastorehb.HostID) bool {
	for _, m := range c.cfg.Hosts {
		if m.ID == h {
			return h != c.cfg.Self.Host
		}
	}
	return false
}

func (c *Core) declare(h datastorehb.HostID, incarnation uint64, what *poweron.Capabilities) {
	if c.capable.of == nil {
		c.capable.of = map[datastorehb.HostID]declared{}
	}
	c.mastery.stale = c.mastery.stale || !c.capable.of[h].what.Equal(what)
	c.capable.of[h] = declared{incarnation, what}
}

// capabilitiesOf returns what a host says that it has, nil while that is not known: an agent
// that was started since may be of a version that says nothing.
func (c *Core) capabilitiesOf(h datastorehb.HostID) *poweron.Capabilities {
	d := c.capable.of[h]
	if h == c.cfg.Self.Host {
		return d.what
	}
	if p, ok := c.net.peers.LastPacket(h); !ok || p.From.Incarnation != d.incarnation {
		return nil
	}
	return d.what
}

// tellCapabilities tells what this host has: everybody when that has changed, so that the
// next master knows, and a master again and again, since messages may be lost.
func (c *Core) tellCapabilities() {
	v := &c.capable
	mine := v.of[c.cfg.Self.Host].what
	if mine == nil {
		return
	}
	msg := Message{Kind: HostHas, Incarnation: c.cfg.Self.Incarnation, Capabilities: mine}
	if v.untold {
		v.untold, v.nextTell = false, c.now.Add(scanEvery)
		for _, m := range c.cfg.Hosts {
			if m.ID != c.cfg.Self.Host {
				c.do(Send{To: m.ID, Message: msg})
			}
		}
		return
	}
	if c.net.master == 0 || c.net.leading {
		return
	}
	p, _ := c.net.peers.LastPacket(c.net.master)
	if v.told == c.net.master && v.toldRun == p.From.Incarnation && !c.due(v.nextTell) {
		return
	}
	v.told, v.toldRun, v.nextTell = c.net.master, p.From.Incarnation, c.now.Add(scanEvery)
	c.do(Send{To: c.net.master, Message: msg})
}

// fillDrivers fills in how a host's drivers are. All that it has would make views large.
func (c *Core) fillDrivers(v *HostView) {
	if what := c.capabilitiesOf(v.ID); what != nil {
		for _, d := range what.Drivers {
			v.Drivers = append(v.Drivers, DriverView{Name: d.Name, Version: d.Version, Problem: d.Problem})
		}
	}
}
