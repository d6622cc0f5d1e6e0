package sim

import (
	"fmt"
	"time"

	"storebeat/agent/guard"
	"storebeat/test/sim/scenario"
)

// watchdog resets its host when it has not been fed in time. It stands still with
// its host, as a software watchdog does.
type watchdog struct {
	feeds int
}

// feed feeds the host's watchdog while everything is proven or frozen, several times within F.
func (g *guardian) feed() {
	h := g.h
	if h.guard != g {
		return
	}
	t := h.timing
	resets, ahead := guard.WatchdogTimes(t.Lease, t.Takeover)
	if !h.upgrading && g.keeper.Safe(h.now().Add(ahead)) {
		h.watchdog.feeds++
		fed := h.watchdog.feeds
		h.w.schedule.add(h.clock.when(h.now().Add(resets)), h.at(func() {
			if h.watchdog.feeds == fed {
				h.reset()
			}
		}))
	}
	h.w.schedule.add(h.clock.when(h.now().Add(t.Freeze/5)), h.at(g.feed))
}

// reset has the host boot anew.
func (h *host) reset() {
	h.w.note(h.name, "its watchdog resets it")
	h.powerOff()
	boots := h.boots
	h.w.after(h.w.between(2*time.Second, 20*time.Second), func() {
		if h.boots == boots {
			h.powerOn()
		}
	})
}

// killBoth ends agents and guards, and leaves their machines to the watchdog.
func (p *player) killBoth(a *scenario.Phrase) (func(), error) {
	hosts, err := p.hostsIn(a, "HOSTS", nil)
	if err != nil {
		return nil, err
	}
	for _, h := range hosts {
		if h.watchdog == nil {
			return nil, fmt.Errorf("%s has no watchdog: its machines would run unguarded for ever, which docs/safety.md counts among the known limits; declare the host with `watchdog`", h.name)
		}
	}
	return eachHost(func(h *host) {
		h.w.note(h.name, "the guard is killed")
		h.guard = nil
		h.killAgent()
	}, nil)(p, a)
}
