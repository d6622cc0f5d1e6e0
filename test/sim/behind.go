package sim

import (
	"github.com/google/uuid"

	"storebeat/agent/core"
	"storebeat/datastorehb"
)

// Machines that somebody starts or moves with other tools, behind the agents' backs.
// Nothing of it bears the product's marker, no guard knows it, and no observation tells the core. Only
// the image lock, where there is one, keeps the two apart.

// startBehind starts a machine on a host without a claim. It reports false if the
// image lock forbids it.
func (h *host) startBehind(vm uuid.UUID, home *store) bool {
	w, d := h.w, home.disk(vm)
	if !h.powered || home.spec.Barrier == datastorehb.BarrierLock && !d.free() {
		w.note(h.name, "%s can't be started behind its agent's back", w.nameOf(vm))
		return false
	}
	w.note(h.name, "%s is started behind its agent's back", w.nameOf(vm))
	w.pids++
	p := &process{h: h, born: w.now, vm: vm, home: home, pid: w.pids, boot: h.boots, state: running, ran: true}
	d.lock(p)
	h.strangers = append(h.strangers, p)
	w.seeExecution()
	return true
}

// moveBehind moves a machine that executes on h to another host. Its process on h
// ends, which the driver takes for a crash.
func (h *host) moveBehind(vm uuid.UUID, to *host) {
	p := h.process(vm)
	if p == nil || !p.executes() || !to.powered {
		return
	}
	h.w.note(h.name, "%s is moved to %s behind its agent's back", h.w.nameOf(vm), to.name)
	p.writing = 0 // moving waits for its I/O
	p.end(core.EndedByCrash, "its process has ended")
	to.startBehind(vm, p.home)
}

// endBehind ends what was started on a host behind its agent's back.
func (h *host) endBehind() {
	for _, p := range h.strangers {
		h.w.note(h.name, "%s is ended behind its agent's back", h.w.nameOf(p.vm))
		p.state = gone
	}
	h.strangers = nil
}

// seeStrangers counts a machine that executes beside one that was started behind the agents' backs: nobody
// who is not told of it can prevent that without an image lock.
func (w *World) seeStrangers(p *process) {
	for _, h := range w.hosts {
		for _, q := range h.strangers {
			if q.vm != p.vm || !q.executes() {
				continue
			}
			w.met(besideStranger)
			if q.born < p.born && q.locks() && p.home.spec.Barrier == datastorehb.BarrierLock {
				w.fail("I1", "%s is let go on %s though it was born after a process on %s had the image lock", w.nameOf(p.vm), p.h.name, h.name)
			}
		}
	}
}
