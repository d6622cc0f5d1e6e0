package sim

import (
	"strings"
	"testing"
	"time"

	"storebeat/agent/core"
	"storebeat/datastorehb"
	"storebeat/poweron"
)

// TestObserverObjects does by hand what no product may do, and asks that the observer says so.
func TestObserverObjects(t *testing.T) {
	t.Parallel()
	start := func(b *bench, h *host, vm int, generation uint64) *process {
		p := h.bear(core.StartMachine{Datastore: b.s.id, VM: b.vms[vm-1], Generation: generation, Entry: b.entryOf(b.vms[vm-1])})
		p.thaw()
		return p
	}
	for _, test := range []struct {
		invariant string
		misdeed   func(b *bench, mine int)
	}{
		{"I1", func(b *bench, mine int) { start(b, b.k, mine, 1) }},
		{"I2", func(b *bench, mine int) {
			p := b.h.process(b.vms[mine-1])
			p.freeze()
			b.Run(time.Second)
			start(b, b.k, mine, 2)
		}},
		{"I3", func(b *bench, mine int) {
			b.hang(b.s, b.k)
			b.Run(10 * time.Second)
			start(b, b.k, mine, 2)
		}},
		{"I3", func(b *bench, _ int) {
			b.hang(b.s, b.v)
			b.Run(10 * time.Second)
			b.k.agent.carryOut(core.Send{To: b.v.id, Message: core.Message{Kind: core.StartOrder, Datastore: b.s.id, VM: b.vms[0]}})
		}},
		{"I3", func(b *bench, _ int) {
			b.v.powerOff()
			b.Run(10 * time.Second)
			b.k.agent.carryOut(core.Send{To: b.v.id, Message: core.Message{Kind: core.StartOrder, Datastore: b.s.id, VM: b.vms[0]}})
		}},
		{"I5", func(b *bench, mine int) {
			b.ask(b.h, core.Stop, mine)
			b.Run(20 * time.Second)
			start(b, b.h, mine, 3)
		}},
		{"storm", func(b *bench, mine int) {
			for range storm {
				b.k.agent.carryOut(core.Journal{Event: core.Event{Kind: "start-ordered", VM: b.vms[mine-1]}})
			}
		}},
		{"I6", func(b *bench, _ int) { b.h.freezeAll(nil) }},
		{"I6", func(b *bench, mine int) { b.h.agent.carryOut(core.StopMachine{VM: b.vms[mine-1]}) }},
		{"I6", func(b *bench, mine int) { b.h.agent.carryOut(core.PutDown{VM: b.vms[mine-1]}) }},
		{"I7", func(b *bench, mine int) {
			b.h.process(b.vms[mine-1]).end(core.EndedByGuest, "shut down")
			b.Run(10 * time.Second)
			r, _ := b.s.newestTerm(b.k.id)
			b.s.claimGeneration(poweron.Generation{VM: b.vms[mine-1], Number: 3, Kind: poweron.Run, Owner: b.k.id, Term: r.term.Number}, b.k.agent.self)
		}},
		{"I8", func(b *bench, mine int) {
			r, _ := b.s.newestTerm(b.k.id)
			b.s.claimGeneration(poweron.Generation{VM: b.vms[mine-1], Number: 2, Kind: poweron.Run, Owner: b.k.id, Term: r.term.Number}, b.k.agent.self)
		}},
		{"I9", func(b *bench, mine int) {
			b.s.spec.Barrier = datastorehb.BarrierLock
			p := b.h.process(b.vms[mine-1])
			p.freeze()
			b.Run(time.Second)
			start(b, b.k, mine, 2)
			b.s.disk(p.vm).holder = p
			p.landOnDisk()
		}},
		{"R2", func(b *bench, _ int) {
			b.k.agent.carryOut(core.Prune{Datastore: b.s.id, Register: datastorehb.TermsOf(b.h.id), Below: 2})
		}},
		{"R3", func(b *bench, mine int) { start(b, b.k, mine, 1) }},
		{"R7", func(b *bench, _ int) {
			r, _ := b.s.newestTerm(b.h.id)
			r.term.Number, r.term.Closed = r.term.Number+1, true
			b.s.claimTerm(r.term, b.k.agent.self)
		}},
		{"R12", func(b *bench, mine int) { b.seeKill(b.h.process(b.vms[mine-1])) }},
		{"R14", func(b *bench, _ int) {
			b.h.agent.carryOut(core.Journal{Event: core.Event{Kind: "datastore-distrusted", Datastore: b.s.id}})
		}},
	} {
		b := newBench(t, nil)
		b.Run(20 * time.Second)
		b.sound()
		test.misdeed(b, b.on(b.h)[0])
		found := false
		for _, v := range b.Violations() {
			found = found || strings.Contains(v, " "+test.invariant+": ")
		}
		if !found {
			t.Errorf("%s: not found out: %q", test.invariant, b.Violations())
		}
	}
}

// TestObserverReadsTheList: a machine that runs and is listed as something else goes
// against I4, and so does one that does not run and is listed without a reason.
func TestObserverReadsTheList(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.Run(80 * time.Second) // until every master has to know
	b.seeListed()
	b.sound()
	b.h.process(b.vms[b.on(b.h)[0]-1]).state = frozen
	b.seeListed()
	if v := b.Violations(); len(v) != 1 || !strings.Contains(v[0], "I4") {
		t.Errorf("violations: %q", v)
	}
}
