package poweron

import "slices"

// neighbours knows, for each host and each name that a rule mentions, how many
// machines there carry the name, and how many have a rule that names it. So
// whether rules between machines let one onto a host costs a few look-ups,
// however many machines there are.
type neighbours struct {
	names  map[string]int // that rules mention
	hosts  []tally        // by host, then by name
	sets   []set
	placed [][]*bonds // by host: whose rules and names are counted there
}

// tally counts machines by name.
type tally []struct{ carry, shun, avoid, like int32 }

// set counts, by host, the machines that must be together.
type set struct {
	on    map[int]int
	total int
}

// bonds are the names and the rules between machines of one of them, by number.
type bonds struct {
	Ruled
	carry []int // the names that others' rules mean it by
	shun  []int // Must.Apart
	avoid []int // Prefer.Apart
	like  []int // Prefer.Together
	set   int   // of those that must be together; none for a machine that need not be with any

	suited []bool // by host: it has what the machine needs; nil for every host
}

func newNeighbours(hosts int, all []*bonds) *neighbours {
	n := &neighbours{names: map[string]int{}, hosts: make([]tally, hosts), placed: make([][]*bonds, hosts)}
	for _, b := range all {
		b.shun, b.avoid, b.like = n.number(b.Rules.Must.Apart), n.number(b.Rules.Prefer.Apart), n.number(b.Rules.Prefer.Together)
	}
	machines := make([]*Ruled, len(all))
	for i, b := range all {
		b.carry = n.known(b)
		machines[i] = &b.Ruled
	}
	n.join(all, together(machines))
	for i := range n.hosts {
		n.hosts[i] = make(tally, len(n.names))
	}
	return n
}

// join numbers the sets of more than one machine.
func (n *neighbours) join(all []*bonds, first []int) {
	for i, b := range all {
		b.set = none
		if head := all[first[i]]; first[i] != i {
			if head.set == none {
				head.set = len(n.sets)
				n.sets = append(n.sets, set{on: map[int]int{}})
			}
			b.set = head.set
		}
	}
}

func (n *neighbours) number(names []string) (numbers []int) {
	for _, name := range names {
		i, ok := n.names[name]
		if !ok {
			i = len(n.names)
			n.names[name] = i
		}
		numbers = append(numbers, i)
	}
	return numbers
}

// known returns the numbers of those of a machine's names that rules mention.
func (n *neighbours) known(b *bonds) (numbers []int) {
	if len(n.names) == 0 {
		return nil
	}
	if i, ok := n.names[b.Name]; ok {
		numbers = append(numbers, i)
	}
	for _, group := range b.Rules.Groups {
		if i, ok := n.names[group]; ok && group != b.Name {
			numbers = append(numbers, i)
		}
	}
	return numbers
}

// none is the host of machines that run where no host is known.
const none = -1

// put counts a machine on a host.
func (n *neighbours) put(b *bonds, host int) {
	n.count(b, host, 1)
	if host != none {
		n.placed[host] = append(n.placed[host], b)
	}
}

// take undoes put.
func (n *neighbours) take(b *bonds, host int) {
	n.count(b, host, -1)
	if host == none {
		return
	}
	at := n.placed[host]
	for i := len(at) - 1; i >= 0; i-- {
		if at[i] == b {
			n.placed[host] = append(at[:i], at[i+1:]...)
			return
		}
	}
}

func (n *neighbours) count(b *bonds, host int, by int32) {
	if b.set != none {
		n.sets[b.set].on[host] += int(by)
		n.sets[b.set].total += int(by)
	}
	if host != none {
		n.hosts[host].add(b, by)
	}
}

func (t tally) add(b *bonds, by int32) {
	for _, i := range b.carry {
		t[i].carry += by
	}
	for _, i := range b.shun {
		t[i].shun += by
	}
	for _, i := range b.avoid {
		t[i].avoid += by
	}
	for _, i := range b.like {
		t[i].like += by
	}
}

// apart reports whether the host has no machine that must be apart from b.
func (n *neighbours) apart(b *bonds, host int) bool {
	there := n.hosts[host]
	for _, i := range b.shun {
		if there[i].carry > 0 {
			return false
		}
	}
	for _, i := range b.carry {
		if there[i].shun > 0 {
			return false
		}
	}
	return true
}

// together reports whether the host has every machine that must be together with
// b, of those that are anywhere.
func (n *neighbours) together(b *bonds, host int) bool {
	return b.set == none || n.sets[b.set].on[host] == n.sets[b.set].total
}

// liking returns how many machines there are on the host that b had better be
// apart from, and how many that it had better be with.
func (n *neighbours) liking(b *bonds, host int) (avoided, liked int) {
	there := n.hosts[host]
	for _, i := range b.avoid {
		avoided += int(there[i].carry)
	}
	for _, i := range b.like {
		liked += int(there[i].carry)
	}
	for _, i := range b.carry {
		avoided += int(there[i].avoid)
		liked += int(there[i].like)
	}
	return avoided, liked
}

// first returns the machine on a host that is linked to b and comes first by its name.
func (n *neighbours) first(b *bonds, host int, linked func(a, b *bonds) bool) (first *bonds) {
	if len(b.carry)+len(b.shun) == 0 && b.set == none {
		return nil
	}
	for _, other := range n.placed[host] {
		if other != b && (linked(b, other) || linked(other, b)) {
			first = firstOf(first, other)
		}
	}
	return first
}

// shuns reports whether a rule of b keeps it apart from other.
func (b *bonds) shuns(other *bonds) bool { return common(b.shun, other.carry) }

// joins reports whether rules keep b together with other.
func (b *bonds) joins(other *bonds) bool { return b.set != none && b.set == other.set }

func common(a, b []int) bool {
	for _, n := range a {
		if slices.Contains(b, n) {
			return true
		}
	}
	return false
}

// firstOf returns the one that comes first by its name; either may be nil.
func firstOf(a, b *bonds) *bonds {
	if a == nil || b != nil && b.Name < a.Name {
		return b
	}
	return a
}
