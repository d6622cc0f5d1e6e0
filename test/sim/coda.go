package sim

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"storebeat/datastorehb"
)

// lastLanding waits until the last operation has landed that was reported as failed, an hour
// ago perhaps, when old values of registers have been removed.
func (w *World) lastLanding() (wrong []string) {
	seen := len(w.violations)
	w.Run(w.lateUntil - w.now + calm)
	if why := w.Unsettled(); len(why) > 0 {
		wrong = append(wrong, fmt.Sprintf("rest: it did not last until the last claim had landed: %q", why))
	}
	return append(wrong, w.violations[seen:]...)
}

// repeatOrders has the order of the second value of every register carried out again, when that
// value has been removed: a network may repeat what it was told long ago (R2).
func (w *World) repeatOrders() {
	const wait = pruneAfter + 2*time.Minute
	long := func(s *store) bool {
		return slices.ContainsFunc(s.terms, func(terms []termRecord) bool { return len(terms) > leastKept+2 })
	}
	if !slices.ContainsFunc(w.stores, long) {
		return // nothing will be removed
	}
	w.lateUntil = max(w.lateUntil, w.now+wait)
	w.after(wait, func() {
		for _, s := range w.stores {
			for h, terms := range s.terms {
				if s.removed.terms[h] > 2 {
					s.claimTerm(terms[1].term, terms[1].by)
				}
			}
			for _, vm := range s.machinesOn() {
				if gs := s.gens[vm]; s.removed.gens[vm] > 2 {
					s.claimGeneration(gs[1].gen, gs[1].by)
				}
			}
		}
	})
}

// loseOne takes one host from a cluster at rest, by its power or by all its ways to the others and
// to the datastores, and asks that each of its machines is started elsewhere, once and in time, and no
// other one (I2). Nothing more happens to them when the host is back.
func (w *World) loseOne() (wrong []string) {
	if len(w.hosts) < 2 || len(w.hosts) == 2 && w.setup.Rules != nil {
		return nil // nobody is left, or rules need more than one
	}
	h := w.hosts[w.rng.IntN(len(w.hosts))]
	if w.vouchedFor(h) {
		return nil // The end of an old vouch looks like a sign of life, and puts the takeover off.
	}
	want := maps.Clone(w.starts)
	var lost []uuid.UUID
	for _, vm := range w.vms {
		if w.wanted(vm) && slices.Contains(w.executing(vm), h) {
			lost = append(lost, vm)
			want[vm]++
		}
	}
	seen := len(w.violations)
	w.lose(h)
	t := w.setup.Timing
	for _, s := range w.stores { // a host of another timing is waited for by its own
		if r, ok := s.newestTerm(h.id); ok {
			t.Takeover = max(t.Takeover, r.term.Timing.LeastTakeover())
		}
	}
	limit := t.Takeover*103/100 + t.Interval*3/2 + w.setup.LockLease + 2*time.Second
	missing := func(vm uuid.UUID) bool {
		return !slices.ContainsFunc(w.executing(vm), func(o *host) bool { return o != h })
	}
	if took, ok := w.RunUntil(limit, func() bool { return !slices.ContainsFunc(lost, missing) }); !ok {
		wrong = append(wrong, fmt.Sprintf("I2: the machines of %s do not run %v after its loss: %q", h.name, took, w.Unsettled()))
	}
	w.Run(5 * time.Second)
	w.heal()
	if _, ok := w.RunUntil(calm, func() bool { return len(w.Unsettled()) == 0 }); !ok {
		wrong = append(wrong, fmt.Sprintf("rest: not at rest %v after %s was back: %q", calm, h.name, w.Unsettled()))
	}
	if !maps.Equal(want, w.starts) {
		wrong = append(wrong, fmt.Sprintf("I2: after the loss of %s there were as many starts as these: %v, want %v", h.name, w.starts, want))
	}
	return append(wrong, w.violations[seen:]...)
}

// vouchedFor reports whether a slot holds a vouch for the host.
func (w *World) vouchedFor(h *host) bool {
	return slices.ContainsFunc(w.stores, func(s *store) bool {
		for _, slot := range s.slots {
			if slices.ContainsFunc(slot.Slot.Vouches, func(v datastorehb.Vouch) bool { return v.Host == h.id }) {
				return true
			}
		}
		return false
	})
}

// lose takes a host's power, or everything else from it.
func (w *World) lose(h *host) {
	if w.chance(0.5) {
		h.powerOff()
		return
	}
	for _, o := range w.hosts {
		if o != h {
			w.part([]*host{h}, []*host{o})
		}
	}
	for _, s := range w.stores {
		w.hang(s, h)
	}
}
