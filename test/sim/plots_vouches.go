package sim

import "time"

// Plots about proofs of life that others write.

// vouched takes a datastore from h and everybody but one from its sight; that one has
// trouble of its own with its heartbeats.
func (x *Chaos) vouched(h *host, s *store) func() {
	w, v := x.w, x.voucher(h)
	if v == nil {
		return nil
	}
	w.part([]*host{h}, x.apart(h, v))
	w.hang(s, h)
	switch w.rng.IntN(4) {
	case 0:
		w.ordain(s, v, only("slot", fate{fails: true, lands: w.between(0, w.setup.Timing.Interval/2)}))
	case 1:
		w.ordain(s, v, only("slot", fate{fails: true}))
	case 2, 3:
		w.ordain(s, v, only("slot", fate{back: w.between(w.setup.Timing.Interval, w.setup.Timing.Lease)}))
	}
	if w.chance(0.5) {
		w.network.links[v.index][h.index].delay = w.between(0, w.setup.Timing.Lease/2)
	}
	switch silent := w.between(w.setup.Timing.Lease/2, 2*w.setup.Timing.Takeover); w.rng.IntN(4) {
	case 0:
		x.later(silent, func() { w.part([]*host{h}, []*host{v}) })
	case 1, 2:
		x.later(silent, func() { w.cut([]*host{h}, []*host{v}) })
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
	x.later(w.between(t.Interval/2, t.Interval), func() {
		for _, o := range x.apart(h, v) {
			w.ordain(s, o, only("region", fate{fails: true}))
		}
	})
	x.later(restart, func() {
		w.part([]*host{h}, []*host{v})
		w.restartAgent(v, w.between(0, t.Interval/4))
	})
	x.later(restart+w.between(t.Interval/4, t.Interval), func() { w.mend(s, x.apart(h, v)...) })
	return x.cure(s)
}

// stranger is vouched, by a host that has been added to the cluster and that the
// others do not know yet: their configuration is older, and they can't read the record.
func (x *Chaos) stranger(h *host, s *store) func() {
	w, t := x.w, x.w.setup.Timing
	k, v := x.master(), w.hosts[len(w.hosts)-1]
	if k == nil || k == v || k == h || h == v {
		return nil
	}
	for _, o := range w.hosts {
		o.alone.note(w.now) // to the new one the others are silent
	}
	for _, o := range x.apart(h, v) {
		o.unaware, o.recordless = 1, true
		w.restartAgent(o, w.between(0, t.Interval/4))
	}
	ended := false
	x.later(w.between(t.Takeover, 2*t.Takeover), func() {
		if !ended {
			w.part([]*host{h}, x.apart(h, v))
			w.hang(s, h)
		}
	})
	return func() {
		w.after(2*t.Takeover, func() {
			ended = true
			x.cure(s)()
			v.alone.note(w.now)
			for _, o := range x.apart(h, v) {
				o.unaware, o.recordless = 0, false
				x.configured(o)
			}
		})
	}
}

// configured restarts a host's agent, as soon as that can be done, with another configuration.
func (x *Chaos) configured(h *host) {
	w := x.w
	if h.still {
		w.after(10*time.Millisecond, func() { x.configured(h) })
		return
	}
	w.restartAgent(h, w.between(0, w.setup.Timing.Interval/4))
}

// hungHeartbeat ends an agent while a heartbeat of its own is on its way, and lets its
// successor begin before that lands.
func (x *Chaos) hungHeartbeat(h *host, s *store) func() {
	w, t, hung := x.w, x.w.setup.Timing, false
	w.ordain(s, h, func(o *operation) fate {
		if o.what != "slot" || hung {
			return fate{}
		}
		hung = true
		x.later(w.between(0, t.Lease/2), func() { w.restartAgent(h, w.between(0, t.Interval)) })
		return fate{out: w.between(t.Interval, 2*t.Lease)}
	})
	return x.cure(s)
}

// otherTiming loses a host while the configuration is being changed: those who judge it
// have shorter times than it has itself.
func (x *Chaos) otherTiming(h *host, s *store) func() {
	w, t := x.w, x.w.setup.Timing
	for _, o := range w.hosts {
		if o.timing = Fast().Timing; o == h {
			o.timing = Default().Timing
		}
		w.restartAgent(o, w.between(0, t.Interval/4))
	}
	x.later(w.between(0, t.Takeover), func() {
		w.part([]*host{h}, x.but(h))
		w.hang(s, h)
	})
	return func() {
		x.cure(s)()
		for _, o := range w.hosts {
			o.timing = t
			x.configured(o)
		}
	}
}
