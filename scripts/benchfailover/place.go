package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"storebeat/agent/core"
	"storebeat/agent/journal"
	"storebeat/datastorehb"
	"storebeat/test/faultfs"
	"storebeat/test/lab"
	"storebeat/test/nfslab"
)

// place is where faults strike: a lab, of either kind.
type place struct {
	storage    string // as the table calls it
	machines   int    // so many run there
	hosts      []*host
	datastores []lab.Datastore
	watch      *lab.Watch

	settled func(ctx context.Context, machines int) (bool, string)
	darken  func(h *host) error    // takes network and storage from a host
	stall   func(still bool) error // all storage, for everybody
	heal    func() error           // every fault, but for a host's power
	end     func() error
}

// host is one of a place.
type host struct {
	Name     string
	ID       datastorehb.HostID
	isOn     func() bool
	powerOn  func(ctx context.Context) error
	powerOff func() error
	linkDown func() error
	view     func(ctx context.Context) (core.View, error)
	events   func(ctx context.Context, since time.Time) ([]journal.Entry, error)
	protect  func(ctx context.Context, m *lab.Machine) error
}

const hosts, datastores = 3, 2

// places are the kinds of storage that can be measured.
var places = map[string]func(ctx context.Context, binary, profile string, lockLease time.Duration) (*place, error){"local": localPlace, "NFS": nfsPlace}

// localPlace is package lab: hosts that share this computer's kernel.
func localPlace(_ context.Context, binary, profile string, _ time.Duration) (*place, error) {
	l, err := lab.Build(lab.Options{Binary: binary, Hosts: hosts, Datastores: datastores, Profile: profile})
	if err != nil {
		return nil, err
	}
	p := &place{storage: "local", machines: 6, datastores: l.Datastores, watch: l.Watch, settled: l.Settled, heal: l.Heal, end: l.End}
	for _, h := range l.Hosts {
		p.hosts = append(p.hosts, &host{Name: h.Name, ID: h.ID, isOn: h.IsOn, powerOff: h.PowerOff, linkDown: h.LinkDown, events: h.Events, protect: h.Protect,
			powerOn: func(context.Context) error { return h.PowerOn() },
			view:    func(ctx context.Context) (core.View, error) { return h.View(ctx, true) }})
	}
	p.darken = func(h *host) error {
		darken(l, l.Hosts[h.ID-1])
		return nil
	}
	p.stall = func(still bool) error {
		each := (*faultfs.Mount).Heal
		if still {
			each = (*faultfs.Mount).Hang
		}
		for _, h := range l.On() {
			for _, d := range l.Datastores {
				each(h.Storage(d))
			}
		}
		return nil
	}
	return p, l.Start()
}

// darken takes a host's network and storage away. The file server gives its locks
// up at once, so that what is measured is the product and not the server's lease.
func darken(l *lab.Lab, h *lab.Host) {
	l.Network.Isolate(h)
	for _, d := range l.Datastores {
		h.Storage(d).Hang()
	}
	for _, d := range l.Datastores {
		h.Storage(d).Revoke()
	}
}

// nfsPlace is package nfslab: hosts in emulation, each a computer with an NFS client,
// and a server that keeps locks for so long, 0 for ten seconds. They are slow, so that two
// machines must do. One cable carries their network and their storage.
func nfsPlace(ctx context.Context, binary, profile string, lockLease time.Duration) (*place, error) {
	l, err := nfslab.Build(ctx, nfslab.Options{Binary: binary, Hosts: hosts, Profile: profile, Lease: lockLease})
	if err != nil {
		return nil, err
	}
	p := &place{storage: "NFS", machines: 2, datastores: l.Datastores, watch: l.Watch, settled: l.Settled, heal: l.Heal, end: l.End}
	for _, h := range l.Hosts {
		p.hosts = append(p.hosts, &host{Name: h.Name, ID: h.ID, isOn: h.IsOn, powerOn: h.PowerOn, powerOff: h.PowerOff, linkDown: h.LinkDown, view: h.View, protect: h.Protect,
			events: func(ctx context.Context, since time.Time) ([]journal.Entry, error) {
				all, err := h.Events(ctx)
				return slices.DeleteFunc(all, func(e journal.Entry) bool { return e.Wall.Before(since) }), err
			}})
	}
	p.darken = func(h *host) error { return h.linkDown() }
	p.stall = func(still bool) error {
		if still {
			return l.Server.Stop()
		}
		return l.Server.Continue()
	}
	return p, l.Start(ctx)
}

// build makes a place whose hosts are on.
func build(ctx context.Context, storage, binary, profile string, lockLease time.Duration) (*place, error) {
	p, err := places[storage](ctx, binary, profile, lockLease)
	if err != nil && p != nil {
		err = fmt.Errorf("start the lab: %w (its end: %v)", err, p.end())
	}
	return p, err
}
