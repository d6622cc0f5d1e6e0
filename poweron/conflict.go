package poweron

import (
	"fmt"
	"slices"
	"strings"

	"storebeat/datastorehb"
)

// Conflict says why the hard rules of some machines can't all be met, however
// many hosts are free.
type Conflict struct {
	Machines []int // that are part of it, by their place among those given, ascending
	Why      string
}

// Conflicts finds hard rules that contradict each other or the list of hosts, of
// whose names it makes words. It finds no want of room: whether five machines
// that must be apart fit on four hosts is for a plan to find out.
func Conflicts(machines []Ruled, hosts []Host) (found []Conflict) {
	c := contradictions{machines: machines, hosts: hosts}
	all := make([]*Ruled, len(machines))
	for i := range machines {
		all[i] = &machines[i]
	}
	c.carriers = carriers(all)
	for _, set := range sets(together(all)) {
		if why := c.nowhere(set); why != "" {
			found = append(found, Conflict{set, why})
		}
		if why := c.torn(set); why != "" {
			found = append(found, Conflict{set, why})
		}
	}
	return found
}

type contradictions struct {
	machines []Ruled
	hosts    []Host
	carriers map[string][]int // machines by name and group
}

// sets lists the members of each set, all in ascending order.
func sets(first []int) (all [][]int) {
	at := map[int]int{}
	for i, f := range first {
		if _, ok := at[f]; !ok {
			at[f] = len(all)
			all = append(all, nil)
		}
		all[at[f]] = append(all[at[f]], i)
	}
	return all
}

// nowhere says why no host is one that all of a set must run on, or nothing.
func (c *contradictions) nowhere(set []int) string {
	var limited []string
	for _, i := range set {
		if hosts := c.machines[i].Rules.Must.Hosts; len(hosts) > 0 {
			limited = append(limited, fmt.Sprintf("%s must run on %s", c.machines[i].Name, c.hostNames(hosts)))
		}
	}
	if len(limited) == 0 || slices.ContainsFunc(c.hosts, func(h Host) bool {
		return !slices.ContainsFunc(set, func(i int) bool { return !c.machines[i].Rules.Allows(h.ID) })
	}) {
		return ""
	}
	why := strings.Join(limited, ", ")
	if len(set) > 1 {
		why += fmt.Sprintf(", and %s must be together", c.names(set))
	}
	return why
}

// torn says which two of a set must be apart, or nothing.
func (c *contradictions) torn(set []int) string {
	for _, i := range set {
		for _, name := range c.machines[i].Rules.Must.Apart {
			for _, j := range c.carriers[name] {
				if _, inside := slices.BinarySearch(set, j); inside && j != i {
					return fmt.Sprintf("%s and %s must be apart, and %s must be together", c.machines[i].Name, c.machines[j].Name, c.names(set))
				}
			}
		}
	}
	return ""
}

// names lists machines, if they are not too many for a sentence.
func (c *contradictions) names(set []int) string {
	const most = 6
	var names []string
	for _, i := range set[:min(len(set), most)] {
		names = append(names, c.machines[i].Name)
	}
	if len(set) > most {
		names = append(names, fmt.Sprintf("%d others", len(set)-most))
	}
	return strings.Join(names, " and ")
}

func (c *contradictions) hostNames(ids []datastorehb.HostID) string {
	var names []string
	for _, id := range ids {
		i := slices.IndexFunc(c.hosts, func(h Host) bool { return h.ID == id })
		if i < 0 {
			names = append(names, fmt.Sprintf("host %d, which the cluster does not have", id))
		} else {
			names = append(names, c.hosts[i].String())
		}
	}
	return strings.Join(names, " or ")
}
