package cluster

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Differences says in which way a configuration file differs from the record;
// local is the first revision as the file would make it. Each difference names
// both values. What the file may say otherwise, since the record goes before it,
// is not among them.
func Differences(local, record *Record) (all []string) {
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	for i := range record.Members {
		m := &record.Members[i]
		if l := local.Member(m.ID); l == nil {
			add("host %q (id %d) is missing in the file", m.Name, m.ID)
		} else if l.Name != m.Name || l.Heartbeat != m.Heartbeat || l.Management != m.Management {
			add("the file has id %d as %q at %v and %v, the record as %q at %v and %v", m.ID, l.Name, l.Heartbeat, l.Management, m.Name, m.Heartbeat, m.Management)
		}
	}
	for i := range local.Members {
		if l := &local.Members[i]; record.Member(l.ID) == nil {
			add("host %q (id %d) of the file is no member", l.Name, l.ID)
		}
	}
	for _, d := range record.Datastores {
		if at := slices.IndexFunc(local.Datastores, func(l Datastore) bool { return l.ID == d.ID }); at < 0 {
			add("datastore %q (%s) is missing in the file", d.Name, d.ID)
		} else if l := local.Datastores[at]; l.Name != d.Name {
			add("datastore %s is %q in the file and %q in the record", d.ID, l.Name, d.Name)
		}
	}
	for _, l := range local.Datastores {
		if !slices.ContainsFunc(record.Datastores, func(d Datastore) bool { return l.ID == d.ID }) {
			add("datastore %q (%s) of the file is not one of the cluster's", l.Name, l.ID)
		}
	}
	for _, name := range Settings() {
		if name == "timing.profile" && (local.Show(name) == "none" || record.Show(name) == "none") {
			continue // the single timings say it
		}
		if l, r := local.Show(name), record.Show(name); l != r {
			add("%s is %s in the file and %s in the record, which goes first", name, l, r)
		}
	}
	return all
}

// Founding returns the first revision of a new cluster, from what its hosts'
// configurations say. Only the lists, timing and machine defaults of r matter.
func Founding(r Record) *Record {
	r.Revision, r.Level, r.By, r.At = 1, 1, 1, time.Unix(0, 0).UTC()
	r.Members, r.Datastores = slices.Clone(r.Members), slices.Clone(r.Datastores)
	slices.SortFunc(r.Members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(r.Datastores, func(a, b Datastore) int { return compareUUID(a.ID, b.ID) })
	for i := range r.Members {
		r.Members[i].Since = 1
	}
	next := r.Next(1, r.By, r.At, "", nil)
	return &next
}
