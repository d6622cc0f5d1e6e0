package sim

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/core"
	"storebeat/datastorehb"
)

// transfer is a hypervisor's migration of a running machine: a process at the other host takes
// in the memory, and at one instant the guest leaves the one and executes in the other.
// That it does so in no more than one of them is the hypervisor's promise, and no more than that
// is: it asks the receiver's agent before it begins, by its hook.
type transfer struct {
	w        *World
	ask      uint64
	from, to *process
	by       *agent        // that was asked
	allowed  bool          // by that agent
	left     time.Duration // what there is to copy yet
	switched bool
	stuck    bool // whoever drives it is gone: nothing goes on, and nobody cleans up
	lingers  bool // nobody ends the process that the guest has left
}

// hookLimit is how long a hypervisor's hook waits for the agent, and transferStep how
// often a transfer goes on.
const (
	hookLimit    = 40 * time.Second
	transferStep = 50 * time.Millisecond
)

// migrate has a hypervisor move a machine that executes on h to another host. It is
// copied for so long; nil if it can't begin.
func (h *host) migrate(vm uuid.UUID, to *host, long time.Duration) *transfer {
	w, p := h.w, h.process(vm)
	if p == nil || !p.hasGuest() || h == to || !to.powered || to.still || to.process(vm) != nil || to.receiver(vm) != nil || w.transferOf(p) != nil {
		return nil
	}
	w.note(h.name, "the hypervisor moves %s to %s", w.nameOf(vm), to.name)
	w.pids++
	w.asks++
	q := &process{h: to, born: w.now, vm: vm, home: p.home, pid: w.pids, boot: to.boots, entry: p.entry, state: running, receiving: true}
	t := &transfer{w: w, ask: w.asks, from: p, to: q, left: long}
	w.transfers = append(w.transfers, t)
	to.incoming = append(to.incoming, q)
	if a := to.agent; a != nil && a.core != nil {
		t.by = a
		a.at(func() { a.observe(core.IncomingAsked{VM: vm, From: h.id, Ask: t.ask}) })()
	}
	w.after(hookLimit, func() {
		if !t.allowed {
			t.abort("its hook was not answered")
		}
	})
	t.goOn()
	q.report()
	return t
}

// transferOf returns the transfer that a process is part of, nil for none.
func (w *World) transferOf(p *process) *transfer {
	for _, t := range w.transfers {
		if t.from == p || t.to == p {
			return t
		}
	}
	return nil
}

// receiver returns the process in which a machine is to be received that the guard does not
// know yet.
func (h *host) receiver(vm uuid.UUID) *process {
	for _, p := range h.incoming {
		if p.vm == vm {
			return p
		}
	}
	return nil
}

// goOn does the next step of a transfer, and plans the one after it.
func (t *transfer) goOn() {
	w, p, q := t.w, t.from, t.to
	switch {
	case q.state == gone, t.switched:
		w.transfers = slices.DeleteFunc(w.transfers, func(o *transfer) bool { return o == t })
		return
	case t.stuck:
	case !t.allowed && (t.by == nil || !t.by.alive):
		t.abort("nobody answers its hook")
	case p.state == gone && w.chance(0.05):
		t.abort("its source is gone")
	case t.flows():
		t.left -= transferStep
		if t.left <= 0 && p.writing == 0 {
			t.switchOver()
		}
	}
	w.after(transferStep, t.goOn)
}

// flows reports whether memory goes from the one to the other.
func (t *transfer) flows() bool {
	p, q := t.from, t.to
	cut := t.w.network.links[p.h.index][q.h.index].cut
	return t.allowed && p.hasGuest() && q.state == running && q.h.powered && !q.h.still && !cut
}

// switchOver is the instant at which the guest leaves the one process and executes in the other.
func (t *transfer) switchOver() {
	w, p, q := t.w, t.from, t.to
	w.note(q.h.name, "%s executes here, and no more on %s", w.nameOf(q.vm), p.h.name)
	t.switched = true
	p.handed, q.receiving, q.ran = true, false, true
	q.halt.is = p.halt.is // it stands still where it arrives
	d := q.home.disk(q.vm)
	d.lock(q)
	d.latest = q
	q.guest()
	w.met(switchedOver)
	w.seeRight(q)
	w.seeExecution()
	w.after(w.between(0, time.Second), func() { p.tellMoved(); p.report() })
	w.after(w.between(0, time.Second), q.tellMoved)
	if !t.lingers {
		w.after(w.between(0, 2*time.Second), p.h.at(func() { p.end(core.EndedByMigration, "moved to "+q.h.name) }))
	}
}

// tellMoved tells the agent of a process's host how far its migration is.
func (p *process) tellMoved() {
	if a := p.h.agent; p.state != gone && a != nil && a.core != nil && slices.Contains(p.h.processes, p) {
		a.at(func() {
			a.observe(core.MigrationSeen{VM: p.vm, Asked: a.h.now(), Arrived: !p.receiving && !p.handed, HandedOver: p.handed})
		})()
	}
}

// report tells it again and again, until the guest executes in the process or that is gone.
func (p *process) report() {
	p.h.w.after(p.h.w.between(time.Second, 5*time.Second), func() {
		if p.state == gone {
			return
		}
		if p.tellMoved(); p.receiving || p.handed {
			p.report()
		}
	})
}

// abort ends a transfer that has not come to its end: the process that was to receive is ended.
func (t *transfer) abort(why string) {
	q := t.to
	if t.switched || q.state == gone {
		return
	}
	q.h.w.note(q.h.name, "the hypervisor gives up moving %s here: %s", q.h.w.nameOf(q.vm), why)
	if slices.Contains(q.h.incoming, q) {
		q.leaveIncoming()
		q.state = gone
		return
	}
	q.end(core.EndedByCrash, "its migration was given up: "+why)
}

func (p *process) leaveIncoming() {
	p.h.incoming = slices.DeleteFunc(p.h.incoming, func(o *process) bool { return o == p })
}

// answerIncoming is the agent's answer to a hypervisor's hook.
func (a *agent) answerIncoming(e core.IncomingAnswer) {
	for _, t := range a.h.w.transfers {
		switch {
		case t.ask != e.Ask || t.by != a:
		case e.Allowed:
			a.h.w.note(a.h.name, "the hypervisor may move %s here", a.h.w.nameOf(e.VM))
			t.allowed = true
		default:
			a.h.w.note(a.h.name, "the hypervisor may not move %s here: %s", a.h.w.nameOf(e.VM), e.Why)
			a.h.w.count("migration-refused")
			t.abort("the agent does not allow it")
		}
	}
}

// receiveMachine takes on a process that a hypervisor has made: the guard freezes it.
func (a *agent) receiveMachine(e core.ReceiveMachine) {
	h, w := a.h, a.h.w
	p := h.receiver(e.VM)
	if p == nil || h.guard == nil {
		a.soon(func() {
			a.observe(core.MachineStarted{VM: e.VM, Generation: e.Generation, Err: "its process is gone, or there is no guard"})
		})
		return
	}
	p.leaveIncoming()
	p.generation = e.Generation
	h.processes = append(h.processes, p)
	slices.SortFunc(h.processes, func(a, b *process) int { return compareUUID(a.vm, b.vm) })
	w.note(h.name, "%s is taken on, to be received under generation %d", w.nameOf(e.VM), e.Generation)
	w.seeNamed(p)
	h.guard.register(p)
	a.soon(func() { a.observe(core.MachineStarted{VM: e.VM, Generation: e.Generation}) })
}

// endIncoming ends what a host's hypervisor was to receive.
func (h *host) endIncoming() {
	for _, p := range h.incoming {
		p.state = gone
	}
	h.incoming = nil
}

// healTransfers gives up what is being moved: nobody drives it any more.
func (w *World) healTransfers() {
	for _, t := range slices.Clone(w.transfers) {
		if t.from.state != gone { // else it is for the receiver's agent to notice that the guest is nowhere
			t.stuck = false
			t.abort("everything heals")
		}
	}
}

// partEnded judges, by the observer's own reading of R8, whether the chain of the term is
// broken that a generation names for a host.
func (s *store) partEnded(h int, term uint64) bool {
	terms := s.terms[h]
	if term == 0 || term > uint64(len(terms)) {
		return false
	}
	for _, r := range terms[term:] {
		if r.term.Closed || r.term.First > term {
			return true
		}
	}
	return terms[term-1].term.Closed
}

// seeSharing checks R15 when a generation follows one that is shared: who shares it may
// claim its part anew, leave it to the other without a process of its own, or claim it
// alone when the other's chain is broken. It reports false of a generation that follows none such.
func (w *World) seeSharing(s *store, g, old genRecord) bool {
	o, n, by := &old.gen, &g.gen, g.by.Host
	if o.Receiver.Writer.Host == 0 {
		return false
	}
	other := o.Owner
	if by == o.Owner {
		other = o.Receiver.Writer.Host
	}
	if ended, _ := s.ended(*o); ended {
		return true // it is over: anybody may claim it
	}
	party := by == o.Owner || by == o.Receiver.Writer.Host
	switch {
	case !party:
		w.fail("I8", "host %d claims generation %d of %s, which hosts %d and %d share", by, n.Number, w.nameOf(n.VM), o.Owner, o.Receiver.Writer.Host)
	case n.Receiver.Writer.Host != 0: // shared again
		kept := n.Owner == o.Owner && n.Receiver.Writer.Host == o.Receiver.Writer.Host
		if by == o.Owner {
			kept = kept && n.Receiver == o.Receiver
		} else {
			kept = kept && n.Holder == o.Holder && n.Term == o.Term
		}
		if !kept {
			w.fail("I8", "host %d claims generation %d of %s, and changes more than its own part: %+v after %+v", by, n.Number, w.nameOf(n.VM), *n, *o)
		}
	case n.Owner == by && n.Kind == old.gen.Kind:
		if !s.partEnded(int(other), o.TermOf(other)) {
			w.fail("R15", "host %d claims generation %d of %s alone, and host %d, which shares it, has not lost its chain", by, n.Number, w.nameOf(n.VM), other)
		}
	case n.Owner == other:
		w.seeLeft(n.VM, by)
	default:
		w.fail("R15", "host %d claims generation %d of %s: %+v, after it was shared", by, n.Number, w.nameOf(n.VM), *n)
	}
	return true
}

// seeLeft checks that who leaves a machine to another host has no process of it, but one that
// was never let go.
func (w *World) seeLeft(vm uuid.UUID, by datastorehb.HostID) {
	for _, h := range w.hosts {
		if p := h.process(vm); h.id == by && p != nil && p.thaws > 0 {
			w.fail("R15", "%s leaves %s to another host, with a process of it there", h.name, w.nameOf(vm))
		}
	}
}
