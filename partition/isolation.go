package partition

import (
	"fmt"
	"time"

	"storebeat/datastorehb"
)

// IsolationOptions say how a host finds out that it is isolated.
type IsolationOptions struct {
	// Addresses are pinged when no member of the cluster is heard. One that
	// answers means that this host has a network, and the others have not.
	Addresses []string
}

// Surroundings is what a host sees of its network.
type Surroundings struct {
	Members   int           // hosts of the cluster, this one included
	Quiet     time.Duration // since the last fresh packet of any of them (Peers.Quiet)
	Addresses []Probe       // the isolation addresses
}

// Probe is one isolation address and what is known from pinging it.
type Probe struct {
	Address string
	Ping    Ping
}

// Isolation is a host's own judgement whether it is isolated. The zero
// Isolation is not.
//
// It takes the absence of all traffic of the cluster for Timing.Isolated, and
// every isolation address asked for as long without an answer. Without isolation
// addresses the absence of traffic has to do, but only in a cluster of three
// hosts or more: there the silence of all others at once has its likeliest cause at
// home, while of two hosts that do not hear each other neither can tell which
// of them is cut off. The first fresh packet ends isolation, and so does the
// answer of an isolation address.
type Isolation struct {
	isolated bool
	since    datastorehb.Instant
	looked   look
}

// look is what the newest judgement rests on.
type look struct {
	at     datastorehb.Instant
	around Surroundings
	timing *Timing
}

// Isolated reports whether the host holds itself for isolated, and since when.
func (s *Isolation) Isolated() (since datastorehb.Instant, isolated bool) { return s.since, s.isolated }

// Why says in words what the judgement rests on, "" before the first.
func (s *Isolation) Why() string {
	if s.looked.timing == nil {
		return ""
	}
	ground, probe := s.looked.judge()
	return s.looked.say(ground, probe)
}

// Step judges anew and reports whether the judgement has changed. It keeps a
// reference to the addresses and the timing, for Why.
func (s *Isolation) Step(now datastorehb.Instant, around Surroundings, t *Timing) (changed bool) {
	s.looked = look{now, around, t}
	ground, _ := s.looked.judge()
	isolated := ground >= nobodyHeard
	changed = isolated != s.isolated
	if changed {
		s.isolated, s.since = isolated, now
	}
	return changed
}

// ground is what speaks for or against isolation.
type ground uint8

const (
	noOtherHost ground = iota
	memberHeard
	twoHosts
	addressNotAsked
	addressAnswered
	addressWaitedFor
	nobodyHeard // this ground and the next mean isolation
	nobodyAnswers
)

// judge returns what decides, and the isolation address that does, if one does.
func (l *look) judge() (g ground, decides Probe) {
	switch around := &l.around; {
	case around.Members < 2:
		return noOtherHost, decides
	case around.Quiet < l.timing.Isolated:
		return memberHeard, decides
	case len(around.Addresses) == 0 && around.Members < 3:
		return twoHosts, decides
	case len(around.Addresses) == 0:
		return nobodyHeard, decides
	}
	for _, a := range l.around.Addresses {
		switch {
		case !a.Ping.Asked:
			return addressNotAsked, a
		case !a.Ping.Open:
			return addressAnswered, a
		case a.Ping.Unanswering(l.at) < l.timing.Isolated:
			return addressWaitedFor, a
		}
	}
	return nobodyAnswers, decides
}

func (l *look) say(g ground, decides Probe) string {
	quiet, takes := seconds(l.around.Quiet), seconds(l.timing.Isolated)
	switch g {
	case noOtherHost:
		return "the cluster has no other host"
	case memberHeard:
		return fmt.Sprintf("a member of the cluster was heard %s ago; isolation takes %s without any", quiet, takes)
	case twoHosts:
		return "the other host is not heard, but with two hosts and no isolation address it can't be told which of them is cut off; configure isolation addresses"
	case addressNotAsked:
		return fmt.Sprintf("no member is heard, but isolation address %s has not been asked yet", decides.Address)
	case addressAnswered:
		return fmt.Sprintf("no member is heard, but isolation address %s answered %s ago", decides.Address, seconds(l.at.Sub(decides.Ping.Last)))
	case addressWaitedFor:
		return fmt.Sprintf("no member is heard, and isolation address %s has been silent for %s of %s", decides.Address, seconds(decides.Ping.Unanswering(l.at)), takes)
	case nobodyHeard:
		return fmt.Sprintf("none of %d other hosts was heard for %s, and no isolation address is configured", l.around.Members-1, quiet)
	}
	return fmt.Sprintf("none of %d other hosts was heard for %s, and none of %d isolation addresses answers", l.around.Members-1, quiet, len(l.around.Addresses))
}

// Witness is another host's slot on the home datastore of a machine.
type Witness struct {
	Host      datastorehb.HostID
	Master    bool // its slot says that it is master
	Isolated  bool // its slot says that it is isolated
	Changed   bool
	ChangedAt datastorehb.Instant // when the slot was last seen to change

	// LeadsSince is since when every look at the slot has shown a master that is not
	// isolated; meaningful while it does.
	LeadsSince datastorehb.Instant
}

// Respond reports whether the isolation response of a machine may be carried
// out, given all other slots on its home datastore, and why not if not.
//
// A machine is given up only if somebody else could start it: a master that is
// alive on the machine's own home datastore and not isolated itself. When the
// whole network fails, every host is isolated at about the same time and each may
// be a master of itself; so the response waits for Timing.Settle, by which time
// the others' flags are on disk, and counts only what they wrote since. And when the
// network returns, some hear it before others; so a master counts only once it has been
// one for as long, by which time this host would hear it too.
func (s *Isolation) Respond(now datastorehb.Instant, home []Witness, t *Timing) (respond bool, why string) {
	switch {
	case !s.isolated:
		return false, "this host is not isolated"
	case now.Sub(s.since) < t.Settle:
		return false, fmt.Sprintf("isolated for %s; the response begins after %s, when the other hosts' flags can be read", seconds(now.Sub(s.since)), seconds(t.Settle))
	}
	why = "no other host is seen on the home datastore: nobody could start the machine"
	for _, w := range home {
		switch {
		case !w.Changed || now.Sub(w.ChangedAt) >= t.DiskAlive || w.ChangedAt <= s.since:
		case w.Isolated:
			why = fmt.Sprintf("host %d is alive on the home datastore but isolated too: nobody could be told to start the machine", w.Host)
		case w.Master && now.Sub(w.LeadsSince) < t.Settle:
			why = fmt.Sprintf("host %d is alive on the home datastore as a master that is not isolated, but only for %s of %s: if the network is back, it will be heard", w.Host, seconds(now.Sub(w.LeadsSince)), seconds(t.Settle))
		case w.Master:
			return true, fmt.Sprintf("host %d is master and was seen on the home datastore %s ago: it can start the machine", w.Host, seconds(now.Sub(w.ChangedAt)))
		default:
			why = fmt.Sprintf("host %d is alive on the home datastore, but no master is: nobody would start the machine", w.Host)
		}
	}
	return false, why
}
