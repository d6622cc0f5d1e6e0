package sim

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/core"
	"storebeat/datastorehb"
)

// startLimit is how long a driver may take to bring a machine to life.
const startLimit = time.Minute

// startMachine creates the process and registers it with the guard.
func (a *agent) startMachine(e core.StartMachine) {
	h, w := a.h, a.h.w
	old := h.process(e.VM)
	switch {
	case old != nil && old.stray:
		a.failStart(e, "machine has a process on this host already")
		return
	case old != nil:
		w.fail("I1", "%s is asked to start %s, which is there already", h.name, w.nameOf(e.VM))
	}
	if name := h.lacks(e.VM); name != "" {
		a.failStart(e, fmt.Sprintf("the host has no %s %s", thing, name))
		return
	}
	if h.badStart {
		a.failStart(e, "the hypervisor can't start it")
		if h.lateStart > 0 {
			w.after(h.lateStart, h.at(func() { h.stray(e) }))
		}
		return
	}
	if home := w.storeOf(e.Datastore); home.spec.Barrier == datastorehb.BarrierLock && !home.disk(e.VM).free() {
		w.met(startRefused)
		a.soon(func() {
			a.observe(core.MachineStarted{VM: e.VM, Generation: e.Generation, Err: "the image is locked", Refused: true})
		})
		return
	}
	p := h.bear(e)
	w.seeNamed(p)
	begun := w.now
	w.after(w.setup.StartTime+w.between(0, w.setup.StartTime/4)+h.slowStart, a.at(func() { a.started(p, e, begun) }))
}

func (a *agent) failStart(e core.StartMachine, why string) {
	a.soon(func() { a.observe(core.MachineStarted{VM: e.VM, Generation: e.Generation, Err: why}) })
}

// started goes on once the process is there. A start that hangs is given up after
// a while, and reported as failed only once its process is gone.
func (a *agent) started(p *process, e core.StartMachine, begun time.Duration) {
	h := a.h
	way := h.paths[p.home.index]
	hangs := h.startHangs || way.hung || p.home.hung // it opens the image
	switch {
	case p.state == gone:
	case hangs && h.w.now-begun < startLimit:
		h.w.after(100*time.Millisecond, a.at(func() { a.started(p, e, begun) }))
	case hangs || way.broken:
		p.reap("its start was given up")
		a.failStart(e, "the hypervisor does not answer")
	default:
		if h.guard != nil {
			h.guard.register(p)
		}
		a.observe(core.MachineStarted{VM: e.VM, Generation: e.Generation})
	}
}

// stray is a machine whose start was reported as failed and that is there, frozen,
// after all, though no driver of this program does that.
func (h *host) stray(e core.StartMachine) {
	if h.process(e.VM) == nil {
		h.bear(e).stray = true
	}
}

// stopMachine asks the guest to stop, and powers it off at the deadline. A
// frozen guest does not hear it.
func (a *agent) stopMachine(e core.StopMachine) {
	h, w := a.h, a.h.w
	p := h.process(e.VM)
	if p == nil {
		a.soon(func() { a.observe(core.MachineGone{VM: e.VM, Ending: core.EndedByUs, Detail: "it was not there"}) })
		return
	}
	w.seeDisturbed(p, "stopped")
	p.stopAt++
	request := p.stopAt
	w.after(e.Graceful, a.at(func() {
		if p.stopAt == request {
			a.kill(p, "powered off")
		}
	}))
	if e.Graceful > 0 {
		w.after(min(e.Graceful, w.between(100*time.Millisecond, 2*time.Second)), h.at(func() {
			if p.stopAt == request && p.executes() && p.writing == 0 && !h.stopHangs {
				p.end(core.EndedByUs, "stopped in good order")
			}
		}))
	}
}

// putDown ends a frozen former instance.
func (a *agent) putDown(vm uuid.UUID) {
	p := a.h.process(vm)
	if p == nil {
		a.soon(func() { a.observe(core.MachineGone{VM: vm, Ending: core.EndedByUs, Detail: "it was not there"}) })
		return
	}
	a.kill(p, "put down")
}

// kill ends a machine by force. It is frozen first, and ended once its I/O has
// returned (R12).
func (a *agent) kill(p *process, detail string) {
	a.h.w.seeDisturbed(p, "put down")
	p.freeze()
	a.h.w.after(20*time.Millisecond, a.at(func() {
		switch {
		case p.state == gone:
		case p.state != frozen || a.h.stopHangs || p.writing > 0:
			a.h.w.after(100*time.Millisecond, a.at(func() { a.kill(p, detail) }))
		default:
			a.h.w.seeKill(p)
			p.end(core.EndedByUs, detail)
		}
	}))
}
