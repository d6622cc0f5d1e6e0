package sim

import (
	"strings"
	"testing"
	"time"

	"storebeat/agent/core"
)

// Trace 7b, generations: an order to claim g+1 lands so late that g+1 has been removed. The
// link wins the name, and the listing after it finds higher numbers: the win is void.
//
// Mutation: store.create, the simulator's model of what package store does, takes a name
// that can be made for one that is won (in store.Claim: the listing is left out).
func TestTraceLateClaimOfARemovedGeneration(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	vm := b.on(b.h)[0]
	id := b.vms[vm-1]
	late := uint64(0)
	for _, h := range b.others(b.h) {
		b.ordain(b.s, h, func(o *operation) fate {
			if late == 0 && strings.HasPrefix(o.what, "claim of generation") && strings.HasSuffix(o.what, b.nameOf(id)) {
				late = uint64(len(b.s.gens[id])) + 1
				return fate{fails: true, lands: 40 * time.Minute}
			}
			return fate{}
		})
	}
	b.h.powerOff()
	b.until("claim", func() bool { return late > 0 })
	b.mend(b.s, b.others(b.h)...)
	b.h.powerOn()
	b.settles(20 * time.Second)
	for range 3 {
		b.ask(b.k, core.Stop, vm)
		b.Run(10 * time.Second)
		b.ask(b.k, core.Start, vm)
		b.Run(10 * time.Second)
	}
	b.Run(15 * time.Minute)
	if b.s.removed.gens[id] <= late {
		b.fatalf("the scenario missed: generation %d is still there, removed are those below %d", late, b.s.removed.gens[id])
	}
	m := b.mark()
	b.waitsFor(40*time.Minute, "late claim", func() bool { return b.covered[string(voidWin)] > 0 })
	b.Run(2 * time.Minute)
	b.quiet(m)
}

// Trace 7b, terms: a close of h's next term lands when that term has been removed.
func TestTraceLateCloseOfARemovedTerm(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	late := uint64(0)
	b.silence()
	for _, h := range b.others(b.h) {
		b.ordain(b.s, h, func(o *operation) fate {
			if late > 0 || !closes(o, b.h) {
				return fate{}
			}
			late = uint64(b.terms(b.h)) + 1
			b.mend(b.s, b.h)
			b.join()
			return fate{fails: true, lands: 40 * time.Minute}
		})
	}
	b.until("close", func() bool { return late > 0 })
	b.settles(20 * time.Second)
	b.mend(b.s, b.hosts...)
	for range 4 {
		b.hang(b.s)
		b.Run(6 * time.Second)
		b.mend(b.s)
		b.settles(10 * time.Second)
	}
	b.Run(15 * time.Minute)
	if b.s.removed.terms[b.h.id] <= late {
		b.fatalf("the scenario missed: term %d is still there, removed are those below %d", late, b.s.removed.terms[b.h.id])
	}
	m := b.mark()
	b.waitsFor(40*time.Minute, "late close", func() bool { return b.covered[string(voidWin)] > 0 })
	b.Run(2 * time.Minute)
	b.quiet(m)
}

// waitsFor lets time pass until something has happened, for longer than until does.
func (b *bench) waitsFor(limit time.Duration, what string, holds func() bool) {
	b.t.Helper()
	for end := b.now + limit; !holds(); b.Run(time.Second) {
		if b.now > end {
			b.fatalf("%s: not within %v", what, limit)
		}
	}
}
