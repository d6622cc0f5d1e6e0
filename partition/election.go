package partition

import (
	"fmt"
	"slices"

	"storebeat/datastorehb"
)

// Role is a host's part in the election.
type Role uint8

const (
	// Standing means without a master: waiting for one, or about to be it.
	Standing Role = iota
	// Following means that another host is master.
	Following
	// Mastering means that this host is master.
	Mastering
)

// String returns the role's name.
func (r Role) String() string {
	switch r {
	case Standing:
		return "standing"
	case Following:
		return "subordinate"
	case Mastering:
		return "master"
	}
	return fmt.Sprintf("Role(%d)", uint8(r))
}

// Candidate is a host as the election sees it.
type Candidate struct {
	Host       datastorehb.HostID
	Datastores int                // how many it can access
	Master     bool               // it says that it is master
	Followed   bool               // it is master and hears somebody follow it
	Follows    datastorehb.HostID // the master it says it follows, 0 for none
	Leaving    bool               // it stops: it is never elected
}

// CandidateOf reads a candidate from its newest fresh packet.
func CandidateOf(p *Packet) Candidate {
	c := Candidate{
		Host:     p.From.Host,
		Master:   p.Flags&PacketMaster != 0,
		Followed: p.Flags&PacketFollowed != 0,
		Follows:  p.Master,
		Leaving:  p.Flags&PacketLeaving != 0,
	}
	for _, d := range p.Datastores {
		if d.Flags&DatastoreAccessible != 0 {
			c.Datastores++
		}
	}
	return c
}

// Better reports whether c ranks before d: with more accessible datastores, or
// with as many and the lower id. Any two hosts are ordered, in one way only.
func (c Candidate) Better(d Candidate) bool {
	if c.Datastores != d.Datastores {
		return c.Datastores > d.Datastores
	}
	return c.Host < d.Host
}

// outranks orders masters that hear each other. One that somebody follows comes
// first: a host that was cut off, and was master of itself alone, does not take
// the cluster over when it returns, however good its rank.
func (c Candidate) outranks(d Candidate) bool {
	if c.Followed != d.Followed {
		return c.Followed
	}
	return c.Better(d)
}

// Election is one host's view of who is master. It gives order, never rights:
// two masters, or none, can't make a machine run twice (R6).
//
// A host without a master stands. It is master when it has been the best of
// those who stand, as far as it hears, for Timing.Patience; that time lets the
// others notice the loss too. A sitting master is not replaced by a better
// host, unless that one has accessed more datastores than it for Timing.Outdone: the machines
// on what a master does not access, nobody would restart. Of two masters that hear each other the one that is outranked yields at
// once. A master that has lost every datastore stands down when it hears
// somebody who has one, since it could restart nothing.
//
// A host that hears nobody becomes master of itself. That is harmless: it may
// judge and plan, but whatever it wants to take, it must win on the datastore.
type Election struct {
	self   datastorehb.HostID
	role   Role
	master datastorehb.HostID
	ready  datastorehb.Instant // when the patience of a standing host ends

	outdone datastorehb.Instant // since when a host is heard that accesses more than this master, 0 while none is
}

// NewElection returns the election of a host whose agent has just started. It
// listens for as long as it takes to notice a master before it first stands.
func NewElection(self datastorehb.HostID, now datastorehb.Instant, t *Timing) *Election {
	return &Election{self: self, ready: now.Add(t.MasterLost + t.Patience)}
}

// Role returns this host's part.
func (e *Election) Role() Role { return e.role }

// Master returns the master that this host follows, itself included, 0 for none.
func (e *Election) Master() datastorehb.HostID { return e.master }

// Step takes in what this host says of itself and the candidates heard: hosts
// heard on a two-way path within Timing.MasterLost. Of self it reads Datastores
// and Leaving alone. It reports whether role or master have changed.
func (e *Election) Step(now datastorehb.Instant, self Candidate, heard []Candidate, t *Timing) (changed bool) {
	role, master := e.role, e.master
	self.Host, self.Master, self.Followed = e.self, e.role == Mastering, e.followed(heard)
	sitting, found := e.sitting(self, heard)
	switch {
	case found && sitting.Host == e.self:
		if e.unfit(self, heard) || e.isOutdone(now, self, heard, t) {
			e.stand(now, t)
		}
	case found:
		e.role, e.master = Following, sitting.Host
	default:
		e.campaign(now, self, heard, t)
	}
	return e.role != role || e.master != master
}

// Followed reports whether this host is master and hears somebody follow it,
// which its packets tell by PacketFollowed.
func (e *Election) Followed(heard []Candidate) bool { return e.followed(heard) }

func (e *Election) followed(heard []Candidate) bool {
	if e.role != Mastering {
		return false
	}
	for i := range heard {
		if heard[i].Follows == e.self && !heard[i].Master {
			return true
		}
	}
	return false
}

// sitting returns the master to follow among those heard and this host: the one
// followed so far if it is still there, else the one that outranks the others.
func (e *Election) sitting(self Candidate, heard []Candidate) (best Candidate, found bool) {
	if self.Master {
		best, found = self, true
	}
	for _, c := range heard {
		switch {
		case !c.Master || c.Leaving || c.Host == e.self:
		case e.role == Following && c.Host == e.master:
			return c, true
		case !found || c.outranks(best):
			best, found = c, true
		}
	}
	return best, found
}

// unfit reports whether this host, a master, should stand down.
func (e *Election) unfit(self Candidate, heard []Candidate) bool {
	for _, c := range heard {
		if !c.Leaving && c.Datastores > 0 && self.Datastores == 0 {
			return true
		}
	}
	return self.Leaving
}

// isOutdone reports whether this host, a master, has accessed fewer datastores than
// another for so long that it should stand down.
func (e *Election) isOutdone(now datastorehb.Instant, self Candidate, heard []Candidate, t *Timing) bool {
	more := func(c Candidate) bool { return !c.Leaving && c.Datastores > self.Datastores }
	if !slices.ContainsFunc(heard, more) {
		e.outdone = 0
		return false
	}
	if e.outdone == 0 {
		e.outdone = now
	}
	return now.Sub(e.outdone) >= t.Outdone
}

func (e *Election) stand(now datastorehb.Instant, t *Timing) {
	e.role, e.master, e.outdone = Standing, 0, 0
	e.ready = now.Add(t.Patience)
}

// campaign is what a host does that hears no master.
func (e *Election) campaign(now datastorehb.Instant, self Candidate, heard []Candidate, t *Timing) {
	if e.role != Standing {
		e.stand(now, t)
	}
	if self.Leaving || now < e.ready {
		return
	}
	for _, c := range heard {
		if c.Follows == 0 && !c.Leaving && c.Better(self) {
			return
		}
	}
	e.role, e.master = Mastering, e.self
}
