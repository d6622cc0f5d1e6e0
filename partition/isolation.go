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
	why      string
}

// Isolated reports whether the host holds itself for isolated, and since when.
func (s *Isolation) Isolated() (since datastorehb.Instant, isolated bool) { return s.since, s.isolated }

// Why says in words what the judgement rests on.
func (s *Isolation) Why() string { return s.why }

// Step judges anew and reports whether the judgement has changed.
func (s *Isolation) Step(now datastorehb.Instant, around Surroundings, t *Timing) (changed bool) {
	isolated, why := judgeIsolation(now, around, t)
	changed = isolated != s.isolated
	if changed {
		s.isolated, s.since = isolated, now
	}
	s.why = why
	return changed
}

func judgeIsolation(now datastorehb.Instant, around Surroundings, t *Timing) (isolated bool, why string) {
	switch {
	case around.Members < 2:
		return false, "the cluster has no other host"
	case around.Quiet < t.Isolated:
		return false, fmt.Sprintf("a member of the cluster was heard %s ago; isolation takes %s without any", seconds(around.Quiet), seconds(t.Isolated))
	case len(around.Addresses) == 0 && around.Members < 3:
		return false, "the other host is not heard, but with two hosts and no isolation address it can't be told which of them is cut off; configure isolation addresses"
	case len(around.Addresses) == 0:
		return true, fmt.Sprintf("none of %d other hosts was heard for %s, and no isolation address is configured", around.Members-1, seconds(around.Quiet))
	}
	for _, a := range around.Addresses {
		switch waited := a.Ping.Unanswering(now); {
		case !a.Ping.Asked:
			return false, fmt.Sprintf("no member is heard, but isolation address %s has not been asked yet", a.Address)
		case !a.Ping.Open:
			return false, fmt.Sprintf("no member is heard, but isolation address %s answered %s ago", a.Address, seconds(now.Sub(a.Ping.Last)))
		case waited < t.Isolated:
			return false, fmt.Sprintf("no member is heard, and isolation address %s has been silent for %s of %s", a.Address, seconds(waited), seconds(t.Isolated))
		}
	}
	return true, fmt.Sprintf("none of %d other hosts was heard for %s, and none of %d isolation addresses answers", around.Members-1, seconds(around.Quiet), len(around.Addresses))
}

// Witness is another host's slot on the home datastore of a machine.
type Witness struct {
	Host      datastorehb.HostID
	Master    bool // its slot says that it is master
	Isolated  bool // its slot says that it is isolated
	Changed   bool
	ChangedAt datastorehb.Instant // when the slot was last seen to change
}

// Respond reports whether the isolation response of a machine may be carried
// out, given all other slots on its home datastore, and why not if not.
//
// A machine is given up only if somebody else could start it: a master that is
// alive on the machine's own home datastore and not isolated itself. When the
// whole network fails, every host is isolated at about the same time and each may
// be a master of itself; so the response waits for Timing.Settle, by which time
// the others' flags are on disk, and counts only what they wrote since.
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
		case w.Master:
			return true, fmt.Sprintf("host %d is master and was seen on the home datastore %s ago: it can start the machine", w.Host, seconds(now.Sub(w.ChangedAt)))
		default:
			why = fmt.Sprintf("host %d is alive on the home datastore, but no master is: nobody would start the machine", w.Host)
		}
	}
	return false, why
}
