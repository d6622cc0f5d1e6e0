package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// plots are faults in concert: each follows a run that breaks a weaker version of the
// rules (trace_test.go), with every choice and instant left to chance. Faults that
// come one by one hit such runs once in many thousand schedules.
var plots = []mischief{
	{"vouched", func(x *Chaos, h *host, s *store) func() { return x.vouched(h, s) }},
	{"unseen vouches", func(x *Chaos, h *host, s *store) func() { return x.unseen(h, s) }},
	{"duel", func(x *Chaos, h *host, s *store) func() { return x.duel(h, s) }},
	{"back while freezing", func(x *Chaos, h *host, s *store) func() { return x.whileFreezing(h, s) }},
	{"last word", func(x *Chaos, h *host, s *store) func() { return x.lastWord(h, s) }},
	{"at birth", func(x *Chaos, h *host, s *store) func() { return x.atBirth(h) }},
	{"rivals", func(x *Chaos, h *host, s *store) func() { return x.rivals(h, s) }},
	{"stranger", func(x *Chaos, h *host, s *store) func() { return x.stranger(h, s) }},
	{"hung heartbeat", func(x *Chaos, h *host, s *store) func() { return x.hungHeartbeat(h, s) }},
	{"unlisted", func(x *Chaos, h *host, s *store) func() { return x.unlisted(h, s) }},
	{"orphaned claim", func(x *Chaos, h *host, s *store) func() { return x.orphaned(h, s) }},
	{"second thoughts", func(x *Chaos, h *host, s *store) func() { return x.secondThoughts(h) }},
	{"moved and lost", func(x *Chaos, h *host, s *store) func() { return x.movedAndLost(h, s) }},
	{"other timing", func(x *Chaos, h *host, s *store) func() { return x.otherTiming(h, s) }},
}

// isPlot reports whether faults are a plot.
func isPlot(m mischief) bool {
	return slices.ContainsFunc(plots, func(p mischief) bool { return p.name == m.name })
}

// stage puts everything in order and then performs a plot by itself, against a host
// that has something to lose. Amid other faults few plots run to their ends.
func (x *Chaos) stage(m mischief, h *host, s *store) {
	w, t := x.w, x.w.setup.Timing
	for _, e := range x.ends {
		e.now()
	}
	x.ends = nil
	w.heal()
	w.Run(w.between(t.Takeover, 2*t.Takeover))
	h, s = x.victim(h, s)
	w.note("chaos", "%s by itself, %s, %s", m.name, h.name, s.name())
	if end := m.do(x, h, s); end != nil {
		w.Run(w.between(t.Takeover, 3*t.Takeover))
		end()
	}
}

// victim returns a host other than the master that runs a machine, with its home, or
// else those given.
func (x *Chaos) victim(h *host, s *store) (*host, *store) {
	k := x.master()
	first := x.w.rng.IntN(len(x.w.hosts))
	for i := range x.w.hosts {
		o := x.w.hosts[(first+i)%len(x.w.hosts)]
		if o != k && len(o.processes) > 0 {
			return o, o.processes[x.w.rng.IntN(len(o.processes))].home
		}
	}
	return h, s
}

// kinds are the words with which operations on a datastore begin.
var kinds = []string{"slot", "region", "terms", "claim of term", "claim of generation", "machine", "power-on list"}

// fated gives one kind of a host's operations a fate for a while.
func (x *Chaos) fated(h *host, s *store) func() {
	w := x.w
	kind := kinds[w.rng.IntN(len(kinds))]
	f := fate{out: w.between(0, 3*time.Second), back: w.between(0, w.setup.Timing.Lease)}
	switch w.rng.IntN(4) {
	case 0:
		f = fate{held: true}
	case 1:
		f = fate{fails: true}
	case 2:
		// The next write comes no earlier than half an interval after a failed one.
		f = fate{fails: true, lands: w.between(time.Millisecond, w.setup.Timing.Interval/2)}
	}
	if f.lands > 0 && kind != "slot" {
		f.lands = 0
	}
	w.ordain(s, h, func(o *operation) fate {
		if strings.HasPrefix(o.what, kind) {
			return f
		}
		return fate{}
	})
	return func() { w.mend(s, h) }
}

// master returns the host that leads, by its own word, or nil.
func (x *Chaos) master() *host {
	for _, h := range x.w.hosts {
		if h.agent != nil && h.agent.core != nil && h.agent.core.Leading() {
			return h
		}
	}
	return nil
}

// voucher picks a host that is neither h nor the master, if there is one.
func (x *Chaos) voucher(h *host) *host {
	k := x.master()
	for _, o := range x.but(h) {
		if o != k && k != nil && k != h {
			return o
		}
	}
	return nil
}

// apart is everybody but two.
func (x *Chaos) apart(h, v *host) (others []*host) {
	for _, o := range x.but(h) {
		if o != v {
			others = append(others, o)
		}
	}
	return others
}

// once does something as soon as something holds, if that is soon enough.
func (x *Chaos) once(within time.Duration, holds func() bool, do func()) {
	until := x.w.now + within
	var look func()
	look = func() {
		if holds() {
			do()
		} else if x.w.now < until {
			x.later(10*time.Millisecond, look)
		}
	}
	look()
}

// cure ends a plot on a datastore.
func (x *Chaos) cure(s *store) func() {
	return func() {
		x.w.join()
		x.w.mend(s, x.w.hosts...)
	}
}

// duel silences h until somebody claims its next term. While that claim is on its way h
// comes back, and may fall silent, or asleep, right after it has won the term itself.
func (x *Chaos) duel(h *host, s *store) func() {
	w, t := x.w, x.w.setup.Timing
	w.part([]*host{h}, x.but(h))
	back := func() { w.mend(s, h); x.comeback(h, s) }
	if w.chance(0.3) {
		h.killAgent()
		h.killGuard()
		back = h.at(h.startAgent)
	} else {
		w.hang(s, h)
	}
	out, region, issued := w.between(0, t.Lease/2), fate{}, false
	if w.chance(0.5) {
		region.out = w.between(0, t.Takeover)
	}
	soon := w.between(0, out)
	for _, o := range x.but(h) {
		w.ordain(s, o, func(o *operation) fate {
			switch {
			case o.what == "region" && issued:
				return region
			case !issued && closes(o, h):
				issued = true
				x.later(soon, back)
				return fate{out: out}
			}
			return fate{}
		})
	}
	return func() { x.later(2*t.Takeover, x.cure(s)) } // Both intervals of T have to go by.
}

func closes(o *operation, h *host) bool {
	return strings.HasPrefix(o.what, "claim of term") && strings.HasSuffix(o.what, fmt.Sprintf(" of host %d", h.id))
}

// comeback is what becomes of h's operations once it is back.
func (x *Chaos) comeback(h *host, s *store) {
	w, t := x.w, x.w.setup.Timing
	back, silent, sleeps := time.Duration(0), w.chance(0.7), w.chance(0.3)
	if w.chance(0.6) {
		back = w.between(t.Lease/2, t.Lease)
	}
	won := false
	sleep := x.unlessHealed(func() {
		if a := h.agent; a != nil {
			a.pause()
			x.later(w.between(t.Lease, 2*t.Takeover), a.resume)
		}
	})
	w.ordain(s, h, func(o *operation) fate {
		switch {
		case closes(o, h):
			return fate{back: back, landed: func() {
				if won = true; sleeps {
					sleep()
				}
			}}
		case o.what == "slot" && won && silent:
			return fate{held: true}
		}
		return fate{}
	})
}

// whileFreezing gives h its datastore back at the moment at which its machines are being frozen.
func (x *Chaos) whileFreezing(h *host, s *store) func() {
	x.w.part([]*host{h}, x.but(h))
	x.w.hang(s, h)
	freezes := func() bool {
		return slices.ContainsFunc(h.processes, func(p *process) bool { return p.state == freezing && p.home == s })
	}
	x.once(2*x.w.setup.Timing.Takeover, freezes, func() { x.w.mend(s, h) })
	return x.cure(s)
}

// lastWord lets one more heartbeat of h land; its reply takes long, and is the last.
func (x *Chaos) lastWord(h *host, s *store) func() {
	w, said := x.w, false
	back := w.between(w.setup.Timing.Lease/2, w.setup.Timing.Lease-w.setup.Timing.Interval)
	w.part([]*host{h}, x.but(h))
	w.ordain(s, h, func(o *operation) fate {
		switch {
		case o.what != "slot":
			return fate{}
		case said:
			return fate{held: true}
		}
		said = true
		return fate{back: back}
	})
	return x.cure(s)
}
