package poweron

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/google/uuid"

	"storebeat/datastorehb"
)

// DefaultStarts is how many starts a host has under way at a time unless the
// configuration says otherwise.
const DefaultStarts = 4

// Input is everything a plan depends on.
type Input struct {
	Machines []Machine  // those that want to run and may be claimed, in any order, each once
	Present  []Resident // all others that run, start or are claimed, or shall run and can't be planned yet; in any order, each once
	Hosts    []Host     // all hosts of the cluster, in any order, each once
	Starts   int        // starts that a host may have under way at a time; DefaultStarts if not positive
}

// Machine is one machine that waits for a place.
type Machine struct {
	VM       uuid.UUID
	Name     string
	Priority int       // 1 is placed first … 5 last
	Memory   uint64    // bytes
	Home     uuid.UUID // its home datastore
	Failed   []Failed  // where it failed lately
	Rules    Rules
	Needs    Needs
}

// Failed says how often a machine failed lately on one host.
type Failed struct {
	Host  datastorehb.HostID
	Times int
}

// Resident is a machine that is not planned: rules between machines are about it, too.
type Resident struct {
	VM    uuid.UUID
	Name  string
	Rules Rules
	Host  datastorehb.HostID // where it has its place; 0 if it has none yet
}

// Host is a host as the planner sees it.
//
// It is the caller's duty to count in Used and Starting what it has already
// ordered and not yet seen running, and to count no start for ever: a start that
// hangs must fail in the end.
type Host struct {
	ID          datastorehb.HostID
	Name        string // for people; its number is shown if there is none
	Live        bool   // known to be alive
	State       string // in words, such as "isolated"; shown when Live is false
	Maintenance bool
	Memory      uint64      // bytes that machines may use
	Used        uint64      // bytes that machines use
	Datastores  []uuid.UUID // those that the host accesses
	Starting    int         // starts under way

	Capabilities *Capabilities // nil while they are not known; not changed
}

// Result is a plan: each machine of the input is placed or waits.
type Result struct {
	Placements []Placement // in the order in which they shall start
	Waiting    []Wait      // in the order of their turn
}

// Placement says that a machine shall start on a host.
type Placement struct {
	VM   uuid.UUID
	Host datastorehb.HostID
	Why  string
}

// Wait says why a machine has no place for now.
type Wait struct {
	VM    uuid.UUID
	Why   string
	Hosts []Refusal // in the order of the hosts' ids
}

// Plan gives each machine a place, or the reasons why it has none.
//
// Machines come by priority, the larger before the smaller; those that must be
// together come together. Of the hosts that can take a machine it gets, in this
// order, one where it failed least lately, the one that it prefers most, one with
// the fewest machines that it prefers to be apart from, one with the most that it
// prefers to be with, and the least loaded. A machine that finds no host may have
// others moved that the same plan has placed.
//
// A plan never exceeds a host's memory, never breaks a hard rule, and never uses a
// host that is not known alive, is in maintenance, or lacks the machine's home
// datastore (I3) or something else that it is known not to have. Machines are planned one by one just as well: what has its place
// already goes into Present.
func Plan(in Input) Result {
	p := newPlanner(in)
	turn := inTurn(in.Machines)
	var waiting []*unit
	for _, u := range p.units(turn) {
		waiting = append(waiting, p.accommodate(u)...)
	}
	if p.moved { // which may have left room behind
		for _, u := range waiting {
			p.settle(u, 0, none)
		}
	}
	return p.result(turn)
}

// inTurn returns the machines in the order in which they are placed.
func inTurn(machines []Machine) []*Machine {
	turn := make([]*Machine, len(machines))
	for i := range machines {
		turn[i] = &machines[i]
	}
	slices.SortFunc(turn, func(a, b *Machine) int {
		return cmp.Or(
			cmp.Compare(a.Priority, b.Priority),
			cmp.Compare(b.Memory, a.Memory),
			strings.Compare(a.Name, b.Name),
			bytes.Compare(a.VM[:], b.VM[:]),
		)
	})
	return turn
}

// planner holds the hosts as they will be once the placements so far are carried out.
type planner struct {
	hosts  []Host // in the order of their ids
	starts int
	near   *neighbours
	bonds  map[*Machine]*bonds
	unit   map[*Machine]*unit // that the machine belongs to
	placed [][]*unit          // by this plan, by host
	moved  bool               // something that was placed has got another place
	tries  int                // left, to make room
	suited suited
}

func newPlanner(in Input) *planner {
	p := &planner{hosts: slices.Clone(in.Hosts), starts: in.Starts, placed: make([][]*unit, len(in.Hosts)), tries: mostTries, suited: suited{},
		bonds: make(map[*Machine]*bonds, len(in.Machines)), unit: make(map[*Machine]*unit, len(in.Machines))}
	if p.starts <= 0 {
		p.starts = DefaultStarts
	}
	slices.SortStableFunc(p.hosts, func(a, b Host) int { return cmp.Compare(a.ID, b.ID) })
	p.seat(in)
	return p
}

// seat takes in the names and rules of all machines, and where those are that
// have their place.
func (p *planner) seat(in Input) {
	present := slices.Clone(in.Present)
	slices.SortFunc(present, func(a, b Resident) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), bytes.Compare(a.VM[:], b.VM[:]))
	})
	all := make([]*bonds, 0, len(present)+len(in.Machines))
	for _, r := range present {
		all = append(all, &bonds{Ruled: Ruled{Name: r.Name, Rules: r.Rules}})
	}
	for i := range in.Machines {
		m := &in.Machines[i]
		p.bonds[m] = &bonds{Ruled: Ruled{Name: m.Name, Rules: m.Rules}, suited: p.suited.of(m.Needs, p.hosts)}
		all = append(all, p.bonds[m])
	}
	p.near = newNeighbours(len(p.hosts), all)
	for i, r := range present {
		if r.Host != 0 {
			p.near.put(all[i], p.index(r.Host))
		}
	}
}

// index returns where a host stands, none if the cluster does not have it.
func (p *planner) index(id datastorehb.HostID) int {
	at, ok := slices.BinarySearchFunc(p.hosts, id, func(h Host, id datastorehb.HostID) int { return cmp.Compare(h.ID, id) })
	if !ok {
		return none
	}
	return at
}

// result tells what became of each machine, once all have had their turn.
func (p *planner) result(turn []*Machine) (r Result) {
	started := make([]int, len(p.hosts))
	for i := range p.hosts {
		started[i] = p.hosts[i].Starting - p.newOn(i)
	}
	for _, m := range turn {
		u := p.unit[m]
		switch {
		case u.host == none:
			r.Waiting = append(r.Waiting, p.wait(m, u))
		case started[u.host] >= p.starts:
			r.Waiting = append(r.Waiting, p.waitThere(m, u))
		default:
			started[u.host]++
			r.Placements = append(r.Placements, p.placement(m, u))
		}
	}
	return r
}

// newOn returns how many machines this plan has placed on a host.
func (p *planner) newOn(host int) (n int) {
	for _, u := range p.placed[host] {
		n += len(u.members)
	}
	return n
}
