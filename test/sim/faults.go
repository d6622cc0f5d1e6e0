package sim

import (
	"strings"
	"time"
)

// hang makes every operation of hosts on a datastore wait. Without hosts the
// datastore itself hangs.
func (w *World) hang(s *store, hosts ...*host) {
	if len(hosts) == 0 {
		w.note(s.name(), "hangs")
		s.hung = true
	}
	for _, h := range hosts {
		w.note(h.name, "its path to %s hangs", s.name())
		p := h.paths[s.index]
		p.lose(w.now)
		p.hung = true
	}
}

// sever makes every operation of hosts on a datastore fail at once.
func (w *World) sever(s *store, hosts ...*host) {
	for _, h := range hosts {
		w.note(h.name, "its path to %s is broken", s.name())
		h.paths[s.index].lose(w.now)
		h.paths[s.index].broken = true
	}
}

// mend ends every fault between hosts and a datastore, and those of the datastore itself.
func (w *World) mend(s *store, hosts ...*host) {
	if len(hosts) == 0 {
		w.note(s.name(), "works again")
		s.hung, s.full = false, false
		s.trouble.note(w.now)
		for _, h := range w.hosts {
			h.release(s)
		}
	}
	for _, h := range hosts {
		w.note(h.name, "its path to %s works again", s.name())
		p := h.paths[s.index]
		if p.ill() {
			p.trouble.note(w.now)
		}
		p.hung, p.broken, p.slow, p.errors, p.lost, p.late, p.torn, p.forgets, p.stale, p.old, p.listings, p.fate = false, false, 0, 0, 0, 0, 0, false, 0, 0, nil, nil
		p.ordained++
		for _, r := range p.rules {
			r.ended = true
		}
		p.rules = nil
		h.release(s)
	}
}

// ordain says what becomes of a host's operations on a datastore, until its path is
// mended or something else is ordained. What waits is judged anew.
func (w *World) ordain(s *store, h *host, fate func(o *operation) fate) {
	p := h.paths[s.index]
	p.fate = fate
	p.trouble.note(w.now)
	p.ordained++
	h.release(s)
}

// only gives one kind of operation a fate.
func only(what string, f fate) func(*operation) fate {
	return func(o *operation) fate {
		if strings.HasPrefix(o.what, what) {
			return f
		}
		return fate{}
	}
}

// cut cuts the network from some hosts to others, in this direction alone.
func (w *World) cut(from, to []*host) {
	for _, a := range from {
		for _, b := range to {
			w.note(a.name, "is cut off from %s", b.name)
			if l := &w.network.links[a.index][b.index]; !l.cut {
				l.cut, l.cutAt = true, w.now
			}
		}
	}
}

// part cuts the network between two groups of hosts, in both directions.
func (w *World) part(a, b []*host) {
	w.cut(a, b)
	w.cut(b, a)
}

// join ends every fault of the network.
func (w *World) join() {
	w.note("network", "works again")
	for _, h := range w.hosts {
		if h.lonely(w.now) {
			h.alone.note(w.now)
		}
	}
	for i := range w.network.links {
		clear(w.network.links[i])
	}
	for _, h := range w.hosts {
		h.reachable, h.deaf, h.echoed = true, nil, false
	}
}

// echo has something else answer pings to a host's address, whatever becomes of
// the host, or ends that.
func (h *host) echo(on bool) {
	h.w.note(h.name, "something else answers at its address: %t", on)
	h.echoed = on
}

// restartAgent kills a host's agent and starts it again some time later.
func (w *World) restartAgent(h *host, after time.Duration) {
	h.killAgent()
	w.after(after, h.at(h.startAgent))
}

// heal ends every fault of everything.
func (w *World) heal() {
	w.note("world", "everything heals")
	w.heals++
	w.join()
	for _, s := range w.stores {
		w.mend(s)
		w.mend(s, w.hosts...)
	}
	w.healTransfers()
	for _, h := range w.hosts {
		h.endBehind()
		h.slowStart, h.badStart, h.startHangs, h.stopHangs, h.hesitant, h.away = 0, false, false, false, 0, 0
		h.goOn()
		h.agent.resume()
		switch {
		case !h.powered:
			h.powerOn()
		case h.shutting:
			h.bootAfterShutdown()
		case h.agent == nil:
			w.after(0, h.at(h.startAgent))
		}
	}
}

// bootAfterShutdown boots a host that is shutting down, once it has no power.
func (h *host) bootAfterShutdown() {
	h.w.after(100*time.Millisecond, func() {
		if h.shutting {
			h.bootAfterShutdown()
		} else {
			h.powerOn()
		}
	})
}
