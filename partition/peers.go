package partition

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"storebeat/datastorehb"
)

// Peers is one host's network failure detector and its protection against
// replayed packets.
//
// A packet counts as heard only if it is fresh: its sequence grows within the
// run of the agent (machine, boot, incarnation) that is accepted for the host. A
// new run is accepted only when its packet echoes a packet of ours that is recent
// and newer than any its forerunner echoed, and a run that has given way is never
// taken back. A host that fell silent must echo a recent packet again. So no
// recording, not even of packets that never arrived, brings back a host that
// was silent. Until a sender has proven itself it is a candidate, and is
// answered with an echo so that it can.
//
// An accepted host that goes on sending but no longer echoes is heard on a
// one-way path: it lives, but it does not hear us.
//
// Instants handed to the methods never go back.
type Peers struct {
	self  datastorehb.Writer
	t     Timing
	now   datastorehb.Instant
	hosts []*peer    // in ascending order of their hosts
	sent  []sentMark // in increasing order, at most as old as an echo may be
}

// sentMark says that the own packets after the mark before, up to last, were
// sent at one instant.
type sentMark struct {
	first, last uint64
	at          datastorehb.Instant
}

// retiredRuns is how many runs that gave way are remembered per host. More than
// that cannot prove themselves with the same echo window in any sane cluster.
const retiredRuns = 4

// peer is what is known of one other host.
type peer struct {
	host      datastorehb.HostID
	accepted  sender
	heard     bool                // a fresh packet was ever taken
	fresh     datastorehb.Instant // when the newest fresh packet was taken
	since     datastorehb.Instant // silence is measured from here
	echoedAt  datastorehb.Instant // when we sent the newest packet that it echoed
	packet    Packet              // the newest fresh one
	candidate sender
	pending   bool // the candidate was heard after the newest fresh packet
	replied   bool
	replyAt   datastorehb.Instant
	retired   [retiredRuns]identity
	next      int // index in retired to be written next
}

// identity tells runs of a host's agent apart.
type identity struct {
	machine, boot uuid.UUID
	incarnation   uint64
}

// sender is a run and the newest packet had from it.
type sender struct {
	identity
	sequence uint64
	echoed   uint64 // the newest own sequence that it echoed
}

func identityOf(w datastorehb.Writer) identity {
	return identity{w.Machine, w.Boot, w.Incarnation}
}

// NewPeers returns the detector of the host self, which listens from now on.
// It knows no other host yet: see Expect.
func NewPeers(self datastorehb.Writer, t Timing, now datastorehb.Instant) *Peers {
	return &Peers{self: self, t: t, now: now}
}

// Expect says which hosts are members of the cluster. The silence of a new one
// is measured from now. Packets of any other host are ignored.
func (p *Peers) Expect(now datastorehb.Instant, hosts []datastorehb.HostID) {
	p.now = now
	p.hosts = slices.DeleteFunc(p.hosts, func(h *peer) bool { return !slices.Contains(hosts, h.host) })
	for _, id := range hosts {
		if at, known := p.find(id); !known && id != p.self.Host {
			p.hosts = slices.Insert(p.hosts, at, &peer{host: id, since: now})
		}
	}
}

func (p *Peers) find(host datastorehb.HostID) (at int, known bool) {
	return slices.BinarySearchFunc(p.hosts, host, func(h *peer, id datastorehb.HostID) int { return int(h.host) - int(id) })
}

// of returns what is known of a host, nil for one that is not expected.
func (p *Peers) of(host datastorehb.HostID) *peer {
	if at, known := p.find(host); known {
		return p.hosts[at]
	}
	return nil
}

// SetTiming replaces the thresholds.
func (p *Peers) SetTiming(t Timing) { p.t = t }

// Step tells the time before anything else at each step of the core. When the
// step comes late by more than Timing.Late, it suspends and reports so.
func (p *Peers) Step(now datastorehb.Instant) (suspended bool) {
	if now.Sub(p.now) > p.t.Late {
		p.Suspend(now)
		return true
	}
	p.now = now
	return false
}

// Suspend says that this host itself was away: silence that was being measured
// is void and starts anew at now. Hosts that had been found silent before, while
// this host was awake, stay so; what they sent meanwhile must prove itself.
func (p *Peers) Suspend(now datastorehb.Instant) {
	for _, h := range p.hosts {
		if p.now.Sub(h.since) < p.t.Heard {
			h.since = now
		}
	}
	p.now = now
}

// Sent records that the own packet with the sequence leaves at now.
func (p *Peers) Sent(now datastorehb.Instant, sequence uint64) {
	p.now = now
	if n := len(p.sent); n > 0 && p.sent[n-1].at == now {
		p.sent[n-1].last = max(p.sent[n-1].last, sequence)
		return
	}
	old := 0
	for old < len(p.sent) && now.Sub(p.sent[old].at) > p.t.Echo {
		old++
	}
	p.sent = slices.Delete(p.sent, 0, old)
	p.sent = append(p.sent, sentMark{first: sequence, last: sequence, at: now})
}

// sentAt returns when the own packet was sent, if that was recently.
func (p *Peers) sentAt(sequence uint64) (at datastorehb.Instant, recent bool) {
	i, _ := slices.BinarySearchFunc(p.sent, sequence, func(m sentMark, s uint64) int {
		if m.last < s {
			return -1
		}
		return 1
	})
	if i == len(p.sent) || sequence < p.sent[i].first || p.now.Sub(p.sent[i].at) > p.t.Echo {
		return 0, false
	}
	return p.sent[i].at, true
}

// Heard takes in an authentic packet for this host. It reports whether the
// packet is fresh, which makes its content and its acks worth anything, and
// whether the sender should be answered at once, with ReplyEcho.
func (p *Peers) Heard(now datastorehb.Instant, packet Packet) (fresh, reply bool) {
	p.now = now
	h := p.of(packet.From.Host)
	if h == nil || packet.From.Incarnation == 0 {
		return false, false
	}
	from := identityOf(packet.From)
	if h.heard && from == h.accepted.identity && packet.Sequence <= h.accepted.sequence {
		return false, false
	}
	proven := p.proves(h, from, packet.Echo)
	if proven || h.heard && from == h.accepted.identity && !p.silent(h) {
		p.accept(h, from, packet)
		return true, false
	}
	return false, p.consider(h, from, packet)
}

// proves reports whether an echo shows that the sender's run heard us just now.
func (p *Peers) proves(h *peer, from identity, echo Echo) bool {
	if echo.Incarnation != p.self.Incarnation || echo.Incarnation == 0 {
		return false
	}
	if _, recent := p.sentAt(echo.Sequence); !recent {
		return false
	}
	if h.heard && from != h.accepted.identity {
		return echo.Sequence > h.accepted.echoed && !slices.Contains(h.retired[:], from)
	}
	return true
}

func (p *Peers) accept(h *peer, from identity, packet Packet) {
	if h.heard && from != h.accepted.identity {
		h.retired[h.next] = h.accepted.identity
		h.next = (h.next + 1) % retiredRuns
		h.accepted = sender{}
		h.echoedAt = 0
	}
	h.heard, h.pending = true, false
	h.fresh, h.since = p.now, p.now
	h.accepted.identity, h.accepted.sequence = from, packet.Sequence
	h.packet = packet
	if at, recent := p.sentAt(packet.Echo.Sequence); recent && packet.Echo.Incarnation == p.self.Incarnation {
		h.echoedAt = max(h.echoedAt, at)
		h.accepted.echoed = max(h.accepted.echoed, packet.Echo.Sequence)
	}
}

// consider notes an unproven sender and reports whether to answer it.
func (p *Peers) consider(h *peer, from identity, packet Packet) (reply bool) {
	if slices.Contains(h.retired[:], from) {
		return false
	}
	if from != h.candidate.identity {
		h.candidate = sender{identity: from}
	}
	h.candidate.sequence = max(h.candidate.sequence, packet.Sequence)
	h.pending = true
	if h.replied && p.now.Sub(h.replyAt) < p.t.Reply {
		return false
	}
	h.replied, h.replyAt = true, p.now
	return true
}

func (p *Peers) silent(h *peer) bool { return p.now.Sub(h.since) >= p.t.Heard }

// Silence returns for how long nothing fresh was heard of a host, as far as
// this host was awake to listen. It is zero for hosts that are not expected.
func (p *Peers) Silence(host datastorehb.HostID, now datastorehb.Instant) time.Duration {
	if h := p.of(host); h != nil {
		return max(0, now.Sub(h.since))
	}
	return 0
}

// Quiet returns for how long nothing fresh was heard of any host.
func (p *Peers) Quiet(now datastorehb.Instant) time.Duration {
	quiet, first := time.Duration(0), true
	for _, h := range p.hosts {
		if s := now.Sub(h.since); first || s < quiet {
			quiet, first = s, false
		}
	}
	return max(0, quiet)
}

// OneWay reports whether a host is heard but has not echoed a recent packet of
// ours: it seems not to hear us.
func (p *Peers) OneWay(host datastorehb.HostID, now datastorehb.Instant) bool {
	h := p.of(host)
	return h != nil && h.heard && now.Sub(h.since) < p.t.Heard && now.Sub(h.echoedAt) > p.t.Echo
}

// TwoWay reports whether a fresh packet was heard within the given time on a
// path that works in both directions.
func (p *Peers) TwoWay(host datastorehb.HostID, now datastorehb.Instant, within time.Duration) bool {
	h := p.of(host)
	return h != nil && h.heard && now.Sub(h.since) < within && !p.OneWay(host, now)
}

// EchoFor returns what a heartbeat to the host echoes: the newest fresh packet,
// or that of an unproven sender while there is no other or the other has gone quiet.
func (p *Peers) EchoFor(host datastorehb.HostID) Echo {
	h := p.of(host)
	switch {
	case h == nil:
		return Echo{}
	case h.pending && (!h.heard || p.now.Sub(h.since) >= p.t.Suspect):
		return h.candidate.echo()
	}
	return h.accepted.echo()
}

// ReplyEcho returns what the answer to an unproven sender echoes.
func (p *Peers) ReplyEcho(host datastorehb.HostID) Echo {
	if h := p.of(host); h != nil && h.pending {
		return h.candidate.echo()
	}
	return p.EchoFor(host)
}

func (s sender) echo() Echo { return Echo{Incarnation: s.incarnation, Sequence: s.sequence} }

// LastPacket returns the newest fresh packet of a host, which stays valid until
// the next call of Heard and must not be changed. It is not nil, and empty while there is none.
func (p *Peers) LastPacket(host datastorehb.HostID) (*Packet, bool) {
	if h := p.of(host); h != nil {
		return &h.packet, h.heard
	}
	return &Packet{}, false
}

// Network returns the network's part of the evidence about a host.
func (p *Peers) Network(host datastorehb.HostID, now datastorehb.Instant) Network {
	h := p.of(host)
	if h == nil {
		return Network{}
	}
	return Network{
		Heard:       h.heard,
		LastFresh:   h.fresh,
		Silence:     max(0, now.Sub(h.since)),
		OneWay:      p.OneWay(host, now),
		Leaving:     h.packet.Flags&PacketLeaving != 0,
		Maintenance: h.packet.Flags&PacketMaintenance != 0,
		Isolated:    h.packet.Flags&PacketIsolated != 0,
	}
}
