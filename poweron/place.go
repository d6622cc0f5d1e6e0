package poweron

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"storebeat/datastorehb"
)

// To make room for a machine, up to moveDepth others that the plan has placed are
// moved one after the other, and a plan tries at most mostTries such moves: enough for any cluster
// that is not full, and no more than a few milliseconds for one that is.
const (
	moveDepth = 2
	mostTries = 4096
)

// unit is one machine, or several that must be together: they are placed as one.
type unit struct {
	members []*Machine // in the order of their turn
	bonds   []*bonds
	memory  uint64
	torn    bool   // two of them must be apart, too
	waits   bool   // for starts to end: a host will take it then
	host    int    // none while it has no place
	used    uint64 // of the host's memory, with the unit
	merits  merits // of the host

	partners []*bonds // by host, see partnersOf; only once the plan is made
}

// units puts the machines that must be together into one unit each.
func (p *planner) units(turn []*Machine) (all []*unit) {
	bySet := make([]*unit, len(p.near.sets))
	for _, m := range turn {
		b, u := p.bonds[m], &unit{host: none}
		if b.set != none && bySet[b.set] != nil {
			u = bySet[b.set]
		} else {
			all = append(all, u)
		}
		if b.set != none {
			bySet[b.set] = u
		}
		u.join(m, b)
		p.unit[m] = u
	}
	return all
}

func (u *unit) join(m *Machine, b *bonds) {
	for _, other := range u.bonds {
		u.torn = u.torn || other.shuns(b) || b.shuns(other)
	}
	u.members, u.bonds = append(u.members, m), append(u.bonds, b)
	sum, carry := bits.Add64(u.memory, m.Memory, 0)
	u.memory = sum | -carry // all ones when it does not fit
}

// accommodate gives a unit a place. If there is none for all of it, its machines
// are placed one by one, since some are better than none: the first decides where
// the others have to wait. It returns what waits.
func (p *planner) accommodate(u *unit) (waiting []*unit) {
	if p.settle(u, moveDepth, none) {
		return nil
	}
	if len(u.members) == 1 || u.waits {
		return []*unit{u}
	}
	for i, m := range u.members {
		single := &unit{host: none}
		single.join(m, u.bonds[i])
		p.unit[m] = single
		if !p.settle(single, moveDepth, none) {
			waiting = append(waiting, single)
		}
	}
	return waiting
}

// settle gives a unit a place on another host than the one, if need be by moving
// up to depth others one after the other that this plan has placed.
func (p *planner) settle(u *unit, depth, not int) bool {
	best, waits := p.choose(u, not)
	if u.waits = waits; best != none {
		p.put(u, best)
		return true
	}
	if waits || depth == 0 {
		return false
	}
	for host := range p.hosts {
		if host != not && p.mayHelp(u, host) && p.makeRoom(u, host, depth) {
			return true
		}
	}
	return false
}

// mayHelp reports whether what keeps u off a host could be something that this
// plan has placed there.
func (p *planner) mayHelp(u *unit, host int) bool {
	switch p.lasting(u, host) {
	case KeptApart, NoMemory:
		return len(p.placed[host]) > 0 && !u.torn
	}
	return false
}

// makeRoom moves one of a host's new machines elsewhere, the least important
// first, so that u fits in its place.
func (p *planner) makeRoom(u *unit, host, depth int) bool {
	for _, v := range slices.Backward(slices.Clone(p.placed[host])) {
		if p.tries == 0 {
			return false
		}
		p.tries--
		p.take(v)
		if p.fits(u, host) {
			p.put(u, host)
			if p.settle(v, depth-1, host) {
				p.moved = true
				return true
			}
			p.take(u)
		}
		p.put(v, host)
	}
	return false
}

// fits reports whether the host can take the unit now.
func (p *planner) fits(u *unit, host int) bool {
	return p.lasting(u, host) == None && p.startsFree(host)
}

// choose returns the best host for u but for the one, or none. waits says that a
// host will take it as soon as other starts have come to their end. When every
// host that could take it now is one where it failed lately, and another only has
// too many starts under way, it waits for that one: its next failure would count
// towards its limit.
func (p *planner) choose(u *unit, not int) (best int, waits bool) {
	best = none
	var merits, of merits
	soonest := none // failures of u on the best host that only has too many starts
	for host := range p.hosts {
		if host == not || p.lasting(u, host) != None {
			continue
		}
		if !p.startsFree(host) {
			if n := u.failures(p.hosts[host].ID); soonest == none || n < soonest {
				soonest = n
			}
			continue
		}
		of = p.meritsOf(u, host)
		if best == none || p.better(u, of, host, merits, best) {
			best, merits = host, of
		}
	}
	if best != none && soonest == 0 && merits.failures > 0 {
		return none, true
	}
	return best, best == none && soonest != none
}

// merits are what makes one host a better place for a unit than another, beside its load.
type merits struct {
	failures int // of the unit there: the fewer the better
	rank     int // among the hosts that it prefers: the lower the better
	avoided  int // machines there that it prefers to be apart from: the fewer the better
	liked    int // machines there that it prefers to be with: the more the better
}

func (p *planner) meritsOf(u *unit, host int) (of merits) {
	id := p.hosts[host].ID
	of.failures = u.failures(id)
	for i, b := range u.bonds {
		of.rank += rank(&u.members[i].Rules, id)
		avoided, liked := p.near.liking(b, host)
		of.avoided += avoided
		of.liked += liked
	}
	return of
}

// rank returns the place of a host among those preferred, and the place behind
// the last for every other one.
func rank(r *Rules, id datastorehb.HostID) int {
	if i := slices.Index(r.Prefer.Hosts, id); i >= 0 {
		return i
	}
	return len(r.Prefer.Hosts)
}

// better reports whether a host with the merits of is a better place for u than
// best. Where all else is equal, the lower id decides.
func (p *planner) better(u *unit, of merits, host int, than merits, best int) bool {
	if of != than {
		return cmp.Or(
			cmp.Compare(of.failures, than.failures),
			cmp.Compare(of.rank, than.rank),
			cmp.Compare(of.avoided, than.avoided),
			cmp.Compare(than.liked, of.liked),
		) < 0
	}
	h, other := &p.hosts[host], &p.hosts[best]
	return cmp.Or(compareLoad(h, other, u.memory), cmp.Compare(h.Starting, other.Starting), cmp.Compare(h.ID, other.ID)) < 0
}

// compareLoad compares the parts of memory that a and b would use with need
// bytes more, without rounding: a.used/a.memory against b.used/b.memory.
func compareLoad(a, b *Host, need uint64) int {
	ah, al := bits.Mul64(a.Used+need, b.Memory)
	bh, bl := bits.Mul64(b.Used+need, a.Memory)
	return cmp.Or(cmp.Compare(ah, bh), cmp.Compare(al, bl))
}

func (u *unit) failures(id datastorehb.HostID) (n int) {
	for _, m := range u.members {
		for _, f := range m.Failed {
			if f.Host == id {
				n += f.Times
			}
		}
	}
	return n
}

// put counts u on a host.
func (p *planner) put(u *unit, host int) {
	h := &p.hosts[host]
	u.host, u.merits = host, p.meritsOf(u, host)
	h.Used += u.memory
	h.Starting += len(u.members)
	u.used = h.Used
	p.placed[host] = append(p.placed[host], u)
	for _, b := range u.bonds {
		p.near.put(b, host)
	}
}

// take undoes put.
func (p *planner) take(u *unit) {
	h := &p.hosts[u.host]
	h.Used -= u.memory
	h.Starting -= len(u.members)
	p.placed[u.host] = slices.DeleteFunc(p.placed[u.host], func(o *unit) bool { return o == u })
	for _, b := range u.bonds {
		p.near.take(b, u.host)
	}
	u.host = none
}

// placement says why the host was chosen for m.
func (p *planner) placement(m *Machine, u *unit) Placement {
	h := &p.hosts[u.host]
	memory := fmt.Sprintf("%s of %s", humanize.IBytes(u.used), humanize.IBytes(h.Memory))
	why := "least loaded: " + memory + " with it"
	if reasons := p.reasons(m, u); len(reasons) > 0 {
		why = strings.Join(reasons, ", ") + "; " + memory + " with it"
	}
	if u.merits.failures > 0 {
		why += fmt.Sprintf("; it failed here lately (%d×), and no other host can take it", u.merits.failures)
	}
	return Placement{VM: m.VM, Host: h.ID, Why: why}
}

// reasons are the rules that have drawn m to its host.
func (p *planner) reasons(m *Machine, u *unit) (reasons []string) {
	if len(m.Rules.Must.Hosts) > 0 {
		reasons = append(reasons, "least loaded of the hosts that it must run on")
	}
	if partner := p.partnerOn(p.bonds[m], u.host); partner != nil {
		reasons = append(reasons, "with "+partner.Name+", as it must")
	}
	if len(m.Rules.Prefer.Hosts) > u.merits.rank {
		reasons = append(reasons, "a host that it prefers")
	}
	if u.merits.liked > 0 {
		reasons = append(reasons, fmt.Sprintf("with %d of those that it prefers to be with", u.merits.liked))
	}
	return reasons
}
