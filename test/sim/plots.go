package sim

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/core"
)

// plots are faults in concert: each follows a run that breaks a weaker version of the
// rules (trace_test.go), with every choice and instant left to chance. Faults that
// come one by one hit such runs once in many thousand schedules.
var plots = []mischief{
	{"vouched", func(x *Chaos, h *host, s *store) func() { return x.vouched(h, s) }},
	{"unseen vouches", func(x *Chaos, h *host, s *store) func() { return x.unseen(h, s) }},
	{"duel", func(x *Chaos, h *host, s *store) func() { return x.duel(h, s) }},
	{"last word", func(x *Chaos, h *host, s *store) func() { return x.lastWord(h, s) }},
	{"at birth", func(x *Chaos, h *host, s *store) func() { return x.atBirth(h) }},
	{"rivals", func(x *Chaos, h *host, s *store) func() { return x.rivals(h, s) }},
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
		if h.agent != nil && h.agent.core != nil && h.agent.core.View(h.now()).Leading {
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

// cure ends a plot on a datastore.
func (x *Chaos) cure(s *store) func() {
	return func() {
		x.w.join()
		x.w.mend(s, x.w.hosts...)
	}
}

// vouched takes a datastore from h and everybody but one from its sight; that one has
// trouble of its own with its heartbeats.
func (x *Chaos) vouched(h *host, s *store) func() {
	w, v := x.w, x.voucher(h)
	if v == nil {
		return nil
	}
	w.part([]*host{h}, x.apart(h, v))
	w.hang(s, h)
	switch w.rng.IntN(3) {
	case 0:
		w.ordain(s, v, only("slot", fate{fails: true, lands: w.between(0, w.setup.Timing.Interval/2)}))
	case 1:
		w.ordain(s, v, only("slot", fate{fails: true}))
	}
	return x.cure(s)
}

// unseen has vouches come and go while nobody can read.
func (x *Chaos) unseen(h *host, s *store) func() {
	w, v, t := x.w, x.voucher(h), x.w.setup.Timing
	if v == nil {
		return nil
	}
	w.part([]*host{h}, x.apart(h, v))
	w.hang(s, h)
	restart := w.between(t.Lease/2, t.Takeover)
	w.after(w.between(t.Interval/2, t.Interval), func() {
		for _, o := range x.apart(h, v) {
			w.ordain(s, o, only("region", fate{fails: true}))
		}
	})
	w.after(restart, func() {
		w.part([]*host{h}, []*host{v})
		w.restartAgent(v, w.between(0, t.Interval/4))
	})
	w.after(restart+w.between(t.Interval/4, t.Interval), func() { w.mend(s, x.apart(h, v)...) })
	return x.cure(s)
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
				w.after(soon, back)
				return fate{out: out}
			}
			return fate{}
		})
	}
	return func() { w.after(2*t.Takeover, x.cure(s)) } // Both intervals of T have to go by.
}

func closes(o *operation, h *host) bool {
	return strings.HasPrefix(o.what, "claim of term") && strings.HasSuffix(o.what, fmt.Sprintf(" of host %d", h.id))
}

// comeback is what becomes of h's operations once it is back.
func (x *Chaos) comeback(h *host, s *store) {
	w, t := x.w, x.w.setup.Timing
	back, silent, sleeps := time.Duration(0), w.chance(0.5), w.chance(0.4)
	if w.chance(0.6) {
		back = w.between(t.Lease/2, t.Lease)
	}
	won := false
	w.ordain(s, h, func(o *operation) fate {
		switch {
		case closes(o, h):
			return fate{back: back, landed: func() {
				won = true
				if a := h.agent; a != nil && sleeps {
					a.pause()
					w.after(w.between(t.Lease, 2*t.Takeover), a.resume)
				}
			}}
		case o.what == "slot" && won && silent:
			return fate{held: true}
		}
		return fate{}
	})
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

// atBirth takes the power from a host, and meddles with the first start that follows it.
func (x *Chaos) atBirth(h *host) func() {
	w := x.w
	h.powerOff()
	until := w.now + 3*w.setup.Timing.Takeover
	var wait func()
	wait = func() {
		for _, o := range x.but(h) {
			for _, p := range o.processes {
				if !p.ran {
					w.after(w.between(0, 2*w.setup.StartTime), func() { x.meddle(o, p.vm) })
					return
				}
			}
		}
		if w.now < until {
			w.after(10*time.Millisecond, wait)
		}
	}
	wait()
	return h.powerOn
}

// meddle does something to a machine that is about to start on a host.
func (x *Chaos) meddle(h *host, vm uuid.UUID) {
	w := x.w
	switch w.rng.IntN(5) {
	case 0:
		w.command(h, core.Command{Verb: core.Stop, VM: vm.String()})
	case 1:
		w.command(w.hosts[w.rng.IntN(len(w.hosts))], core.Command{Verb: core.Unprotect, VM: vm.String()})
	case 2:
		h.powerOff()
		w.after(w.between(x.least, x.most), h.powerOn)
	case 3:
		w.restartAgent(h, w.between(0, time.Second))
	case 4:
		h.killGuard()
	}
}

// rivals has several masters find out that a host is lost, and want its machines.
func (x *Chaos) rivals(h *host, s *store) func() {
	w := x.w
	for _, o := range x.but(h) {
		w.part([]*host{o}, x.but(o))
		w.ordain(s, o, only("claim of generation", fate{out: w.between(0, w.setup.Timing.Interval)}))
	}
	w.after(w.between(2*time.Second, 5*time.Second), h.powerOff)
	return x.cure(s)
}
