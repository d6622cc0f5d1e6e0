package sim

import (
	"strings"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/core"
)

// Plots about starts of machines, and who may begin them.

// atBirth takes the power from a host, and meddles with the first start that follows it.
func (x *Chaos) atBirth(h *host) func() {
	w := x.w
	h.powerOff()
	var born *process
	x.once(3*w.setup.Timing.Takeover, func() bool {
		for _, o := range x.but(h) {
			for _, p := range o.processes {
				if !p.ran {
					born = p
				}
			}
		}
		return born != nil
	}, func() { x.later(w.between(0, 2*w.setup.StartTime), func() { x.meddle(born.h, born.vm) }) })
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
		x.later(w.between(x.least, x.most), h.powerOn)
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
	x.later(w.between(2*time.Second, 5*time.Second), h.powerOff)
	return x.cure(s)
}

// anew has a user stop every machine of a datastore and start it again soon after.
func (x *Chaos) anew(h *host, s *store) {
	w := x.w
	for _, vm := range w.vms {
		if len(s.gens[vm]) > 0 {
			w.command(h, core.Command{Verb: core.Stop, VM: vm.String()})
			x.later(w.between(time.Second, 4*time.Second), func() { w.command(h, core.Command{Verb: core.Start, VM: vm.String()}) })
		}
	}
}

// unlisted takes a host from everybody's sight when it has claimed a machine and has not
// listed it.
func (x *Chaos) unlisted(h *host, s *store) func() {
	w := x.w
	hide := x.unlessHealed(func() { w.part([]*host{h}, x.but(h)) })
	w.ordain(s, h, func(o *operation) fate {
		switch {
		case o.what == "power-on list":
			return fate{held: true}
		case strings.HasPrefix(o.what, "claim of generation"):
			return fate{landed: func() { w.after(w.between(0, 10*time.Millisecond), hide) }}
		}
		return fate{}
	})
	x.later(w.between(0, 2*time.Second), func() { x.anew(h, s) })
	return x.cure(s)
}

// orphaned ends an agent while its claim of a machine is on its way, or has the claim take
// effect after it was reported as failed.
func (x *Chaos) orphaned(h *host, s *store) func() {
	w, t := x.w, x.w.setup.Timing
	lands := fate{fails: true, lands: w.between(time.Millisecond, t.Interval)}
	dies, once := w.chance(0.6), false
	x.anew(h, s)
	x.later(time.Second, func() {
		w.ordain(s, h, func(o *operation) fate {
			switch {
			case once || !strings.HasPrefix(o.what, "claim of generation"):
				return fate{}
			case !dies:
				return lands
			}
			once = true
			x.later(0, func() { w.restartAgent(h, w.between(0, t.Lease/2)) })
			return fate{out: w.between(0, t.Interval)}
		})
	})
	return x.cure(s)
}

// secondThoughts has a user stop a machine whose start takes long.
func (x *Chaos) secondThoughts(h *host) func() {
	w, t := x.w, x.w.setup.Timing
	vm := w.vms[w.rng.IntN(len(w.vms))]
	for _, o := range w.hosts {
		o.slowStart = w.between(t.Takeover, 3*t.Takeover)
	}
	say := func(v core.Verb) func() { return func() { w.command(h, core.Command{Verb: v, VM: vm.String()}) } }
	say(core.Stop)()
	x.later(w.between(time.Second, 2*time.Second), say(core.Start))
	x.later(w.between(2*time.Second, 4*time.Second), say([]core.Verb{core.Stop, core.Unprotect}[w.rng.IntN(2)]))
	return func() {
		for _, o := range w.hosts {
			o.slowStart = 0
		}
	}
}
