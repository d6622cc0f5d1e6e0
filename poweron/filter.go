package poweron

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
)

// Obstacle is the kind of thing that keeps a machine off a host.
type Obstacle uint8

// In the order in which they are shown: what an operator would mend first comes first.
const (
	// None means that the host can take the machine.
	None Obstacle = iota
	// NotLive means that the host is not known to be alive.
	NotLive
	// InMaintenance means that the host is in maintenance.
	InMaintenance
	// NoDatastore means that the host does not access the machine's home datastore.
	NoDatastore
	// Incapable means that the host lacks something that the machine needs.
	Incapable
	// NotAllowed means that the machine must run on certain hosts, and this is none of them.
	NotAllowed
	// KeptApart means that the host has a machine that must be apart from this one.
	KeptApart
	// KeptTogether means that a machine that must be together with this one is elsewhere.
	KeptTogether
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
	Host     *Host // as it is once the plan is carried out; not to be changed
	Obstacle Obstacle
	With     int    // how many machines Need counts beside this one
	Need     uint64 // bytes of memory
	Free     uint64 // bytes of memory
	Count    int    // starts under way, or failures of the machine
	Other    string // the machine that a rule keeps apart or together
	Where    *Host  // of that machine, nil if the cluster does not have it
	Needs    Needs  // those that the host does not meet
}

// String returns the reason in words.
func (r Refusal) String() string { return r.Host.String() + " " + r.words() }

// String returns the host's name, or its number if it has none.
func (h *Host) String() string {
	switch {
	case h == nil:
		return "a host that the cluster does not have"
	case h.Name == "":
		return fmt.Sprintf("host %d", h.ID)
	}
	return h.Name
}

// byRule reports whether a rule keeps the machine off the host.
func (r Refusal) byRule() bool {
	return r.Obstacle == NotAllowed || r.Obstacle == KeptApart || r.Obstacle == KeptTogether
}

func (r Refusal) words() string {
	switch r.Obstacle {
	case None:
		return "can take it"
	case NotLive:
		if r.Host.State == "" {
			return "is not known to be alive"
		}
		return "is " + r.Host.State
	case InMaintenance:
		return "is in maintenance"
	case NoDatastore:
		return "does not access its home datastore"
	case Incapable:
		return r.Host.Capabilities.Lacking(r.Needs)
	case NotAllowed:
		return "is none of the hosts that it must run on"
	case KeptApart:
		return fmt.Sprintf("has %s, and the two must be apart", r.Other)
	case KeptTogether:
		return fmt.Sprintf("does not have %s, which is on %s, and the two must be together", r.Other, r.Where)
	case NoMemory:
		return r.memoryWords()
	case StartsBusy:
		return fmt.Sprintf("has as many starts under way as it may (%d)", r.Count)
	case FailedThere:
		return fmt.Sprintf("is where it failed lately (%d×)", r.Count)
	}
	return fmt.Sprintf("refuses it for obstacle %d", uint8(r.Obstacle))
}

func (r Refusal) memoryWords() string {
	free, need := humanize.IBytes(r.Free), humanize.IBytes(r.Need)
	if r.With > 0 {
		return fmt.Sprintf("has %s of memory left, and it needs %s with those that must be together with it (%d more)", free, need, r.With)
	}
	return fmt.Sprintf("has %s of memory left, and it needs %s", free, need)
}

// filter reports whether a host may take a unit as far as one thing is
// concerned. A further rule is a further filter here, and an obstacle with its words.
type filter struct {
	obstacle Obstacle
	allows   func(p *planner, u *unit, host int) bool
}

// filters in the order of their obstacles.
var filters = [...]filter{
	{NotLive, func(p *planner, _ *unit, host int) bool { return p.hosts[host].Live }},
	{InMaintenance, func(p *planner, _ *unit, host int) bool { return !p.hosts[host].Maintenance }},
	{NoDatastore, accessesHomes},
	{Incapable, hasWhatItNeeds},
	{NotAllowed, isAllowed},
	{KeptApart, keepsApart},
	{KeptTogether, keepsTogether},
	{NoMemory, hasMemory},
}

// lasting returns the first obstacle that does not go away by itself as starts
// come to their end, or None.
func (p *planner) lasting(u *unit, host int) Obstacle {
	for i := range filters {
		if !filters[i].allows(p, u, host) {
			return filters[i].obstacle
		}
	}
	return None
}

func accessesHomes(p *planner, u *unit, host int) bool {
	for _, m := range u.members {
		if !slices.Contains(p.hosts[host].Datastores, m.Home) {
			return false
		}
	}
	return true
}

func isAllowed(p *planner, u *unit, host int) bool {
	for _, m := range u.members {
		if !m.Rules.Allows(p.hosts[host].ID) {
			return false
		}
	}
	return true
}

func keepsApart(p *planner, u *unit, host int) bool {
	for _, b := range u.bonds {
		if !p.near.apart(b, host) {
			return false
		}
	}
	return !u.torn
}

func keepsTogether(p *planner, u *unit, host int) bool {
	for _, b := range u.bonds {
		if !p.near.together(b, host) {
			return false
		}
	}
	return true
}

func hasMemory(p *planner, u *unit, host int) bool {
	h := &p.hosts[host]
	return h.Used <= h.Memory && u.memory <= free(h)
}

// free returns the memory left, 0 for a host that uses more than it has.
func free(h *Host) uint64 { return h.Memory - min(h.Used, h.Memory) }

func (p *planner) startsFree(host int) bool { return p.hosts[host].Starting < p.starts }

// wait collects what keeps m off each host, as all hosts are once the plan is carried out.
func (p *planner) wait(m *Machine, u *unit) Wait {
	w := Wait{VM: m.VM, Hosts: make([]Refusal, len(p.hosts))}
	for host := range p.hosts {
		w.Hosts[host] = p.refusal(u, host)
	}
	w.Why = p.summary(m, w.Hosts)
	return w
}

// waitThere is wait for a machine that has its place, on a host that has other
// machines of its unit to start first.
func (p *planner) waitThere(m *Machine, u *unit) Wait {
	single := &unit{host: none}
	single.join(m, p.bonds[m])
	h := &p.hosts[u.host]
	p.near.take(single.bonds[0], u.host)
	h.Used -= m.Memory
	w := p.wait(m, single)
	h.Used += m.Memory
	p.near.put(single.bonds[0], u.host)
	return w
}

func (p *planner) refusal(u *unit, host int) Refusal {
	h := &p.hosts[host]
	r := Refusal{Host: h, Obstacle: p.lasting(u, host), Need: u.memory, Free: free(h), Count: h.Starting, With: len(u.members) - 1}
	switch {
	case r.Obstacle == Incapable:
		r.Needs = u.lacking(h)
	case r.Obstacle == KeptApart:
		r.Other = p.enemyOn(u, host)
	case r.Obstacle == KeptTogether:
		r.Other, r.Where = p.partnerElsewhere(u, host)
	case r.Obstacle != None:
	case !p.startsFree(host):
		r.Obstacle = StartsBusy
	default:
		r.Obstacle, r.Count = FailedThere, u.failures(h.ID)
	}
	return r
}

// enemyOn names the first machine on a host that must be apart from one of u.
func (p *planner) enemyOn(u *unit, host int) string {
	var enemy *bonds
	for _, b := range u.bonds {
		enemy = firstOf(enemy, p.near.first(b, host, (*bonds).shuns))
	}
	if enemy == nil { // The rules of the unit contradict each other.
		return "others that it must be together with"
	}
	return enemy.Name
}

// partnerOn returns the first machine on a host that must be together with b.
func (p *planner) partnerOn(b *bonds, host int) *bonds {
	return p.near.first(b, host, (*bonds).joins)
}

// partnerElsewhere names a machine on another host that must be together with
// one of u, and that host.
func (p *planner) partnerElsewhere(u *unit, host int) (name string, where *Host) {
	if u.partners == nil {
		u.partners = p.partnersOf(u)
	}
	for i, partner := range u.partners {
		if i != host && partner != nil {
			return partner.Name, &p.hosts[i]
		}
	}
	return "another machine", nil
}

// partnersOf returns, for each host, a machine there that must be together with
// one of u, or nil.
func (p *planner) partnersOf(u *unit) []*bonds {
	partners := make([]*bonds, len(p.hosts))
	for i := range p.hosts {
		for _, b := range u.bonds {
			partners[i] = firstOf(partners[i], p.partnerOn(b, i))
		}
	}
	return partners
}

// summary says in one sentence what a machine waits for: the obstacle of the
// host that is nearest to taking it, and the rules that keep it off others.
func (p *planner) summary(m *Machine, refusals []Refusal) string {
	nearest, ruled, lacking := None, -1, -1
	for i, r := range refusals {
		nearest = max(nearest, r.Obstacle)
		if r.Obstacle == Incapable && lacking < 0 {
			lacking = i
		}
		if r.byRule() && (ruled < 0 || r.Obstacle > refusals[ruled].Obstacle) {
			ruled = i
		}
	}
	switch why := summaries[nearest]; {
	case nearest == Incapable:
		return why + ": " + refusals[lacking].String()
	case ruled < 0:
		return why
	case nearest == NotAllowed:
		return "no usable host is one that it must run on: " + p.allowed(m)
	case refusals[ruled].Obstacle == nearest:
		return "its rules leave it no usable host: " + refusals[ruled].String()
	default:
		return why + "; rules keep it off others: " + refusals[ruled].String()
	}
}

// allowed names the hosts that m must run on.
func (p *planner) allowed(m *Machine) string {
	var names []string
	for _, id := range m.Rules.Must.Hosts {
		if i := p.index(id); i != none {
			names = append(names, p.hosts[i].String())
		} else {
			names = append(names, fmt.Sprintf("host %d, which the cluster does not have", id))
		}
	}
	if len(names) == 0 {
		return "rules of those that must be together with it"
	}
	return strings.Join(names, ", ")
}

var summaries = [...]string{
	None:          "the cluster has no host",
	NotLive:       "no host is known to be alive",
	InMaintenance: "every live host is in maintenance",
	NoDatastore:   "no usable host accesses its home datastore",
	Incapable:     "no usable host has what it needs",
	NotAllowed:    "no usable host is one that it must run on",
	KeptApart:     "every usable host has a machine that must be apart from it",
	KeptTogether:  "no usable host has all machines that must be together with it",
	NoMemory:      "no usable host has enough memory left",
	StartsBusy:    "waits for other starts to end",
	FailedThere:   "waits for a host where it has not failed lately",
}
