package core

import (
	"fmt"
	"time"

	"storebeat/datastorehb"
)

// The host's login manager can be asked to wait at a shutdown, so that machines are
// stopped and given up while network and mounts are there still, and not to suspend the
// host. Without it the agent is told of a shutdown when its own service is stopped.

// inhibition is what the login manager grants, and what this host has made of it.
type inhibition struct {
	HostInhibited
	known   bool                // there is one to ask
	since   datastorehb.Instant // since when something has been missing
	told    bool                // which is journalled
	awake   bool                // it was asked not to suspend the host
	tooLong time.Duration       // the stop time for which it was last said to wait too short
}

// missingFor is how long something has to be missing before it is journalled: a login
// manager that is upgraded is back within a moment.
const missingFor = 10 * time.Second

// onHostInhibited notes what is granted. What is missing is journalled once it has
// been missing for a while.
func (c *Core) onHostInhibited(o HostInhibited) {
	i := &c.inhibition
	if i.Why == "" {
		i.since = c.now
	}
	if o.Longest != i.Longest {
		i.tooLong = 0
	}
	i.HostInhibited, i.known = o, true
	if o.Why == "" && i.told {
		i.told = false
		c.journal(Event{Kind: "host-inhibited", Host: c.cfg.Self.Host, Text: "the login manager waits for this agent at a shutdown again, and does not suspend the host while machines run"})
	}
}

// tellMissing journals what the login manager does not grant.
func (c *Core) tellMissing() {
	i := &c.inhibition
	if i.Why == "" || i.told || c.leaving != nil || !c.due(i.since.Add(missingFor)) {
		return
	}
	i.told = true
	c.journal(Event{Kind: "host-not-inhibited", Host: c.cfg.Self.Host, Evidence: []string{i.Why},
		Text: "the host's login manager " + notGranted(i.HostInhibited)})
}

func notGranted(o HostInhibited) string {
	if o.Delays {
		return "would suspend the host while machines run"
	}
	return "does not wait for this agent at a shutdown, of which it learns only when its own service is stopped"
}

// inhibit has the host kept awake while a process of a machine is there, and says when
// a shutdown would not wait for as long as machines may take.
func (c *Core) inhibit() {
	i := &c.inhibition
	if awake := c.hasAnyProcess(); awake != i.awake {
		i.awake = awake
		c.do(KeepAwake{On: awake})
	}
	c.tellMissing()
	if !i.known || !i.Delays || c.leaving != nil {
		return
	}
	slowest := c.slowestToStop()
	if slowest == nil || slowest.entry.Policy.StopTime <= i.Longest {
		i.tooLong = 0
		return
	}
	long := slowest.entry.Policy.StopTime
	if long == i.tooLong {
		return
	}
	i.tooLong = long
	c.journalMachine(slowest, "shutdown-delay-short", "", fmt.Sprintf("at a shutdown the login manager waits for %v at most, and %s may take %v to stop: after that its service's stop goes on waiting, while network and mounts may be going", i.Longest, firstName(slowest), long),
		fmt.Sprintf("set InhibitDelayMaxSec=%d or more in /etc/systemd/logind.conf.d/storebeat.conf, section [Login], then `systemctl restart systemd-logind`", int64((long+time.Second-1)/time.Second)))
}

func (c *Core) hasAnyProcess() bool {
	for _, m := range c.machines {
		if m.hasProcess() {
			return true
		}
	}
	return false
}

// slowestToStop is the machine here that may take the longest to stop, nil for none.
func (c *Core) slowestToStop() (slowest *machine) {
	for _, m := range c.machines {
		if m.hasProcess() && (slowest == nil || m.entry.Policy.StopTime > slowest.entry.Policy.StopTime) {
			slowest = m
		}
	}
	return slowest
}

// onHostPrepares begins to give machines up while the host still waits, or ends that
// when the host does not shut down after all. The agent itself goes on meanwhile: it
// ends when its service is stopped.
func (c *Core) onHostPrepares(o HostPrepares) {
	switch {
	case o.Shutdown && c.leaving == nil:
		wall, _ := c.wallNow()
		c.onLeave(Leave{Why: datastorehb.Leave{By: datastorehb.LeftByShutdown, Wall: max(0, wall.Unix())}})
		c.leaving.waits = true
	case !o.Shutdown && c.leaving != nil && c.leaving.waits:
		c.takeBack()
		c.journal(Event{Kind: "host-stays", Host: c.cfg.Self.Host, Text: "this host does not shut down after all: its agent goes on"})
	}
}

// letShutDown lets the host go on with its shutdown once nothing is left to wait for.
func (c *Core) letShutDown(missing []string) {
	l := c.leaving
	if l.let {
		return
	}
	l.let = true
	c.do(LetShutDown{})
	text := "every machine of this host is given up: its shutdown goes on"
	if len(missing) > 0 {
		text = "the shutdown of this host goes on, with machines that are not given up"
	}
	c.journal(Event{Kind: "host-given-up", Host: c.cfg.Self.Host, Rule: "R8", Text: text, Evidence: missing})
}
