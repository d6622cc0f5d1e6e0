package sim

import (
	"time"

	"github.com/google/uuid"
)

// halted is what monitors have done to a guest: its processors and its clock stand still,
// whether its process is frozen or not.
type halted struct {
	is     bool
	noted  bool          // the agent has given the order, which the next one finds
	next   time.Duration // before which no further order is heard
	frozen time.Duration // since when it is frozen without being halted, 0 if it is not
}

// halt has the monitors of guests halt them, or let them go on, after a moment, one order after the
// other. The monitor of a frozen guest hears them at the thaw.
func (a *agent) halt(vms []uuid.UUID, is bool) {
	w := a.h.w
	for _, vm := range vms {
		p := a.h.process(vm)
		if p == nil {
			continue
		}
		p.halt.noted = p.halt.noted || is
		p.halt.next = max(p.halt.next, w.now+w.between(time.Millisecond, 50*time.Millisecond))
		w.after(p.halt.next-w.now, a.h.at(func() {
			switch {
			case p.state == gone:
			case p.state == frozen || len(p.late) > 0:
				p.late = append(p.late, is)
			default:
				p.setHalted(is)
			}
		}))
	}
}

func (p *process) setHalted(is bool) {
	if is {
		p.h.w.seeDisturbed(p, "halted")
	}
	if p.halt.is != is {
		p.h.w.note(p.h.name, "%s is halted: %v", p.h.w.nameOf(p.vm), is)
	}
	p.halt.is, p.halt.noted = is, is
	p.h.w.seeExecution()
}

// watchdogCounts has a guest's watchdog count while its process is frozen and it is not halted, and
// reset it at the thaw.
func (p *process) watchdogCounts() {
	if !p.halt.is && p.halt.frozen == 0 {
		p.halt.frozen = p.h.w.now
	}
}

func (p *process) watchdogMeetsThaw() {
	limit := p.h.w.setup.Watchdog
	if limit > 0 && p.ran && p.halt.frozen > 0 && p.h.w.now-p.halt.frozen > limit {
		p.h.w.count("watchdog-reset")
		p.h.w.note(p.h.name, "%s is reset by its watchdog", p.h.w.nameOf(p.vm))
	}
	p.halt.frozen = 0
	late := p.late
	p.late = nil
	for _, is := range late {
		p.setHalted(is)
	}
}
