package sim

import (
	"slices"
	"time"

	"storebeat/poweron"
)

// seeRules checks I3 when a process executes for the first time: the host is one
// that the machine must run on, if it must, and executes nothing that must be
// apart from it. That two must be together is no more than the master's care: two
// masters may each start one of them.
func (w *World) seeRules(p *process) {
	e, ok := w.ruling(p)
	if !ok {
		return
	}
	if hosts := e.Rules.Must.Hosts; len(hosts) > 0 && !slices.Contains(hosts, p.h.id) {
		w.fail("I3", "%s starts on %s and must run on %v", e.Name, p.h.name, hosts)
	}
	for _, other := range p.h.processes {
		o, ok := w.ruling(other)
		if other != p && ok && other.executes() && (shuns(e, o) || shuns(o, e)) {
			w.fail("I3", "%s starts on %s, where %s runs, and the two must be apart", e.Name, p.h.name, o.Name)
		}
	}
}

// ruling returns the entry of a machine whose rules its user has left alone for
// long enough to be heeded.
func (w *World) ruling(p *process) (poweron.Entry, bool) {
	es := p.home.entries[p.vm]
	if len(es) == 0 || w.now-es[len(es)-1].at < startGrace+time.Second {
		return poweron.Entry{}, false
	}
	return es[len(es)-1].entry, true
}

// shuns reports whether a hard rule of e names o, or a group of o.
func shuns(e, o poweron.Entry) bool {
	return slices.ContainsFunc(e.Rules.Must.Apart, func(name string) bool {
		return name == o.Name || slices.Contains(o.Rules.Groups, name)
	})
}
