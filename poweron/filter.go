package poweron

import (
	"fmt"
	"slices"

	"github.com/dustin/go-humanize"

	"storebeat/datastorehb"
)

// Obstacle is the kind of thing that keeps a machine off a host.
type Obstacle uint8

const (
	// None means that the host can take the machine.
	None Obstacle = iota
	// NotLive means that the host is not known to be alive.
	NotLive
	// InMaintenance means that the host is in maintenance.
	InMaintenance
	// NoDatastore means that the host does not access the machine's home datastore.
	NoDatastore
	// NoMemory means that the host has too little memory left.
	NoMemory
	// StartsBusy means that the host has as many starts under way as it may.
	StartsBusy
	// FailedThere means that the machine failed there lately, and waits for another host.
	FailedThere
)

// Refusal says why one host can't take a machine now. It keeps the numbers and
// makes words of them only when asked: a plan may hold tens of thousands.
type Refusal struct {
	Host     datastorehb.HostID
	Obstacle Obstacle
	Need     uint64 // bytes of memory
	Free     uint64 // bytes of memory
	Count    int    // starts under way, or failures of the machine
	State    string // of the host, in words
}

// String returns the reason in words.
func (r Refusal) String() string {
	return fmt.Sprintf("host %d %s", r.Host, r.words())
}

func (r Refusal) words() string {
	switch r.Obstacle {
	case None:
		return "can take it"
	case NotLive:
		if r.State == "" {
			return "is not known to be alive"
		}
		return "is " + r.State
	case InMaintenance:
		return "is in maintenance"
	case NoDatastore:
		return "does not access its home datastore"
	case NoMemory:
		return fmt.Sprintf("has %s of memory left, and it needs %s", humanize.IBytes(r.Free), humanize.IBytes(r.Need))
	case StartsBusy:
		return fmt.Sprintf("has as many starts under way as it may (%d)", r.Count)
	case FailedThere:
		return fmt.Sprintf("is where it failed lately (%d×)", r.Count)
	}
	return fmt.Sprintf("refuses it for obstacle %d", uint8(r.Obstacle))
}

// filter reports whether a host may take a machine as far as one thing is
// concerned. A further rule is a further filter here, and an obstacle with its words.
type filter struct {
	obstacle Obstacle
	allows   func(*Machine, *Host) bool
}

// filters in the order in which their obstacles are shown: what an operator
// would mend first comes first.
var filters = [...]filter{
	{NotLive, isLive},
	{InMaintenance, notInMaintenance},
	{NoDatastore, accessesHome},
	{NoMemory, hasMemory},
}

// lasting returns the first obstacle that does not go away by itself as starts
// come to their end, or None.
func lasting(m *Machine, h *Host) Obstacle {
	for i := range filters {
		if !filters[i].allows(m, h) {
			return filters[i].obstacle
		}
	}
	return None
}

func isLive(_ *Machine, h *Host) bool { return h.Live }

func notInMaintenance(_ *Machine, h *Host) bool { return !h.Maintenance }

func accessesHome(m *Machine, h *Host) bool { return slices.Contains(h.Datastores, m.Home) }

func hasMemory(m *Machine, h *Host) bool { return h.Used <= h.Memory && m.Memory <= free(h) }

// free returns the memory left, 0 for a host that uses more than it has.
func free(h *Host) uint64 { return h.Memory - min(h.Used, h.Memory) }

func startsFree(p *planner, h *Host) bool { return h.Starting < p.starts }

// wait collects what keeps m off each host.
func (p *planner) wait(m *Machine) Wait {
	w := Wait{VM: m.VM, Hosts: make([]Refusal, len(p.hosts))}
	for i := range p.hosts {
		w.Hosts[i] = p.refusal(m, &p.hosts[i])
	}
	w.Why = summary(w.Hosts)
	return w
}

func (p *planner) refusal(m *Machine, h *Host) Refusal {
	r := Refusal{Host: h.ID, Obstacle: lasting(m, h), Need: m.Memory, Free: free(h), Count: h.Starting, State: h.State}
	if r.Obstacle != None {
		return r
	}
	if r.Obstacle = StartsBusy; startsFree(p, h) {
		r.Obstacle, r.Count = FailedThere, failures(m, h.ID)
	}
	return r
}

// summary says in one sentence what a machine waits for: the obstacle of the
// host that is nearest to taking it.
func summary(refusals []Refusal) string {
	nearest := None
	for _, r := range refusals {
		nearest = max(nearest, r.Obstacle)
	}
	return summaries[nearest]
}

var summaries = [...]string{
	None:          "the cluster has no host",
	NotLive:       "no host is known to be alive",
	InMaintenance: "every live host is in maintenance",
	NoDatastore:   "no usable host accesses its home datastore",
	NoMemory:      "no usable host has enough memory left",
	StartsBusy:    "waits for other starts to end",
	FailedThere:   "waits for a host where it has not failed lately",
}
