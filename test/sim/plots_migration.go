package sim

import (
	"time"

	"storebeat/agent/core"
)

// migrated has a hypervisor move a machine, which may be given up or get stuck.
func (x *Chaos) migrated(h *host) func() {
	w := x.w
	to := w.hosts[w.rng.IntN(len(w.hosts))]
	if len(h.processes) == 0 || to == h {
		return nil
	}
	t := h.migrate(h.processes[w.rng.IntN(len(h.processes))].vm, to, w.between(0, 10*time.Second))
	if t == nil {
		return nil
	}
	t.lingers = w.chance(0.2)
	if w.chance(0.3) {
		x.later(w.between(0, 10*time.Second), func() { t.abort("somebody wants it so") })
	}
	if w.chance(0.2) {
		x.later(w.between(0, 10*time.Second), func() { t.stuck = true })
	}
	return func() {
		if t.stuck = false; t.from.state != gone {
			t.abort("whoever drives it is back")
		}
	}
}

// movedAndLost has a hypervisor move a machine, and strikes one of the two hosts, or both, or
// what they hang on, in any step of it.
func (x *Chaos) movedAndLost(h *host, s *store) func() {
	w := x.w
	others := x.but(h)
	to := others[w.rng.IntN(len(others))]
	if len(h.processes) == 0 {
		return nil
	}
	long := w.between(0, 5*time.Second)
	t := h.migrate(h.processes[w.rng.IntN(len(h.processes))].vm, to, long)
	if t == nil {
		return nil
	}
	t.lingers = w.chance(0.3)
	var ends []func()
	for range 1 + w.rng.IntN(3) {
		victim := []*host{h, to}[w.rng.IntN(2)]
		x.later(w.between(0, long+3*time.Second), func() { ends = append(ends, x.strike(victim, s, t)) })
	}
	return func() {
		for _, end := range ends {
			end()
		}
		x.cure(s)()
	}
}

// strike does something to a host amid a migration, and returns what ends it.
func (x *Chaos) strike(h *host, s *store, t *transfer) func() {
	w := x.w
	none := func() {}
	switch w.rng.IntN(12) {
	case 0:
		h.powerOff()
		return h.powerOn
	case 1:
		w.restartAgent(h, w.between(0, 2*w.setup.Timing.Lease))
	case 2:
		h.killAgent()
		return func() { h.at(h.startAgent)() }
	case 3:
		h.killGuard()
	case 4:
		h.stop()
		return h.goOn
	case 5:
		w.part([]*host{h}, x.but(h))
		return w.join
	case 6:
		w.hang(t.to.home, h)
		w.part([]*host{h}, x.but(h))
		return func() { w.mend(t.to.home, h); w.join() }
	case 7:
		w.ordain(t.to.home, h, only("claim of generation", fate{fails: true, lands: w.between(time.Millisecond, 20*time.Second)}))
		return func() { w.mend(t.to.home, h) }
	case 8:
		t.stuck = true
	case 9:
		t.abort("somebody wants it so")
	case 10:
		if p := h.process(t.from.vm); p != nil && !h.still {
			p.end([]core.Ending{core.EndedByCrash, core.EndedByGuest, core.EndedByUser}[w.rng.IntN(3)], "in the midst of its migration")
		}
	case 11:
		w.command(h, core.Command{Verb: []core.Verb{core.Stop, core.Unprotect, core.Start}[w.rng.IntN(3)], VM: t.from.vm.String()})
	}
	return none
}
