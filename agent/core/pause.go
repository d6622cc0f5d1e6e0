package core

import (
	"fmt"
	"slices"
	"time"

	"storebeat/agent/core/cluster"
	"storebeat/datastorehb"
)

// A pause is for planned work on storage or network: every host takes its machines
// into custody (R11) while its agent runs on. So nothing is frozen when leases
// could not be renewed, and nobody closes a term but by R7(b). It is entered and
// left by each host for its own terms, by the record that the host has read: one
// that has not read it is not in it, and its machines are as safe as before.

// paused reports whether this host acts on a pause.
func (c *Core) paused() bool { return c.record.acting != nil && c.record.acting.Pause != nil }

// keepsCustody reports whether this host's machines are to be in custody: while its
// agent is being stopped, and during a pause.
func (c *Core) keepsCustody() bool {
	if c.leaving != nil {
		return !c.leaving.AtOnce && !c.shuttingDown()
	}
	return c.paused()
}

func pause(next *cluster.Record, o ClusterCommand) (what string, err error) {
	until := next.At.Add(o.For.Truncate(time.Second))
	if o.For < time.Second || o.For > cluster.MaxPause {
		return "", fmt.Errorf("a pause of %v: give it from 1s to %v, and pause again if the work takes longer", o.For, cluster.MaxPause)
	}
	if p := next.Pause; p != nil && p.Until.Equal(until) && p.Why == o.Why {
		return "", nil
	}
	next.Pause = &cluster.Pause{Since: next.At, Until: until, Why: o.Why}
	return fmt.Sprintf("paused until %s UTC: %s", until.Format(time.DateTime), o.Why), nil
}

func resume(next *cluster.Record) (what string, err error) {
	if next.Pause == nil {
		return "", nil
	}
	next.Pause = nil
	return "the pause is over", nil
}

// pauseAgain is how often the master says that a pause lasts.
const pauseAgain = 15 * time.Minute

// remindOfPause journals, as a master, that the cluster is paused: at once when it is
// elected or the pause is another one, and again while it lasts.
func (c *Core) remindOfPause() {
	if !c.paused() {
		return
	}
	p := c.record.acting.Pause
	if c.record.pauseSaid == *p && !c.due(c.record.pauseDue) {
		return
	}
	c.record.pauseSaid, c.record.pauseDue = *p, c.now.Add(pauseAgain)
	c.journal(Event{Kind: "cluster-paused", Host: c.cfg.Self.Host, Rule: "R11",
		Text: fmt.Sprintf("the cluster is paused until %s UTC (%s): what is lost is not restarted", p.Until.Format(time.DateTime), p.Why)})
}

// notInCustody lists the datastores on which a host runs machines that are not in custody.
func (c *Core) notInCustody(h datastorehb.HostID) (names []string) {
	if !c.paused() {
		return nil
	}
	for _, f := range c.footings {
		runs := slices.ContainsFunc(f.infos, func(i *info) bool {
			g := i.newest()
			return g != nil && g.Names(h) && !c.knownOver(f, *g)
		})
		if runs && !c.isInCustody(f, h) {
			names = append(names, f.Name)
		}
	}
	return names
}

func (c *Core) isInCustody(f *footing, h datastorehb.HostID) bool {
	if h == c.cfg.Self.Host {
		return f.custody.sure
	}
	w := f.watches.of(h)
	return w != nil && w.slot.State == datastorehb.Valid && w.slot.Slot.Custody != 0 && w.slot.Slot.Custody == w.slot.Slot.Term
}

// endPause ends a pause whose time is over, by the master's wall clock.
func (c *Core) endPause() bool {
	wall, known := c.wallNow()
	if !c.paused() || !known || wall.Before(c.record.acting.Pause.Until) {
		return false
	}
	c.beginChange(ClusterCommand{Verb: ClusterResume})
	return true
}
