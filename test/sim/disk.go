package sim

import (
	"time"

	"github.com/google/uuid"

	"storebeat/datastorehb"
)

// disk is a machine's disk on its home datastore.
type disk struct {
	holder *process // of the image lock, where there are such
	latest *process // the newest instance of the machine that has executed
}

// guestEvery is how often a guest writes to its disk, about.
const guestEvery = time.Second

func (s *store) disk(vm uuid.UUID) *disk {
	d := s.disks[vm]
	if d == nil {
		d = &disk{}
		s.disks[vm] = d
	}
	return d
}

// guest writes to the disk again and again, while the machine executes and the
// write before has returned.
func (p *process) guest() {
	w := p.h.w
	if p.state == gone {
		return
	}
	if p.executes() && p.writing == 0 {
		p.writing++
		w.after(w.latency(), func() { p.reachDisk(false) })
	}
	w.after(w.between(guestEvery/2, guestEvery*3/2), p.guest)
}

// reachDisk is a guest's write on its way, in the kernel: it waits while the path
// hangs, whatever becomes of the process. A host that loses power takes with it
// what waits in it, and not what the datastore has taken already.
func (p *process) reachDisk(held bool) {
	h, s := p.h, p.home
	way := h.paths[s.index]
	dead := h.boots != p.boot || !h.powered
	switch {
	case dead && (held || h.powered || h.w.chance(0.5)):
	case !dead && h.still:
		h.later = append(h.later, func() { p.reachDisk(held) })
	case s.hung || way.hung && !dead:
		held = held || way.hung
		way.parked = append(way.parked, func() { p.reachDisk(held) })
	case way.broken || h.w.chance(way.errors):
		p.writing-- // with an error
	default:
		p.landOnDisk()
		p.writing--
	}
}

// landOnDisk is a guest's write at the datastore, behind its barrier (R12).
func (p *process) landOnDisk() {
	w, d := p.h.w, p.home.disk(p.vm)
	former := d.latest != nil && d.latest != p && d.latest.pid > p.pid
	switch p.home.spec.Barrier {
	case datastorehb.BarrierLock:
		// The server refuses a write without the lock; but tested on NFSv4.2, that of a
		// process which was killed while its path hung went through.
		if former && p.state != gone && d.holder != p {
			w.met(writeRefused)
			return
		}
	case datastorehb.BarrierClusterFS, datastorehb.BarrierFence:
		if former {
			w.met(writeRefused)
			return
		}
	}
	if former {
		w.seeLateWrite(p)
	}
}

// free reports whether the image lock can be taken.
func (d *disk) free() bool { return d.holder == nil || !d.holder.locks() }

// lock gives the image lock to a process, if there are such locks.
func (d *disk) lock(p *process) {
	if d.holder != nil && d.holder != p {
		d.holder.lockLost = true
	}
	d.holder = p
}

// locks reports whether a process holds on to its image lock. The server keeps it
// until the process is gone, or until it has not heard of the host for a while.
func (p *process) locks() bool {
	h, way := p.h, p.h.paths[p.home.index]
	switch {
	case p.lockLost:
		return false
	case h.boots != p.boot:
		return false // the host has told the server that it began anew
	case !h.powered || h.still:
		return h.w.now-h.lostAt < h.w.setup.LockLease
	case way.hung || way.broken:
		return h.w.now-way.hungAt < h.w.setup.LockLease
	}
	return p.state != gone
}
