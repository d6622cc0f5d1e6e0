package poweron

import (
	"bytes"
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/google/uuid"

	"storebeat/datastorehb"
)

// DefaultStarts is how many starts a host has under way at a time unless the
// configuration says otherwise.
const DefaultStarts = 4

// Input is everything a plan depends on.
type Input struct {
	Machines []Machine // those that want to run and may be claimed, in any order, each once
	Hosts    []Host    // all hosts of the cluster, in any order, each once
	Starts   int       // starts that a host may have under way at a time; DefaultStarts if not positive
}

// Machine is one machine that waits for a place.
type Machine struct {
	VM       uuid.UUID
	Name     string
	Priority int       // 1 is placed first … 5 last
	Memory   uint64    // bytes
	Home     uuid.UUID // its home datastore
	Failed   []Failed  // where it failed lately
}

// Failed says how often a machine failed lately on one host.
type Failed struct {
	Host  datastorehb.HostID
	Times int
}

// Host is a host as the planner sees it.
//
// It is the caller's duty to count in Used and Starting what it has already
// ordered and not yet seen running, and to count no start for ever: a start that
// hangs must fail in the end.
type Host struct {
	ID          datastorehb.HostID
	Live        bool   // known to be alive
	State       string // in words, such as "isolated"; shown when Live is false
	Maintenance bool
	Memory      uint64      // bytes that machines may use
	Used        uint64      // bytes that machines use
	Datastores  []uuid.UUID // those that the host accesses
	Starting    int         // starts under way
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

// Plan gives each machine a place, or the reasons why it has none. Machines
// come by priority, the larger before the smaller; each goes to the host that is
// least loaded with it, and to one where it failed lately only if no other could
// take it. A plan never exceeds a host's memory, and never uses a host that is
// not known alive, is in maintenance, or lacks the machine's home datastore (I3).
func Plan(in Input) Result {
	p := newPlanner(in)
	var r Result
	for _, m := range inTurn(in.Machines) {
		if h := p.choose(m); h != nil {
			r.Placements = append(r.Placements, p.place(m, h))
		} else {
			r.Waiting = append(r.Waiting, p.wait(m))
		}
	}
	return r
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
}

func newPlanner(in Input) *planner {
	p := &planner{hosts: slices.Clone(in.Hosts), starts: in.Starts}
	if p.starts <= 0 {
		p.starts = DefaultStarts
	}
	slices.SortStableFunc(p.hosts, func(a, b Host) int { return cmp.Compare(a.ID, b.ID) })
	return p
}

// choose returns the host for m, or nil if m has to wait. When every host that
// could take m now is one where it failed lately, and another only has too many
// starts under way, m waits for that one: its next failure would count towards
// its limit.
func (p *planner) choose(m *Machine) *Host {
	var best *Host
	soonest := -1 // failures of m on the best host that only has too many starts
	for i := range p.hosts {
		h := &p.hosts[i]
		if refused := lasting(m, h); refused != None {
			continue
		}
		if !startsFree(p, h) {
			if n := failures(m, h.ID); soonest < 0 || n < soonest {
				soonest = n
			}
			continue
		}
		if best == nil || better(m, h, best) {
			best = h
		}
	}
	if best != nil && soonest == 0 && failures(m, best.ID) > 0 {
		return nil
	}
	return best
}

// better reports whether h is a better place for m than best: fewer failures of
// m there, then a smaller part of memory used, then fewer starts, then the lower id.
func better(m *Machine, h, best *Host) bool {
	return cmp.Or(
		cmp.Compare(failures(m, h.ID), failures(m, best.ID)),
		compareLoad(h, best, m.Memory),
		cmp.Compare(h.Starting, best.Starting),
		cmp.Compare(h.ID, best.ID),
	) < 0
}

// compareLoad compares the parts of memory that a and b would use with need
// bytes more, without rounding: a.used/a.memory against b.used/b.memory.
func compareLoad(a, b *Host, need uint64) int {
	ah, al := bits.Mul64(a.Used+need, b.Memory)
	bh, bl := bits.Mul64(b.Used+need, a.Memory)
	return cmp.Or(cmp.Compare(ah, bh), cmp.Compare(al, bl))
}

func failures(m *Machine, id datastorehb.HostID) int {
	for _, f := range m.Failed {
		if f.Host == id {
			return f.Times
		}
	}
	return 0
}

// place counts m on h and says why h was chosen.
func (p *planner) place(m *Machine, h *Host) Placement {
	h.Used += m.Memory
	h.Starting++
	why := fmt.Sprintf("least loaded: %s of %s with it", humanize.IBytes(h.Used), humanize.IBytes(h.Memory))
	if n := failures(m, h.ID); n > 0 {
		why += fmt.Sprintf("; it failed here lately (%d×), and no other host can take it", n)
	}
	return Placement{VM: m.VM, Host: h.ID, Why: why}
}
