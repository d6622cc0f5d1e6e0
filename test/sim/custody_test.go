package sim

import (
	"strings"
	"testing"
	"time"

	"storebeat/datastorehb"
)

// The tests of this file are about custody (docs/safety.md, R11), and about what
// only an operator's word may do (R7b).

// stopped stops h's agent in good order and waits for its end.
func (b *bench) stopped() {
	b.t.Helper()
	b.h.stopAgent(0)
	b.until("the agent's end", func() bool { return b.h.agent == nil })
}

// onlyAgents asks that nothing has happened to any machine since the mark, though h
// has no agent.
func (b *bench) untouched(m mark) {
	b.t.Helper()
	b.sound()
	b.started(m, 0)
	if n := b.since(m, "term-closed") + b.since(m, "lease-lapsed") + b.since(m, "machines-frozen"); n > 0 || len(b.on(b.h)) == 0 {
		b.fatalf("%s runs %v; %d events, though nothing should have happened to any machine", b.h.name, b.on(b.h), n)
	}
}

// An agent is stopped for two hours, by nobody's hurry: machines run on, its
// successor adopts them, and they are taken over as usual when that one is lost.
func TestCustodyForHours(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	m := b.mark()
	b.stopped()
	b.Run(2 * time.Hour)
	b.untouched(m)
	if n := b.since(m, "custody-lasts"); n < 1 || n > 3 {
		b.fatalf("told %d times in two hours that custody lasts", n)
	}
	v := b.k.agent.core.View(b.k.now())
	for _, h := range v.Hosts {
		if h.ID == b.h.id && (h.State != "agent-down" || len(h.Custody) != 1 || h.Leave.By != datastorehb.LeftBySystemd) {
			b.fatalf("%s is shown as %+v", h.Name, h)
		}
	}
	b.h.startAgent()
	b.Run(10 * time.Second)
	b.untouched(m)
	b.settles(time.Second)
	lost := len(b.on(b.h))
	b.h.powerOff()
	b.settles(20 * time.Second)
	b.started(m, lost)
	if n := b.since(m, "machine-adopted"); n != lost {
		b.fatalf("%d machines were adopted, want %d", n, lost)
	}
}

// A host in custody loses power. Nobody takes its machines until an operator has
// confirmed it; or until it is back.
func TestPowerLostInCustody(t *testing.T) {
	t.Parallel()
	for _, word := range []bool{true, false} {
		b := newBench(t, nil)
		m, lost := b.mark(), len(b.on(b.h))
		b.stopped()
		b.h.powerOff()
		b.Run(30 * time.Minute)
		b.started(m, 0)
		if word {
			b.confirmDead(b.k, b.h, time.Second, time.Second)
		} else {
			b.h.powerOn()
		}
		b.until("the start elsewhere", func() bool { return b.allStarts()-m.starts == lost })
		b.heals()
		b.started(m, lost)
	}
}

// Trace 8: an operator's word closes the term that was read before the operator was
// asked. The host is off when the operator looks; when the word is carried out at
// last, it has booted and runs its machines under a later term.
//
// Mutation: core.keepWord closes the newest term, whatever its number.
func TestTraceWordClosesTheTermThatWasRead(t *testing.T) {
	t.Parallel()
	for _, late := range []string{"word", "claim"} {
		b := newBench(t, nil)
		m, lost := b.mark(), len(b.on(b.h))
		b.stopped()
		b.h.powerOff()
		b.Run(time.Minute)
		says := time.Second
		if late == "word" {
			says = 40 * time.Second
		}
		b.confirmDead(b.k, b.h, time.Second, says)
		if late == "claim" {
			b.ordain(b.s, b.k, func(o *operation) fate {
				if closes(o, b.h) {
					return fate{out: 40 * time.Second}
				}
				return fate{}
			})
		}
		b.Run(3 * time.Second)
		n := b.terms(b.h)
		b.h.powerOn()
		b.until("the next own term", func() bool { return b.terms(b.h) > n })
		b.Run(50 * time.Second)
		b.mend(b.s, b.k)
		b.Run(30 * time.Second)
		b.started(m, lost)
		if r, _ := b.s.newestTerm(b.h.id); r.term.Closed {
			b.fatalf("a term was closed that nobody had spoken of")
		}
		b.heals()
	}
}

// Trace 9: custody ends for the guard at the issue of the write that ends it. That
// write lands, its reply is lost, and the agent hears of nothing any more.
//
// Mutation: core.endCustody is called when the write has completed.
func TestTraceCustodyEndsWithTheIssue(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	m, lost := b.mark(), len(b.on(b.h))
	b.stopped()
	b.Run(time.Minute)
	b.part([]*host{b.h}, b.others(b.h))
	b.ordain(b.s, b.h, func(o *operation) fate {
		if o.what == "slot" && b.h.agent != nil && b.s.slots[b.h.id].Slot.Custody != 0 && b.ended() {
			return fate{back: time.Hour}
		}
		return fate{}
	})
	b.h.startAgent()
	b.until("a slot without custody", func() bool { return b.s.slots[b.h.id].Slot.Custody == 0 })
	b.until("the close", func() bool { return b.since(m, "term-closed") == 1 })
	b.until("the start elsewhere", func() bool { return b.allStarts()-m.starts == lost })
	b.h.powerOff()
	b.h.powerOn()
	b.heals()
}

// ended reports whether h's guard holds no lease in custody.
func (b *bench) ended() bool {
	for _, l := range b.h.guard.keeper.Inventory(b.h.now()).Leases {
		if l.Custody {
			return false
		}
	}
	return true
}

// Trace 10: a custody write counts only if it completed under the unbroken lease of
// the term it names. It lands when others have closed the term.
//
// Mutations: core.custodyWritten does not ask whether the term is held, and
// guard.BeginCustody not whether the lease runs. Each alone is enough.
func TestTraceCustodyBeginsUnderTheLease(t *testing.T) {
	t.Parallel()
	for _, out := range []time.Duration{3 * time.Second, 3990 * time.Millisecond, 5 * time.Second, 8 * time.Second} {
		b := newBench(t, nil)
		m, lost := b.mark(), len(b.on(b.h))
		b.part([]*host{b.h}, b.others(b.h))
		b.beaten(b.h)
		b.ordain(b.s, b.h, only("slot", fate{out: out}))
		b.h.stopAgent(0)
		b.until("the agent's end", func() bool { return b.h.agent == nil })
		b.Run(20 * time.Second)
		if b.since(m, "term-closed") != 1 || !b.ended() {
			b.fatalf("%v: the scenario missed: %d terms closed", out, b.since(m, "term-closed"))
		}
		b.started(m, lost)
		b.mend(b.s, b.h)
		b.h.startAgent()
		b.heals()
	}
}

// The slot can't be written: the agent waits for a while, says which machines are
// not in custody, and ends. They are frozen and taken over like those of a lost host.
func TestStopWhileItsDatastoreHangs(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	m, lost := b.mark(), len(b.on(b.h))
	b.hang(b.s, b.h)
	b.part([]*host{b.h}, b.others(b.h))
	b.h.stopAgent(0)
	if took, ok := b.RunUntil(13*time.Second, func() bool { return b.h.agent == nil }); !ok || took < 4*time.Second {
		b.fatalf("the agent ended %v after it was asked: %t", took, ok)
	}
	if len(b.Trace().Find("ends without custody of all its machines")) == 0 {
		b.fatalf("the agent does not say that custody is missing")
	}
	b.until("the start elsewhere", func() bool { return b.allStarts()-m.starts == lost })
	b.heals()
	b.started(m, lost)
}

// The reply to the first custody write is lost: the next one counts.
func TestCustodyAfterALostReply(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	m := b.mark()
	b.h.paths[b.s.index].lost = 1
	b.h.stopAgent(0)
	b.Run(1500 * time.Millisecond)
	if b.h.agent == nil {
		b.fatalf("the agent has ended without an answer")
	}
	b.mend(b.s, b.h)
	b.until("the agent's end", func() bool { return b.h.agent == nil })
	b.Run(time.Minute)
	b.untouched(m)
}

// The guard dies in custody: everything is frozen, and goes on once an agent is back.
func TestGuardLostInCustody(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	m := b.mark()
	b.stopped()
	b.h.killGuard()
	b.Run(time.Minute)
	if len(b.on(b.h)) > 0 {
		b.fatalf("machines run without a guard")
	}
	b.started(m, 0)
	b.h.startAgent()
	b.settles(20 * time.Second)
	b.started(m, 0)
}

// A second computer with the id of a host in custody leaves its slot alone until an
// operator has confirmed that the first one is off.
func TestReplacedWhileInCustody(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	m := b.mark()
	b.stopped()
	twin := b.twin(b.h)
	twin.powerOn()
	b.Run(2 * time.Minute)
	b.untouched(m)
	if r, _ := b.s.newestTerm(b.h.id); r.by.Machine != b.h.machine {
		b.fatalf("the second computer took term %d", r.term.Number)
	}
	if len(b.Trace().Find("host confirm-dead")) == 0 {
		b.fatalf("the second computer does not say what to do")
	}
	if strings.Contains(b.s.slots[b.h.id].Slot.Machine.String(), twin.machine.String()) {
		b.fatalf("the second computer wrote the slot")
	}
}
