package sim

import (
	"time"
)

// path is one host's way to one datastore.
type path struct {
	hung     bool          // operations wait until it heals
	broken   bool          // operations fail at once
	slow     time.Duration // added to every operation, half on each way
	errors   float64       // part of the operations that fail before they take effect
	lost     float64       // part of the writes and claims that take effect and are reported as failed
	late     float64       // part of the claims that are reported as failed and take effect later
	lateness time.Duration // how much later
	parked   []func()      // what goes on when it heals
	busy     int           // operations of a dead agent that have not returned (R1)
	freed    []func()      // what waits for their end
}

// operation is one call on a datastore, as a thread of the agent makes it.
type operation struct {
	what    string
	writes  bool
	claims  bool
	prepare func() // the earlier of two looks of a read, may be nil
	effect  func() // at the datastore
	reply   func(err string)
}

// submit carries an operation out on its way there and back. It lives on when
// the agent that issued it is killed, as a thread in the kernel does, and ends
// with the host.
func (h *host) submit(s *store, o operation) {
	p, boot := h.paths[s.index], h.boots
	alive := func() bool { return h.boots == boot && h.powered }
	answer := func(err string) {
		h.returned(s, func() { o.reply(err) }, alive)
	}
	h.w.after(h.w.latency()+p.slow/2, func() {
		h.reach(s, alive, func() { h.land(s, &o, alive, answer) })
	})
}

// reach goes on once path and datastore do not hang.
func (h *host) reach(s *store, alive func() bool, then func()) {
	p := h.paths[s.index]
	switch {
	case p.hung || s.hung:
		p.parked = append(p.parked, func() { h.reach(s, alive, then) })
	case alive():
		then()
	}
}

// land is an operation's arrival at the datastore.
func (h *host) land(s *store, o *operation, alive func() bool, answer func(string)) {
	p, w := h.paths[s.index], h.w
	switch {
	case p.broken:
		answer("input/output error: no path to " + s.name())
		return
	case w.chance(p.errors):
		answer("input/output error")
		return
	case o.claims && w.chance(p.late):
		w.note(h.name, "%s on %s will land late", o.what, s.name())
		w.after(w.between(0, p.lateness), o.effect)
		answer("timed out")
		return
	}
	if o.prepare != nil {
		o.prepare()
		w.after(w.latency(), func() { h.reach(s, alive, func() { o.effect(); answer("") }) })
		return
	}
	o.effect()
	if (o.writes || o.claims) && w.chance(p.lost) {
		w.note(h.name, "the reply to %s on %s is lost", o.what, s.name())
		answer("the reply was lost")
		return
	}
	answer("")
}

// returned brings a reply back to the host.
func (h *host) returned(s *store, deliver func(), alive func() bool) {
	p := h.paths[s.index]
	h.w.after(h.w.latency()+p.slow/2, func() {
		if p.hung || s.hung {
			p.parked = append(p.parked, func() { h.returned(s, deliver, alive) })
		} else if alive() {
			deliver()
		}
	})
}

// release lets what is parked go on.
func (h *host) release(s *store) {
	p := h.paths[s.index]
	parked := p.parked
	p.parked = nil
	for _, go_ := range parked {
		h.w.after(h.w.latency(), go_)
	}
}
