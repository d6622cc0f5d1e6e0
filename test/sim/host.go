package sim

import (
	"time"

	"github.com/google/uuid"

	"storebeat/datastorehb"
)

// host is one computer.
type host struct {
	w          *World
	index      int
	id         datastorehb.HostID
	name       string
	machine    uuid.UUID
	powered    bool
	boots      int
	boot       uuid.UUID
	clock      bootClock
	ppm        int64 // of its clock, at every boot
	still      bool  // stands still as a whole
	later      []func()
	mails      []func() // messages to the guard that came while the host stood still
	processes  []*process
	guard      *guardian
	agent      *agent
	paths      []*path
	reachable  bool               // an isolation address answers it
	deaf       []string           // isolation addresses that don't
	memory     uint64             // that machines may use
	slowStart  time.Duration      // added to every start of a machine
	badStart   bool               // machines can't be started
	hesitant   float64            // part of the effects before which the agent pauses
	unaware    int                // so many of the last hosts are not in its configuration
	recordless bool               // has kept no cluster record, and can't read the one on the datastores
	kept       []byte             // the cluster record, on the host's own disk
	walled     time.Duration      // by how much its wall clock is ahead
	echoed     bool               // something else answers pings to its address
	lateStart  time.Duration      // so much after their failed starts machines are there after all
	trouble    trouble            // of the past, with the host itself
	alone      trouble            // and with its network
	incoming   []*process         // in which its hypervisor is to receive machines, before the agent takes them on
	strangers  []*process         // machines that somebody has started behind the agent's back
	lostAt     time.Duration      // when it lost power or stood still last
	startHangs bool               // starts of machines wait for its end
	stopHangs  bool               // and so do their ends: guests do not listen
	stopping   bool               // its agent is being stopped in good order, or is stopped and will be started again
	away       time.Duration      // for how long it stays stopped
	shutting   bool               // it shuts down
	announced  bool               // and its agent was told so, and is to let it go on
	upgrading  bool               // its guard is between two programs
	watchdog   *watchdog          // nil for none
	levels     datastorehb.Levels // that its program knows
	things     things

	timing datastorehb.Timing // as its configuration has it
}

// now returns what the host's clock reads.
func (h *host) now() datastorehb.Instant { return h.clock.read(h.w.now) }

// powerOn boots the host. Guard and agent come up a little later.
func (h *host) powerOn() {
	if h.powered {
		return
	}
	w := h.w
	h.powered, h.still, h.later, h.mails = true, false, nil, nil
	h.boots++
	h.boot = w.uuid()
	h.clock = bootClock{base: w.now, start: datastorehb.Instant(w.between(time.Second, time.Minute)), ppm: h.ppm}
	for _, p := range h.paths {
		p.busy, p.freed, p.parked = 0, nil, nil
	}
	w.note(h.name, "powered on")
	h.trouble.note(w.now)
	h.meetReturn()
	w.after(w.between(10*time.Millisecond, 100*time.Millisecond), h.at(h.startAgent))
}

// powerOff ends everything on the host at once.
func (h *host) powerOff() {
	if !h.powered {
		return
	}
	h.w.note(h.name, "lost power")
	h.meetLoss()
	h.powered, h.still, h.later, h.mails, h.lostAt = false, false, nil, nil, h.w.now
	for _, p := range h.processes {
		p.state = gone
	}
	if h.agent != nil {
		h.agent.alive = false
	}
	h.endBehind()
	h.endIncoming()
	h.processes, h.guard, h.agent, h.stopping, h.shutting, h.upgrading = nil, nil, nil, false, false, false
	h.w.seeExecution()
}

// at makes something happen only in the present boot, and not while the host
// stands still.
func (h *host) at(do func()) func() {
	boot := h.boots
	var run func()
	run = func() {
		switch {
		case h.boots != boot || !h.powered:
		case h.still:
			h.later = append(h.later, run)
		default:
			do()
		}
	}
	return run
}

// stop makes the host stand still: nothing on it executes.
func (h *host) stop() {
	if h.powered && !h.still {
		h.w.note(h.name, "stands still")
		h.still, h.lostAt = true, h.w.now
		h.w.seeExecution()
	}
}

// mail makes something happen in the guard, by a message. What comes while the host
// stands still is what the guard finds when it goes on, before it looks at its clock.
func (h *host) mail(do func()) func() {
	boot := h.boots
	return func() {
		switch {
		case h.boots != boot || !h.powered:
		case h.still || h.upgrading:
			h.mails = append(h.mails, do)
		default:
			do()
		}
	}
}

// goOn ends the standstill. The guard comes first.
func (h *host) goOn() {
	if !h.still {
		return
	}
	h.w.note(h.name, "goes on")
	h.trouble.note(h.w.now)
	h.still = false
	mails := h.mails
	h.mails = nil
	for _, do := range mails {
		do()
	}
	if h.guard != nil {
		h.guard.turn()
	} else {
		h.freezeAll(nil)
	}
	for _, p := range h.processes {
		if p.state == freezing {
			p.state = frozen // in no time: see the fault budget
		}
	}
	h.w.seeExecution()
	later := h.later
	h.later = nil
	for _, do := range later {
		h.w.after(0, do)
	}
}

func (h *host) process(vm uuid.UUID) *process {
	for _, p := range h.processes {
		if p.vm == vm {
			return p
		}
	}
	return nil
}
