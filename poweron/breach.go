package poweron

import (
	"fmt"

	"storebeat/datastorehb"
)

// Breach says that a machine is where a hard rule does not let it be. Rules are
// not enforced on what runs: a rule may be newer than the place, or two
// masters may have started two machines.
type Breach struct {
	Machine int // by its place among those given
	Why     string
}

// Breaches finds the hard rules that machines break where they are; hosts make
// words of their names.
func Breaches(there []Resident, hosts []Host) []Breach {
	all := make([]*Ruled, len(there))
	for i, r := range there {
		all[i] = &Ruled{Name: r.Name, Rules: r.Rules}
	}
	b := breaches{there: there, ruled: all, hosts: map[datastorehb.HostID]*Host{}, told: map[[2]int]bool{}}
	for i := range hosts {
		b.hosts[hosts[i].ID] = &hosts[i]
	}
	b.ofHosts()
	b.apart(carriers(all))
	b.together(together(all))
	return b.found
}

type breaches struct {
	there []Resident
	ruled []*Ruled
	hosts map[datastorehb.HostID]*Host
	told  map[[2]int]bool
	found []Breach
}

func (b *breaches) add(machine int, format string, args ...any) {
	b.found = append(b.found, Breach{machine, fmt.Sprintf(format, args...)})
}

func (b *breaches) host(i int) string { return b.hosts[b.there[i].Host].String() }

func (b *breaches) ofHosts() {
	for i, r := range b.there {
		if r.Host != 0 && !r.Rules.Allows(r.Host) {
			b.add(i, "%s is on %s, which is none of the hosts that it must run on", r.Name, b.host(i))
		}
	}
}

func (b *breaches) apart(named map[string][]int) {
	for i, r := range b.there {
		for _, name := range r.Rules.Must.Apart {
			for _, j := range named[name] {
				if j != i && r.Host != 0 && b.there[j].Host == r.Host && !b.told[[2]int{i, j}] {
					b.told[[2]int{i, j}], b.told[[2]int{j, i}] = true, true
					b.add(i, "%s and %s are both on %s, and must be apart", r.Name, b.there[j].Name, b.host(i))
				}
			}
		}
	}
}

// together compares each machine of a set with the first that has its place.
func (b *breaches) together(first []int) {
	lead := map[int]int{}
	for i, r := range b.there {
		if r.Host == 0 {
			continue
		}
		j, ok := lead[first[i]]
		if !ok {
			lead[first[i]] = i
		} else if b.there[j].Host != r.Host {
			b.add(i, "%s is on %s and %s on %s, and the two must be together", r.Name, b.host(i), b.there[j].Name, b.host(j))
		}
	}
}
