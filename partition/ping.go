package partition

import (
	"slices"
	"time"

	"storebeat/datastorehb"
)

// Ping is what is known from pinging one address, or all addresses of one host.
// The zero Ping was never sent.
type Ping struct {
	Asked    bool
	LastAsk  datastorehb.Instant
	Open     bool                // nothing was answered since Waiting
	Waiting  datastorehb.Instant // the first ask since the last answer
	Answered bool                // ever
	Last     datastorehb.Instant // when the last answer came
}

// AnsweredWithin reports whether an answer came less than d before now.
func (p Ping) AnsweredWithin(now datastorehb.Instant, d time.Duration) bool {
	return p.Answered && now.Sub(p.Last) < d
}

// Unanswering returns for how long asks have remained without an answer.
func (p Ping) Unanswering(now datastorehb.Instant) time.Duration {
	if !p.Open {
		return 0
	}
	return max(0, now.Sub(p.Waiting))
}

// Pings keeps, for every address pinged, when it was asked and when it answered
// last. Isolation addresses are kept under host 0. The zero Pings is empty.
type Pings struct {
	hosts map[datastorehb.HostID][]pinged
}

type pinged struct {
	address string
	Ping
}

func (p *Pings) find(host datastorehb.HostID, address string) *Ping {
	list := p.hosts[host]
	for i := range list {
		if list[i].address == address {
			return &list[i].Ping
		}
	}
	return nil
}

// Asked records that a ping leaves for an address of the host at now.
func (p *Pings) Asked(now datastorehb.Instant, host datastorehb.HostID, address string) {
	g := p.find(host, address)
	if g == nil {
		if p.hosts == nil {
			p.hosts = map[datastorehb.HostID][]pinged{}
		}
		p.hosts[host] = append(p.hosts[host], pinged{address: address})
		g = p.find(host, address)
	}
	if !g.Open {
		g.Open, g.Waiting = true, now
	}
	g.Asked, g.LastAsk = true, now
}

// Answered records an answer that came at now. One that nobody asked for is ignored.
func (p *Pings) Answered(now datastorehb.Instant, host datastorehb.HostID, address string) {
	if g := p.find(host, address); g != nil {
		g.Open, g.Answered, g.Last = false, true, now
	}
}

// Suspend says that this host itself was away: waiting for answers starts anew.
func (p *Pings) Suspend(now datastorehb.Instant) {
	for _, list := range p.hosts {
		for i := range list {
			list[i].Waiting = max(list[i].Waiting, now)
		}
	}
}

// Of returns what is known of one address of a host.
func (p *Pings) Of(host datastorehb.HostID, address string) Ping {
	if g := p.find(host, address); g != nil {
		return *g
	}
	return Ping{}
}

// OfHost returns what is known of a host over all its addresses: one that
// answers is enough.
func (p *Pings) OfHost(host datastorehb.HostID) (sum Ping) {
	for i, g := range p.hosts[host] {
		if i == 0 {
			sum = g.Ping
			continue
		}
		sum.LastAsk = max(sum.LastAsk, g.LastAsk)
		sum.Open = sum.Open && g.Open
		sum.Waiting = max(sum.Waiting, g.Waiting)
		sum.Answered = sum.Answered || g.Answered
		sum.Last = max(sum.Last, g.Last)
	}
	return sum
}

// Keep drops every address of the host that is not listed.
func (p *Pings) Keep(host datastorehb.HostID, addresses []string) {
	list := slices.DeleteFunc(p.hosts[host], func(g pinged) bool { return !slices.Contains(addresses, g.address) })
	if len(list) == 0 {
		delete(p.hosts, host)
		return
	}
	p.hosts[host] = list
}
