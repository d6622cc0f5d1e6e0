package sim

import (
	"time"

	"github.com/google/uuid"

	"storebeat/agent/core"
	"storebeat/agent/freeze"
	"storebeat/agent/guard"
)

// guardian is a guard's process: the keeper, and what its server does for it.
type guardian struct {
	h      *host
	keeper *guard.Keeper
	wakes  int
	headway
}

func (h *host) newGuard() *guardian {
	g := &guardian{h: h, keeper: guard.NewKeeper(h.w.setup.Timing.Freeze, h.w.setup.Abandon)}
	if h.watchdog != nil {
		h.w.after(0, h.at(g.feed))
	}
	return g
}

// turn carries out what is due, tells the agent what has happened, and plans
// the next turn.
func (g *guardian) turn() {
	h := g.h
	if h.upgrading || g.none(h.w, func() string { return "the guard of " + h.name }) {
		return
	}
	for _, o := range g.keeper.Tick(h.now()) {
		p := h.process(o.VM)
		if p != nil && o.Freeze {
			p.freeze()
		}
		if o.End && p.seen() == freeze.Frozen && p.writing == 0 {
			h.w.met(abandoned)
			p.vanish("ended by the guard")
			g.keeper.Ended(h.now(), o.VM)
		}
		g.keeper.Confirm(h.now(), o.VM, p.seen())
	}
	g.publish()
	g.wakes++
	wakes := g.wakes
	if next, ok := g.keeper.Next(); ok {
		at := max(h.w.now, h.clock.when(next))
		h.w.schedule.add(at, h.at(func() {
			if h.guard == g && g.wakes == wakes {
				g.turn()
			}
		}))
	}
}

func (g *guardian) publish() {
	for _, e := range g.keeper.Events() {
		if e.Kind != guard.MachineFrozen {
			g.h.w.note(g.h.name, "guard: %s, term %d", e.Kind, e.Term)
		}
		if a := g.h.agent; a != nil && e.Kind == guard.Frozen {
			a.soon(func() { a.observe(core.GuardFrozen{Datastore: e.Datastore, Term: e.Term, Took: e.Took}) })
		}
	}
}

// abandoned lists what the guard has ended, and forgets it.
func (g *guardian) abandoned() (ended []core.FoundMachine) {
	for _, m := range g.keeper.Inventory(g.h.now()).Machines {
		if m.State == freeze.Gone && m.Abandoned {
			ended = append(ended, core.FoundMachine{VM: m.VM, Generation: m.Generation, Datastore: m.Datastore})
			_ = g.keeper.Forget(m.VM)
		}
	}
	return ended
}

func (g *guardian) forget(vm uuid.UUID) {
	g.keeper.Confirm(g.h.now(), vm, freeze.Gone)
	_ = g.keeper.Forget(vm)
	g.turn()
}

// register takes a process on, which is frozen if it is new.
func (g *guardian) register(p *process) {
	m := guard.Machine{VM: p.vm, Generation: p.generation, Datastore: p.home.id, Handle: p.handle()}
	if err := g.keeper.Register(g.h.now(), m); err != nil {
		g.h.w.note(g.h.name, "guard refuses %s: %v", g.h.w.nameOf(p.vm), err)
	}
	g.turn()
}

func (g *guardian) setLease(a *agent, e core.GuardLease) {
	if p := g.h.paths[g.h.w.storeOf(e.Datastore).index]; p.hung && g.h.w.now-p.hungAt > 100*time.Millisecond {
		g.h.w.met(vouchedOnly)
	}
	err := g.keeper.SetLease(g.h.now(), e.Datastore, e.Term, e.Length, e.Deadline)
	g.turn()
	if err != nil {
		a.soon(func() { a.observe(core.GuardRefused{Datastore: e.Datastore, Term: e.Term, Why: err.Error()}) })
	}
}

func (g *guardian) custody(a *agent, e core.GuardCustody) {
	o := core.GuardCustodyDone{Datastore: e.Datastore, Term: e.Term, Begun: e.Begin}
	var err error
	if e.Begin {
		err = g.keeper.BeginCustody(g.h.now(), e.Datastore, e.Term)
	} else {
		o.Deadline, err = g.keeper.EndCustody(g.h.now(), e.Datastore, e.Term)
	}
	g.turn()
	a.soon(func() {
		switch {
		case err == nil:
			a.observe(o)
		case e.Begin:
			o.Refused = err.Error()
			a.observe(o)
		default:
			a.observe(core.GuardRefused{Datastore: e.Datastore, Term: e.Term, Why: err.Error()})
		}
	})
}

func (g *guardian) letGo(a *agent, e core.GuardLetGo) {
	r := g.keeper.LetGo(g.h.now(), e.Datastore, e.Term, e.VMs)
	o := core.GuardLetWent{Datastore: e.Datastore, Term: e.Term, Asked: e.VMs, VMs: r.Running}
	for _, vm := range r.Running {
		if p := g.h.process(vm); p != nil {
			p.thaw()
		}
	}
	for _, f := range r.Refused {
		o.Why = f.Why
	}
	g.turn()
	a.soon(func() { a.observe(o) })
}

// upgradeGuard has another program take the guard over. For a while nobody turns;
// messages wait, and what was known goes along.
func (h *host) upgradeGuard(pause time.Duration) {
	if h.guard == nil || !h.powered || h.still || h.upgrading {
		return
	}
	h.w.note(h.name, "the guard is upgraded")
	g := h.guard
	g.turn()
	h.upgrading = true
	g.wakes++ // its turns are over
	h.w.after(pause, h.at(func() {
		h.upgrading = false
		mails := h.mails
		h.mails = nil
		if h.guard != g { // killed meanwhile
			return
		}
		next := h.newGuard()
		state, err := g.keeper.Export()
		if err == nil {
			err = next.keeper.Import(state)
		}
		if err != nil {
			h.w.fail("upgrade", "%s: %v", h.name, err)
		}
		h.guard = next
		next.turn()
		for _, do := range mails {
			do()
		}
	}))
}

// killGuard ends the guard; its unit freezes what it guarded, and its agent
// notices.
func (h *host) killGuard() {
	if h.guard == nil || !h.powered || h.still {
		return
	}
	h.w.note(h.name, "the guard is killed")
	h.trouble.note(h.w.now)
	h.guard = nil
	h.w.after(h.w.between(0, 20*time.Millisecond), h.at(func() {
		if h.guard == nil {
			h.freezeAll(nil)
		}
	}))
	if a := h.agent; a != nil {
		h.w.after(h.w.between(0, 10*time.Millisecond), a.at(func() { a.observe(core.GuardGone{Why: "its connection has ended"}) }))
	}
}

// freezeAll freezes the machines of a datastore, or all.
func (h *host) freezeAll(s *store) {
	for _, p := range h.processes {
		if s == nil || p.home == s {
			p.freeze()
		}
	}
}

// allFrozen reports whether no machine of a datastore, or of any, executes.
func (h *host) allFrozen(s *store) bool {
	for _, p := range h.processes {
		if (s == nil || p.home == s) && p.state != frozen {
			return false
		}
	}
	return true
}

// whenFrozen goes on once everything is seen frozen.
func (a *agent) whenFrozen(s *store, then func()) {
	if a.h.allFrozen(s) {
		then()
		return
	}
	a.h.w.after(5*time.Millisecond, a.at(func() { a.whenFrozen(s, then) }))
}

// restartGuard starts a new guard and registers every machine with it, frozen.
func (a *agent) restartGuard() {
	h := a.h
	h.guard = h.newGuard()
	h.w.note(h.name, "a new guard starts")
	h.trouble.note(h.w.now)
	h.freezeAll(nil)
	a.whenFrozen(nil, func() {
		if h.guard == nil { // killed before it was announced: the shell tries again
			a.restartGuard()
			return
		}
		for _, p := range h.processes {
			h.guard.register(p)
		}
		a.observe(core.GuardBack{})
	})
}
