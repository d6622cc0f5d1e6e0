package core

import (
	"fmt"
	"slices"
	"strings"

	"storebeat/agent/core/cluster"
	"storebeat/datastorehb"
)

// levelsOf returns the feature levels that a member's program knows, and whether
// the member was heard to say so lately.
func (c *Core) levelsOf(h datastorehb.HostID) (levels datastorehb.Levels, version string, heard bool) {
	if h == c.cfg.Self.Host {
		return c.cfg.Levels, c.cfg.Version, true
	}
	p, ok := c.net.peers.LastPacket(h)
	if !ok || !c.heard(h) {
		return datastorehb.Levels{}, "", false
	}
	return p.Levels, p.Version, true
}

// commonLevel is the highest level that all hosts know that are heard.
func (c *Core) commonLevel() uint16 {
	level := c.cfg.Levels.Highest
	for _, m := range c.cfg.Hosts {
		if l, _, heard := c.levelsOf(m.ID); heard && l.Highest > 0 {
			level = min(level, l.Highest)
		}
	}
	return max(level, c.cfg.Levels.Lowest)
}

// upgrade raises the feature level by one, if every member's program knows the
// next one. A member that can't be heard might run a program that does not: it
// could then no longer read what the others write.
func (c *Core) upgrade(next *cluster.Record) (what string, err error) {
	ch := c.record.change
	if ch.level == 0 {
		ch.level = next.Level + 1
	}
	if next.Level >= ch.level {
		return "", nil
	}
	var old, absent []string
	for _, m := range next.Members {
		l, version, heard := c.levelsOf(m.ID)
		switch {
		case slices.Contains(ch.spared, m.ID) && heard && !l.Know(ch.level):
			return "", fmt.Errorf("%s is heard and runs a program that does not know feature level %d: install the new one there, or stop its agent, before you go on without it", m.Name, ch.level)
		case slices.Contains(ch.spared, m.ID):
		case !heard:
			absent = append(absent, m.Name)
		case !l.Know(ch.level):
			old = append(old, fmt.Sprintf("%s (version %s, feature level %s)", m.Name, version, l))
		}
	}
	switch {
	case len(old) == len(next.Members):
		return "", fmt.Errorf("the cluster is at feature level %d, the highest that its programs know: there is nothing to raise", next.Level)
	case len(old) > 0:
		return "", fmt.Errorf("feature level %d is not known to %s: install the new version there first", ch.level, strings.Join(old, ", "))
	case len(absent) > 0:
		return "", fmt.Errorf("%s can't be heard, and its program might not know feature level %d: start its agent, or go on without it by --without; an older program won't start there then", strings.Join(absent, ", "), ch.level)
	}
	next.Level = ch.level
	return fmt.Sprintf("raised the feature level to %d", ch.level), nil
}
