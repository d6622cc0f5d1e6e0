package config

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"
)

// Change is one setting that differs between two configurations.
type Change struct {
	Setting  string // such as log.level, or host "alpha"
	Old, New string // as they stand in the file
	Place    hcl.Range
}

// String says what changed, and where.
func (c Change) String() string {
	return fmt.Sprintf("%s: %s → %s (%s)", c.Setting, c.Old, c.New, line(c.Place))
}

// Diff compares two configurations. Changes in live take effect at once; those
// in restart take effect when the agent starts again, which disturbs no machine
// if it takes less than the lease.
func Diff(running, next *Config) (live, restart []Change) {
	_, live, restart = Apply(running, next)
	return live, restart
}

// Apply returns the running configuration with the live changes of next carried
// out, and the changes of either kind. Neither argument is changed.
func Apply(running, next *Config) (applied *Config, live, restart []Change) {
	m := merge{applied: clone(running), next: next}
	m.settings("", "", topLevel(m.applied), topLevel(next))
	nextSections := sections(next)
	for i, s := range sections(m.applied) {
		m.settings(s.name+".", s.name+".", s.settings, nextSections[i].settings)
	}
	m.hosts()
	m.datastores()
	m.notify()
	if running.key != next.key {
		m.note(&m.restart, "cluster.key_file", "cluster.key_file", "the key read at the start", "another key")
	}
	m.applied.places, m.applied.source = next.places, next.source
	return m.applied, m.live, m.restart
}

// clone copies what the tables of settings point into. Lists and places are
// only ever replaced, never written to, so that they may be shared.
func clone(c *Config) *Config {
	copied := *c
	copied.Hosts = slices.Clone(c.Hosts)
	copied.Datastores = slices.Clone(c.Datastores)
	copied.Notify = slices.Clone(c.Notify)
	return &copied
}

type merge struct {
	applied, next *Config
	live, restart []Change
}

func (m *merge) note(list *[]Change, name, path, from, to string) {
	*list = append(*list, Change{Setting: name, Old: from, New: to, Place: m.next.places.of(path)})
}

// settings compares two equal tables, taking over what may change live.
func (m *merge) settings(name, path string, ours, theirs []setting) {
	for i, s := range ours {
		from, to := s.String(), theirs[i].String()
		switch {
		case from == to:
		case s.live:
			m.note(&m.live, name+s.name, path+s.name, from, to)
			s.assign(theirs[i].value)
		default:
			m.note(&m.restart, name+s.name, path+s.name, from, to)
		}
	}
}

// Words for a block that is on one side only.
const (
	absent  = "absent"
	present = "present"
)

func (m *merge) hosts() {
	for i, theirs := range m.next.Hosts {
		name := fmt.Sprintf("%s %q", hostBlock, theirs.Name)
		at := slices.IndexFunc(m.applied.Hosts, func(h Host) bool { return h.Name == theirs.Name })
		if at < 0 {
			m.note(&m.restart, name, hostPath(i), absent, present)
			continue
		}
		m.settings(name+" ", hostPath(i)+".", hostSettings(&m.applied.Hosts[at]), hostSettings(&theirs))
	}
	for _, ours := range m.applied.Hosts {
		if _, ok := m.next.Host(ours.Name); !ok {
			m.note(&m.restart, fmt.Sprintf("%s %q", hostBlock, ours.Name), "", present, absent)
		}
	}
}

func (m *merge) datastores() {
	for i, theirs := range m.next.Datastores {
		name := fmt.Sprintf("%s %q", datastoreBlock, theirs.Name)
		at := slices.IndexFunc(m.applied.Datastores, func(d Datastore) bool { return d.Name == theirs.Name })
		if _, known := m.applied.DatastoreByUUID(theirs.UUID); at < 0 && known { // under another name
			m.note(&m.restart, name, datastorePath(i), absent, present)
			continue
		}
		if at < 0 { // where it lies on this host, for when the cluster has it
			m.note(&m.live, name, datastorePath(i), absent, present)
			m.applied.Datastores = append(m.applied.Datastores, theirs)
			continue
		}
		m.settings(name+" ", datastorePath(i)+".", datastoreSettings(&m.applied.Datastores[at]), datastoreSettings(&theirs))
	}
	for _, ours := range m.applied.Datastores {
		if _, ok := m.next.Datastore(ours.Name); !ok {
			m.note(&m.restart, fmt.Sprintf("%s %q", datastoreBlock, ours.Name), "", present, absent)
		}
	}
}

// notify takes over all notifications at once: they have no state that would be lost.
func (m *merge) notify() {
	for i, theirs := range m.next.Notify {
		name := fmt.Sprintf("%s %q", notifyBlock, theirs.Name)
		at := slices.IndexFunc(m.applied.Notify, func(n Notify) bool { return n.Name == theirs.Name })
		if at < 0 {
			m.note(&m.live, name, notifyPath(i), absent, present)
			continue
		}
		m.settings(name+" ", notifyPath(i)+".", notifySettings(&m.applied.Notify[at]), notifySettings(&theirs))
	}
	for _, ours := range m.applied.Notify {
		if !slices.ContainsFunc(m.next.Notify, func(n Notify) bool { return n.Name == ours.Name }) {
			m.note(&m.live, fmt.Sprintf("%s %q", notifyBlock, ours.Name), "", present, absent)
		}
	}
	m.applied.Notify = slices.Clone(m.next.Notify)
}

// sum identifies the content of a file.
func sum(content []byte) [sha256.Size]byte { return sha256.Sum256(content) }
