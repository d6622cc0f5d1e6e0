package sim

import (
	"slices"
	"time"

	"storebeat/agent/core"
	"storebeat/partition"
)

// link is the way from one host to another, in one direction.
type link struct {
	cut    bool
	cutAt  time.Duration // since when, if it is cut
	loss   float64
	double float64
	delay  time.Duration
	jitter time.Duration
}

// network holds every link.
type network struct {
	links [][]link // from, to
}

func (n *network) grow(hosts int) {
	for i := range n.links {
		n.links[i] = append(n.links[i], link{})
	}
	n.links = append(n.links, make([]link, hosts))
}

// carry brings something from one host to another, or not.
func (w *World) carry(from, to *host, deliver func()) {
	l := &w.network.links[from.index][to.index]
	if from == to || l.cut || w.chance(l.loss) {
		return
	}
	times := 1
	if w.chance(l.double) {
		times = 2
	}
	for range times {
		w.after(w.latency()+l.delay+w.between(0, l.jitter), func() {
			if to.powered && !w.network.links[from.index][to.index].cut {
				to.at(deliver)()
			}
		})
	}
}

func (h *host) sendHeartbeat(p partition.Packet) {
	p.Datastores, p.Acks = slices.Clone(p.Datastores), slices.Clone(p.Acks)
	for _, to := range h.w.hosts {
		if to.id != p.To {
			continue
		}
		h.w.carry(h, to, func() {
			if a := to.agent; a != nil && p.Level <= to.levels.Highest {
				a.at(func() { a.observe(core.HeartbeatReceived{Packet: p}) })()
			}
		})
	}
}

func (h *host) send(e core.Send) {
	for _, to := range h.w.hosts {
		if to.id != e.To {
			continue
		}
		h.w.carry(h, to, func() {
			if a := to.agent; a != nil {
				a.at(func() { a.observe(core.Received{From: h.id, Message: e.Message}) })()
			}
		})
	}
}

// ping asks a host, or an isolation address.
func (a *agent) ping(e core.Ping) {
	answered := a.at(func() { a.observe(core.PingAnswered(e)) })
	if e.Host == 0 {
		if a.h.reachable && !slices.Contains(a.h.deaf, e.Address) {
			a.h.w.after(a.h.w.latency(), answered)
		}
		return
	}
	for _, to := range a.h.w.hosts {
		if to.id != e.Host || to.index != int(to.id)-1 {
			continue
		}
		if to.echoed {
			a.h.w.after(a.h.w.latency(), answered)
		} else {
			a.h.w.carry(a.h, to, func() { a.h.w.carry(to, a.h, answered) })
		}
	}
}
