package sim

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/core"
	"storebeat/agent/freeze"
	"storebeat/poweron"
)

// processState is what a machine's process does.
type processState uint8

const (
	frozen   processState = iota // executes nothing
	running                      // executes
	freezing                     // executes still, and will soon not
	gone                         // is reaped
)

// process is a machine's process on one host.
type process struct {
	h          *host
	vm         uuid.UUID
	generation uint64
	home       *store
	pid        int // of all hosts, in the order of their births
	boot       int // of the host
	writing    int // writes to the disk that have not returned
	entry      poweron.Entry
	state      processState
	ran        bool // it was ever let go
	thaws      int
	lockLost   bool // another instance took the image lock, when the server had not heard of this one's host for long enough
	stray      bool // nobody has asked for it any more when it came into being
	born       time.Duration
	found      uint64 // the incarnation that found it frozen, until it is let go
	stopAt     uint64 // counts requests to stop
	receiving  bool   // it takes in a machine's memory, and the guest does not execute in it yet
	handed     bool   // the guest has left it and executes elsewhere
	halt       halted
	late       []bool // orders to halt, or to go on, that wait for the thaw
}

func (p *process) handle() freeze.Handle {
	return freeze.Handle{PID: p.pid, StartTime: uint64(p.pid)}
}

// seen is what somebody who looks sees.
func (p *process) seen() freeze.State {
	switch {
	case p == nil || p.state == gone:
		return freeze.Gone
	case p.state == frozen:
		return freeze.Frozen
	case p.state == freezing:
		return freeze.Freezing
	}
	return freeze.Running
}

// executes reports whether the machine does anything.
func (p *process) executes() bool { return p.hasGuest() && !p.halt.is }

// hasGuest reports whether the machine would do something in the process if its monitor did not
// halt it. A hypervisor moves one that is halted, too.
func (p *process) hasGuest() bool {
	return (p.state == running || p.state == freezing) && p.h.powered && !p.h.still && !p.receiving && !p.handed
}

// freeze stops the process, which takes a moment.
func (p *process) freeze() {
	if p.state != running {
		return
	}
	p.h.w.seeDisturbed(p, "frozen")
	p.state = freezing
	thaws := p.thaws
	w := p.h.w
	w.after(w.between(w.setup.FreezeLeast, w.setup.FreezeTime), p.h.at(func() {
		if p.state == freezing && p.thaws == thaws {
			p.state = frozen
			p.watchdogCounts()
			w.note(p.h.name, "%s is frozen", w.nameOf(p.vm))
			w.seeExecution()
		}
	}))
}

// thaw lets the process go.
func (p *process) thaw() {
	if p.state == gone {
		return
	}
	p.thaws++
	w := p.h.w
	w.seeRight(p)
	if p.state != running {
		w.note(p.h.name, "%s executes, generation %d", w.nameOf(p.vm), p.generation)
	}
	p.state = running
	p.watchdogMeetsThaw()
	w.seeStrangers(p)
	if !p.ran && !p.receiving {
		p.ran = true
		w.seeStart(p)
		p.home.disk(p.vm).latest = p
		p.guest()
	}
	p.found = 0
	w.seeExecution()
}

// end reaps the process and tells the agent.
func (p *process) end(ending core.Ending, detail string) {
	if p.state == gone {
		return
	}
	p.reap(detail)
	if a := p.h.agent; a != nil {
		a.soon(func() {
			a.observe(core.MachineGone{VM: p.vm, Generation: p.generation, Ending: ending, Detail: detail})
		})
	}
}

// reap takes the process away. The guard forgets it.
func (p *process) reap(detail string) {
	p.vanish(detail)
	if g := p.h.guard; g != nil {
		g.forget(p.vm)
	}
}

// vanish takes the process away, without a word to anybody.
func (p *process) vanish(detail string) {
	h := p.h
	p.state = gone
	h.processes = slices.DeleteFunc(h.processes, func(o *process) bool { return o == p })
	h.w.note(h.name, "%s is gone: %s", h.w.nameOf(p.vm), detail)
	h.w.seeExecution()
}

// bear creates a machine's process, frozen.
func (h *host) bear(e core.StartMachine) *process {
	h.w.pids++
	p := &process{h: h, born: h.w.now, vm: e.VM, generation: e.Generation, home: h.w.storeOf(e.Datastore), pid: h.w.pids, boot: h.boots, entry: e.Entry}
	p.home.disk(p.vm).lock(p)
	h.processes = append(h.processes, p)
	slices.SortFunc(h.processes, func(a, b *process) int { return compareUUID(a.vm, b.vm) })
	h.w.note(h.name, "%s is born frozen, generation %d", h.w.nameOf(e.VM), e.Generation)
	return p
}

func (w *World) storeOf(id uuid.UUID) *store {
	for _, s := range w.stores {
		if s.id == id {
			return s
		}
	}
	return nil
}
