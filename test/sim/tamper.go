package sim

import (
	"slices"
	"time"

	"storebeat/agent/core"
	clusterrecord "storebeat/agent/core/cluster"
	"storebeat/datastorehb"
)

// What happens to a datastore as a whole, outside what its file system may do. R14
// asks that it is noticed: from then on nothing on it is claimed, closed or taken
// as proof, and what the hosts run there is frozen.

// replace puts an empty datastore of another identity in the place of this one.
func (s *store) replace() {
	s.w.note(s.name(), "is replaced by an empty datastore")
	s.contents, s.identity, s.tampered = s.w.emptyContents(), s.w.uuid(), true
}

// restore puts everything on the datastore back to what it was at a snapshot.
func (s *store) restore(old contents) {
	s.w.note(s.name(), "is restored from a snapshot")
	s.contents, s.tampered = old, true
	s.contents = s.snapshot() // which may be restored again
}

// forget makes a datastore acknowledge a host's heartbeats and lose them, until its
// path is mended.
func (w *World) forget(s *store, h *host) {
	w.note(s.name(), "acknowledges heartbeats of %s and loses them", h.name)
	h.paths[s.index].forgets, s.tampered = true, true
}

// twin adds another computer, without power, with the host id of one that is there.
func (w *World) twin(h *host) *host {
	w.twins[h.id] = true
	return w.addHost(h.id)
}

// exchange replaces a host by another computer with the same host id, which is
// without power yet. The old one never comes back.
func (h *host) exchange() {
	h.powerOff()
	h.w.note(h.name, "is exchanged for another computer")
	h.machine, h.kept = h.w.uuid(), nil
	h.w.admit(h)
}

// admit is an operator who says that a host's computer is the member by its id, again
// and again until the cluster record says so.
func (w *World) admit(h *host) {
	for _, o := range w.hosts {
		if o.agent == nil || o.agent.core == nil || !o.agent.core.Leading() && (o != h || o.agent.core.Outcast() == "") {
			continue
		}
		if r := o.agent.core.Acting(); r != nil && r.Member(h.id) != nil && r.Member(h.id).Machine == h.machine {
			w.count("admitted")
			return
		}
		w.order(o, core.ClusterCommand{Verb: core.ClusterHostAdd, Member: &clusterrecord.Member{Name: h.name, Machine: h.machine}, Replace: true})
	}
	w.after(3*time.Second, func() { w.admit(h) })
}

// inCustody reports whether a slot of the host says that its machines are in custody.
func (h *host) inCustody() bool {
	return slices.ContainsFunc(h.w.stores, func(s *store) bool { return s.slots[h.id].Slot.Custody != 0 })
}

// sound reports whether no host has a reason to distrust a datastore.
func (w *World) sound(s *store) bool { return !s.tampered && len(w.twins) == 0 }

// twins are the host ids that more than one computer has, or had.
type twins map[datastorehb.HostID]bool
