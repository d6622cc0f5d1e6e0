package sim

import (
	"github.com/google/uuid"

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
