package sim

import (
	"slices"
	"time"

	"storebeat/test/sim/scenario"
)

// ends are the pairs of hosts between the slots HOSTS and NODES or OTHERS, and the
// isolation addresses among the latter.
type ends struct {
	from, to  []*host
	addresses []string
}

func (p *player) endsOf(a *scenario.Phrase, slot string) (e ends, err error) {
	if e.from, err = p.hostsIn(a, "HOSTS", nil); err != nil {
		return e, err
	}
	if e.to, err = p.hostsIn(a, slot, e.from); err != nil {
		return e, err
	}
	for _, name := range a.Names(slot) {
		if slices.Contains(p.scene.Addresses, name) {
			e.addresses = append(e.addresses, name)
		}
	}
	return e, nil
}

// change does something to every link of e, in one direction or both. It excuses what
// the hosts do for a while (I6).
func (p *player) change(e ends, bothWays bool, do func(l *link)) {
	for _, h := range slices.Concat(e.from, e.to) {
		h.alone.note(p.now)
	}
	for _, from := range e.from {
		for _, to := range e.to {
			if from == to {
				continue
			}
			do(&p.network.links[from.index][to.index])
			if bothWays {
				do(&p.network.links[to.index][from.index])
			}
		}
	}
}

func (e ends) silence(deaf bool) {
	for _, h := range e.from {
		h.deaf = slices.DeleteFunc(h.deaf, func(a string) bool { return slices.Contains(e.addresses, a) })
		if deaf {
			h.deaf = append(h.deaf, e.addresses...)
		}
	}
}

func (p *player) disconnect(e ends, bothWays bool) (undo func()) {
	p.change(e, bothWays, func(l *link) {
		if !l.cut {
			l.cut, l.cutAt = true, p.now
		}
	})
	e.silence(true)
	return func() {
		p.change(e, bothWays, func(l *link) { l.cut, l.cutAt = false, 0 })
		e.silence(false)
	}
}

func (p *player) cutApart(a *scenario.Phrase, bothWays bool) (func(), error) {
	e, err := p.endsOf(a, "NODES")
	if err != nil {
		return nil, err
	}
	return p.disconnect(e, bothWays), nil
}

func (p *player) cutNetwork(*scenario.Phrase) (func(), error) {
	return p.disconnect(ends{p.hosts, p.hosts, p.scene.Addresses}, true), nil
}

func (p *player) isolateHosts(a *scenario.Phrase) (func(), error) {
	hosts, err := p.hostsIn(a, "HOSTS", nil)
	if err != nil {
		return nil, err
	}
	return p.disconnect(ends{hosts, p.hosts, p.scene.Addresses}, true), nil
}

// reconnect ends what is wrong between hosts and others, or everything.
func (p *player) reconnect(a *scenario.Phrase) (func(), error) {
	e := ends{to: p.hosts, addresses: p.scene.Addresses}
	var err error
	if a.Has("NODES") {
		e, err = p.endsOf(a, "NODES")
	} else {
		e.from, err = p.hostsIn(a, "HOSTS", nil)
	}
	if err != nil {
		return nil, err
	}
	p.change(e, true, func(l *link) { *l = link{} })
	e.silence(false)
	return nil, nil
}

func (p *player) degrade(a *scenario.Phrase) (func(), error) {
	e, bothWays := ends{from: p.hosts, to: p.hosts}, true
	var err error
	if a.Form == scenario.DegradeLink {
		e, err = p.endsOf(a, "OTHERS")
		bothWays = false
	} else if a.Has("HOSTS") {
		e.from, err = p.hostsIn(a, "HOSTS", nil)
	}
	if err != nil {
		return nil, err
	}
	delay, _ := a.Span("DELAY")
	jitter, _ := a.Span("JITTER")
	bad := link{loss: a.Number("LOSS"), double: a.Number("COPIES"), delay: p.draw(delay), jitter: p.draw(jitter)}
	p.change(e, bothWays, func(l *link) { l.loss, l.double, l.delay, l.jitter = bad.loss, bad.double, bad.delay, bad.jitter })
	return func() {
		p.change(e, bothWays, func(l *link) { l.loss, l.double, l.delay, l.jitter = 0, 0, 0, 0 })
	}, nil
}

// way is one host's path to one datastore.
type way struct {
	h *host
	s *store
}

func (x way) path() *path { return x.h.paths[x.s.index] }

// waysIn returns the paths of HOSTS to DATASTORES.
func (p *player) waysIn(a *scenario.Phrase) (ways []way, err error) {
	hosts := p.hosts
	if a.Has("HOSTS") {
		if hosts, err = p.hostsIn(a, "HOSTS", nil); err != nil {
			return nil, err
		}
	}
	for _, s := range p.storesIn(a) {
		for _, h := range hosts {
			ways = append(ways, way{h, s})
		}
	}
	return ways, nil
}

// eachPath does something to the paths of HOSTS to DATASTORES. Where HOSTS are left
// out it does it to the datastore as a whole, if there is a way.
func eachPath(do, undo func(h *host, p *path), whole func(s *store, on bool)) action {
	return func(p *player, a *scenario.Phrase) (func(), error) {
		if whole != nil && !a.Has("HOSTS") {
			return p.whole(a, whole), nil
		}
		ways, err := p.waysIn(a)
		if err != nil {
			return nil, err
		}
		for _, x := range ways {
			do(x.h, x.path())
			x.path().trouble.note(p.now)
		}
		return func() {
			for _, x := range ways {
				undo(x.h, x.path())
				x.path().trouble.note(p.now)
				x.h.release(x.s)
			}
		}, nil
	}
}

func (p *player) whole(a *scenario.Phrase, turn func(s *store, on bool)) (undo func()) {
	stores := p.storesIn(a)
	for _, s := range stores {
		turn(s, true)
	}
	return func() {
		for _, s := range stores {
			turn(s, false)
			s.trouble.note(p.now)
			for _, h := range p.hosts {
				h.release(s)
			}
		}
	}
}

func hangPath(h *host, p *path) {
	p.lose(h.w.now)
	p.hung = true
}

func breakPath(h *host, p *path) {
	p.lose(h.w.now)
	p.broken = true
}

func (p *player) slow(a *scenario.Phrase) (func(), error) {
	d, _ := a.Span("DELAY")
	delay := p.draw(d)
	return eachPath(func(_ *host, p *path) { p.slow = delay }, func(_ *host, p *path) { p.slow = 0 }, nil)(p, a)
}

// governed gives one kind of operation a fate.
func governed(of func(delay time.Duration) fate) action {
	return func(p *player, a *scenario.Phrase) (func(), error) {
		ways, err := p.waysIn(a)
		if err != nil {
			return nil, err
		}
		d, _ := a.Span("DELAY")
		kinds := scenario.Operations[a.Word("OPERATIONS")+a.Word("CHANGES")]
		f := of(p.draw(d))
		var rules []*rule
		for _, x := range ways {
			rules = append(rules, x.path().govern(kinds, f))
			x.path().trouble.note(p.now)
		}
		return func() {
			for i, x := range ways {
				rules[i].ended = true
				x.path().trouble.note(p.now)
				x.h.release(x.s)
			}
		}, nil
	}
}

// mendPaths ends every fault of DATASTORES, or only those of some hosts' paths to them.
func (p *player) mendPaths(a *scenario.Phrase) (func(), error) {
	ways, err := p.waysIn(a)
	if err != nil {
		return nil, err
	}
	for _, s := range p.storesIn(a) {
		if !a.Has("HOSTS") {
			p.mend(s)
		}
	}
	for _, x := range ways {
		p.mend(x.s, x.h)
	}
	return nil, nil
}

func (p *player) tearSlots(a *scenario.Phrase) (func(), error) {
	ways, err := p.waysIn(a)
	for _, x := range ways {
		x.s.tear(x.h.id)
	}
	return nil, err
}

func (p *player) failShare(a *scenario.Phrase) (func(), error) {
	share := a.Number("SHARE")
	return eachPath(func(_ *host, p *path) { p.errors = share }, func(_ *host, p *path) { p.errors = 0 }, nil)(p, a)
}

func (p *player) forgetHeartbeats(a *scenario.Phrase) (func(), error) {
	ways, err := p.waysIn(a)
	for _, x := range ways {
		p.forget(x.s, x.h)
	}
	return func() {
		for _, x := range ways {
			x.path().forgets = false
		}
	}, err
}

func (p *player) staleReads(a *scenario.Phrase) (func(), error) {
	d, _ := a.Span("DELAY")
	delay := p.draw(d)
	return eachPath(func(_ *host, p *path) { p.stale, p.old = delay, delay }, func(_ *host, p *path) { p.stale, p.old, p.listings = 0, 0, nil }, nil)(p, a)
}
