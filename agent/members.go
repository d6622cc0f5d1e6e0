package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/google/uuid"

	"storebeat/agent/config"
	"storebeat/agent/core/cluster"
	"storebeat/datastorehb"
)

// actOn goes over to a revision of the cluster record: other hosts are spoken to
// where it says.
func (a *Agent) actOn(r *cluster.Record) {
	a.acting.Store(r)
	a.network.SetPeers(a.addresses(func(m cluster.Member) netip.AddrPort { return m.Heartbeat }))
	a.peers.SetPeers(a.addresses(func(m cluster.Member) netip.AddrPort { return m.Management }))
}

// members are those of the cluster record, and those of the configuration file
// while there is none.
func (a *Agent) members() []cluster.Member {
	if r := a.acting.Load(); r != nil {
		return r.Members
	}
	return a.file.Record().Members
}

// member returns the member of that id, and whether there is one.
func (a *Agent) member(id datastorehb.HostID) (cluster.Member, bool) {
	all := a.members()
	at := slices.IndexFunc(all, func(m cluster.Member) bool { return m.ID == id })
	if at < 0 {
		return cluster.Member{}, false
	}
	return all[at], true
}

// addresses returns one address of every other host.
func (a *Agent) addresses(of func(cluster.Member) netip.AddrPort) map[datastorehb.HostID][]netip.AddrPort {
	peers := map[datastorehb.HostID][]netip.AddrPort{}
	for _, m := range a.members() {
		if m.ID != a.self.Host {
			peers[m.ID] = []netip.AddrPort{of(m)}
		}
	}
	return peers
}

func (a *Agent) otherHosts() (ids []datastorehb.HostID) {
	for _, m := range a.members() {
		if m.ID != a.self.Host {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// settingsOf says where a datastore lies on this host, and what its operator
// accepts there. The file's word about the path goes before the record's, which is
// for all hosts.
func (a *Agent) settingsOf(id uuid.UUID) (config.Datastore, error) {
	file, inFile := a.live.Load().DatastoreByUUID(id)
	shared, inRecord := a.sharedSettings(id)
	switch {
	case inFile:
		file.AcceptNoBarrier = file.AcceptNoBarrier || shared.AcceptNoBarrier
		return file, nil
	case inRecord && shared.Path != "":
		return config.Datastore{UUID: id, Name: shared.Name, Path: shared.Path, AcceptNoBarrier: shared.AcceptNoBarrier}, nil
	case inRecord:
		return config.Datastore{UUID: id, Name: shared.Name}, fmt.Errorf("this host does not know where datastore %s is mounted: add it to %s, with name, path and uuid = %q", shared.Name, a.file.Path, id)
	}
	return config.Datastore{UUID: id}, fmt.Errorf("no datastore with UUID %s is known", id)
}

func (a *Agent) sharedSettings(id uuid.UUID) (cluster.Datastore, bool) {
	r := a.acting.Load()
	if r == nil || r.Datastore(id.String()) == nil {
		return cluster.Datastore{}, false
	}
	return *r.Datastore(id.String()), true
}

// datastoreName is what people call a datastore.
func (a *Agent) datastoreName(id uuid.UUID) string {
	if d, ok := a.sharedSettings(id); ok {
		return d.Name
	}
	if d, ok := a.file.DatastoreByUUID(id); ok {
		return d.Name
	}
	return id.String()
}

// datastores are all that this agent ever opened. One that has left the cluster
// stays, closed, for what is still under way there.
type datastores struct {
	mu  sync.Mutex
	all map[uuid.UUID]*datastore
}

// of returns a datastore, nil if it was never opened.
func (ds *datastores) of(id uuid.UUID) *datastore {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	return ds.all[id]
}

// list returns those that are in use.
func (ds *datastores) list() (all []*datastore) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	for _, d := range ds.all {
		if d.wanted.Load() {
			all = append(all, d)
		}
	}
	return all
}

// openDatastore takes a datastore into use, for the first time or again.
func (a *Agent) openDatastore(id uuid.UUID) {
	a.datastores.mu.Lock()
	defer a.datastores.mu.Unlock()
	d := a.datastores.all[id]
	if d == nil {
		d = &datastore{id: id, agent: a}
		a.datastores.all[id] = d
	}
	if !d.wanted.Swap(true) {
		d.open()
	}
}

// closeDatastore leaves a datastore alone.
func (a *Agent) closeDatastore(id uuid.UUID) {
	if d := a.datastores.of(id); d != nil {
		d.wanted.Store(false)
		d.close()
	}
}
