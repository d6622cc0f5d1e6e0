package cluster

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Differences says in which way a configuration file differs from the record;
// local is the first revision as the file would make it. Each difference names
// both values and the remedy. What the file does not mention is none: it need not
// name the other hosts, nor a datastore that is where the record says, nor the
// settings that are silent.
func Differences(local, record *Record, silent []string) (all []string) {
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	for i := range local.Members {
		l := &local.Members[i]
		if m := record.Member(l.ID); m == nil {
			add("host %q (id %d) of the file is no member: remove its block, or add it with `storebeat host add`", l.Name, l.ID)
		} else if l.Name != m.Name || l.Heartbeat != m.Heartbeat || l.Management != m.Management {
			add("the file has id %d as %q at %v and %v, the record as %q at %v and %v: correct the file, or the record with `storebeat host set`",
				m.ID, l.Name, l.Heartbeat, l.Management, m.Name, m.Heartbeat, m.Management)
		}
	}
	for _, l := range local.Datastores {
		d := record.Datastore(l.ID.String())
		switch {
		case d == nil:
			add("datastore %q (%s) of the file is not one of the cluster's: add it with `storebeat datastore add`, or remove its block", l.Name, l.ID)
		case l.Name != d.Name:
			add("datastore %s is %q in the file and %q in the record: correct the file", d.ID, l.Name, d.Name)
		}
	}
	if l, r := local.Timing.Freeze, record.Timing.Freeze; l > r { // whatever the file is silent about: its guard goes by it
		add("by the file the guard of this host freezes within %v, and the cluster counts on %v: write freeze = %q into its timing block, and run `systemctl reload storebeat-guard`", l, r, r)
	}
	for _, name := range Settings() {
		if slices.Contains(silent, name) {
			continue
		}
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
