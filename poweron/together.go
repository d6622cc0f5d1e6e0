package poweron

import "slices"

// A rule that keeps two machines together holds along chains: with a together
// with b, and b with c, all three have one host. So machines fall into sets.

// together returns a number for each machine, the same for those that must be
// together: the place of the first of them. A rule that names nobody joins nobody.
func together(machines []*Ruled) []int {
	head := make([]int, len(machines))
	for i := range head {
		head[i] = i
	}
	if !slices.ContainsFunc(machines, func(m *Ruled) bool { return len(m.Rules.Must.Together) > 0 }) {
		return head
	}
	named := carriers(machines)
	joined := map[string]bool{}
	for i, m := range machines {
		for _, name := range m.Rules.Must.Together {
			if all := named[name]; len(all) > 1 || len(all) == 1 && all[0] != i {
				if !joined[name] {
					join(head, all...)
				}
				joined[name] = true
				join(head, i, all[0])
			}
		}
	}
	for i := range head {
		head[i] = find(head, i)
	}
	return head
}

// carriers returns the machines, by their place, that a name in a rule means.
func carriers(machines []*Ruled) map[string][]int {
	named := map[string][]int{}
	for i, m := range machines {
		named[m.Name] = append(named[m.Name], i)
		for _, group := range m.Rules.Groups {
			if group != m.Name {
				named[group] = append(named[group], i)
			}
		}
	}
	return named
}

// join makes one set of those that the machines are in.
func join(head []int, all ...int) {
	for _, i := range all[1:] {
		a, b := find(head, all[0]), find(head, i)
		head[max(a, b)] = min(a, b)
	}
}

// find returns the first machine of the set that i is in.
func find(head []int, i int) int {
	for head[i] != i {
		head[i] = head[head[i]]
		i = head[i]
	}
	return i
}
