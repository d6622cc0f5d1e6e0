package core

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"storebeat/agent/core/cluster"
	"storebeat/datastorehb"
)

// takeDatastores goes over to the datastores of a revision: those that it names,
// those that still vote on it, and those on which something of this host is left.
func (c *Core) takeDatastores(r *cluster.Record) {
	for i := range r.Datastores {
		d := &r.Datastores[i]
		f := c.footing(d.ID)
		if f == nil || slices.Contains(c.retired, f) {
			f = c.revive(Datastore{ID: d.ID, Name: d.Name})
		}
		f.Name, f.Preferred, f.Excluded, f.left = d.Name, d.Preferred, d.Excluded, false
	}
	for _, f := range slices.Clone(c.footings) {
		if r.Datastore(f.ID.String()) != nil {
			continue
		}
		f.Excluded, f.left = true, true
	}
	c.retireLeft()
}

// retireLeft puts datastores aside that have left the cluster, once nothing of
// this host is there any more and they have no vote either.
func (c *Core) retireLeft() {
	for _, f := range slices.Clone(c.footings) {
		if f.left && !slices.Contains(c.record.acting.Voters, f.ID) && !c.needs(f) {
			c.retire(f)
		}
	}
}

// needs reports whether something of this host is on a datastore that has left
// the cluster.
func (c *Core) needs(f *footing) bool {
	return len(c.machinesOn(f)) > 0 || f.inherited != nil
}

// revive takes a datastore into use, for the first time or again.
func (c *Core) revive(d Datastore) *footing {
	f := newFooting(d)
	if at := slices.IndexFunc(c.retired, func(o *footing) bool { return o.ID == d.ID }); at >= 0 {
		f = c.retired[at]
		c.retired = slices.Delete(c.retired, at, at+1)
		f.open, f.opened, f.why, f.nextScan, f.scanned, f.record.next = false, false, notOpened, c.now, false, c.now
	}
	c.footings = append(c.footings, f)
	slices.SortFunc(c.footings, func(a, b *footing) int { return compareUUID(a.ID, b.ID) })
	c.do(OpenDatastore{Datastore: f.ID})
	return f
}

// retire puts a datastore aside. What is under way there still comes to its end,
// and what this host knows of its own slot and term there is kept, in case the
// datastore comes back (R14).
func (c *Core) retire(f *footing) {
	c.footings = slices.DeleteFunc(c.footings, func(o *footing) bool { return o == f })
	c.retired = append(c.retired, f)
	if f.phase == termHeld {
		f.phase, f.lapsedTerm = termLapsed, f.lease.Term()
	}
	f.settled, f.lapsedAt = true, c.now
	f.open, f.selected, f.why, f.lease, f.custody = false, false, "it is not one of the cluster's datastores", datastorehb.Lease{}, custody{}
	f.failWatches(f.why)
	c.do(CloseDatastore{Datastore: f.ID})
	c.journal(Event{Kind: "datastore-retired", Datastore: f.ID, Text: fmt.Sprintf("datastore %s is not one of the cluster's any more: this host leaves it alone", f.Name)})
}

// removeDatastore takes a datastore out once no machine has its home there.
func (c *Core) removeDatastore(next *cluster.Record, idOrName string) (what string, err error) {
	d := next.Datastore(idOrName)
	if d == nil {
		return next.RemoveDatastore(idOrName)
	}
	f := c.footing(d.ID)
	given := slices.Contains(c.record.change.without, d.ID)
	if !given && (f == nil || !f.usable() || !f.scanned) {
		return "", fmt.Errorf("%s can't be read, and machines may have their home there: mend it, or go on without it by --without %s", d.Name, d.Name)
	}
	if f != nil {
		if homed := c.homed(f); len(homed) > 0 {
			return "", fmt.Errorf("%s have their home on %s: stop them and take them off with `storebeat vm unprotect` first", strings.Join(homed, ", "), d.Name)
		}
	}
	return next.RemoveDatastore(idOrName)
}

// homed lists the machines that are protected on a datastore, or may run there.
func (c *Core) homed(f *footing) (names []string) {
	for _, i := range f.infos {
		if i.EntryState == datastorehb.Valid && i.Entry.Protected || c.placeOf(f, i) != 0 {
			names = append(names, i.name())
		}
	}
	return names
}

// name is what people call a machine.
func (i *info) name() string { return cmp.Or(i.Entry.Name, i.vm.String()) }
