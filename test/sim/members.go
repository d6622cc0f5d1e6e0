package sim

import (
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/core"
	clusterrecord "storebeat/agent/core/cluster"
)

// newestCounted returns the newest revision of the cluster record that ever counted,
// nil while there is none.
func (w *World) newestCounted() (newest *clusterrecord.Record) {
	for n, r := range w.counted {
		if newest == nil || n > newest.Revision {
			newest = r
		}
	}
	return newest
}

// member reports whether a host's computer is a member of the cluster.
func (w *World) member(h *host) bool {
	r := w.newestCounted()
	return r == nil || h.memberOf(r)
}

// memberOf reports whether a revision names the host's computer.
func (h *host) memberOf(r *clusterrecord.Record) bool {
	m := r.Member(h.id)
	return m != nil && (m.Machine == uuid.Nil || m.Machine == h.machine)
}

// asMember is a host as a user adds it.
func (h *host) asMember() *clusterrecord.Member {
	address := netip.AddrFrom4([4]byte{10, 0, 0, byte(h.id)})
	return &clusterrecord.Member{ID: h.id, Name: h.name, Heartbeat: netip.AddrPortFrom(address, 7480), Management: netip.AddrPortFrom(address, 7481)}
}

// asked is a datastore as a user adds it.
func (s *store) asked() *clusterrecord.Datastore {
	return &clusterrecord.Datastore{ID: s.id, Name: s.name(), Preferred: s.spec.Preferred, Excluded: s.spec.Excluded}
}

// removeHost is a user who removes a host: sometimes at once, which is refused
// while machines are in its name, and sometimes once it is empty.
func (x *Chaos) removeHost(h *host) (end func()) {
	w := x.w
	if w.chance(0.6) {
		x.askAll(core.ClusterCommand{Verb: core.ClusterMaintenance, Host: h.name, On: true, Move: true})
	}
	ended := false
	for i := range 1 + w.rng.IntN(4) {
		x.later(time.Duration(i)*w.between(time.Second, 6*time.Second), func() {
			if !ended {
				x.askAll(core.ClusterCommand{Verb: core.ClusterHostRemove, Host: h.name})
			}
		})
	}
	return func() {
		if ended = true; w.chance(0.7) {
			x.askAll(core.ClusterCommand{Verb: core.ClusterHostAdd, Member: h.asMember()})
		}
	}
}

// removeDatastore is a user who removes a datastore and adds it again.
func (x *Chaos) removeDatastore(s *store) (end func()) {
	x.askAll(core.ClusterCommand{Verb: core.ClusterDatastoreRemove, Host: s.name()})
	return func() {
		if x.w.chance(0.7) {
			x.askAll(core.ClusterCommand{Verb: core.ClusterDatastoreAdd, Datastore: s.asked()})
		}
	}
}

// bringBack adds what a revision lacks.
func (w *World) bringBack(by *host, r *clusterrecord.Record) {
	for _, h := range w.hosts {
		if r.Member(h.id) == nil {
			w.order(by, core.ClusterCommand{Verb: core.ClusterHostAdd, Member: h.asMember()})
		}
	}
	for _, s := range w.stores {
		if r.Datastore(s.name()) == nil {
			w.order(by, core.ClusterCommand{Verb: core.ClusterDatastoreAdd, Datastore: s.asked()})
		}
	}
}

// missing says which host or datastore is not one of the cluster's.
func (w *World) missing(r *clusterrecord.Record) string {
	for _, h := range w.hosts {
		if !h.memberOf(r) && !w.twins[h.id] {
			return h.name + " is no member"
		}
	}
	for _, s := range w.stores {
		if r.Datastore(s.name()) == nil {
			return s.name() + " is not one of the cluster's datastores"
		}
	}
	return ""
}

// meetMembers counts what a revision that counts changed about hosts and datastores.
func (w *World) meetMembers(before, now *clusterrecord.Record) {
	if before == nil {
		return
	}
	for _, h := range w.hosts {
		switch was, is := before.Member(h.id) != nil, now.Member(h.id) != nil; {
		case was && !is:
			w.met(hostLeft)
		case !was && is:
			w.met(hostBack)
		}
	}
	for _, s := range w.stores {
		switch was, is := before.Datastore(s.name()) != nil, now.Datastore(s.name()) != nil; {
		case was && !is:
			w.met(datastoreLeft)
		case !was && is:
			w.met(datastoreBack)
		}
	}
}

// meetRefusal counts why users were told that a host or a datastore can't be removed.
func (w *World) meetRefusal(why string) {
	switch {
	case strings.Contains(why, "move them first"), strings.Contains(why, "are in the name of"):
		w.met(ownerStays)
	case strings.Contains(why, "have their home"):
		w.met(homeStays)
	}
}

// seeOutcast checks that nothing starts on a host that was removed, or on a computer
// that is not the member, once it has had the time to learn it.
func (w *World) seeOutcast(p *process) {
	number, since := uint64(0), time.Duration(0)
	for n := range w.counted {
		number = max(number, n)
	}
	for n := number; n > 0 && w.counted[n] != nil && !p.h.memberOf(w.counted[n]); n-- {
		since = w.countedAt[n]
	}
	if since > 0 && w.now-since > maintenanceGrace {
		w.fail("I3", "%s starts on %s, which is no member since %s", w.nameOf(p.vm), p.h.name, w.stamp(since))
	}
}
