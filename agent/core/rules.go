package core

import (
	"fmt"
	"slices"
	"strings"

	"storebeat/poweron"
)

// impossible says why the rules of a machine can't be met together with those of
// the other protected machines, as far as they are known.
func (c *Core) impossible(e *poweron.Entry) string {
	machines := []poweron.Ruled{ruled(e)}
	for _, l := range c.locate() {
		if l.vm != e.VM && l.Entry.Protected {
			machines = append(machines, ruled(&l.Entry))
		}
	}
	for _, conflict := range poweron.Conflicts(machines, c.memberHosts()) {
		if conflict.Machines[0] == 0 {
			return fmt.Sprintf("the rules of %s can't be met: %s: change one of them", e.Name, conflict.Why)
		}
	}
	return ""
}

// memberHosts are all hosts by id and name alone.
func (c *Core) memberHosts() (hosts []poweron.Host) {
	for _, m := range c.cfg.Hosts {
		hosts = append(hosts, poweron.Host{ID: m.ID, Name: m.Name})
	}
	return hosts
}

// nobody says which names in a machine's rules mean no machine so far: they may
// be written in advance, or by mistake.
func (c *Core) nobody(e *poweron.Entry) string {
	var unknown []string
	for _, name := range e.Rules.Named() {
		if !slices.ContainsFunc(c.footings, func(f *footing) bool {
			return slices.ContainsFunc(f.infos, func(i *info) bool { return i.Entry.Name == name || slices.Contains(i.Entry.Rules.Groups, name) })
		}) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) == 0 {
		return ""
	}
	return "; no machine or group is called " + strings.Join(unknown, " or ") + " so far"
}

// viewRules fills in which hard rules machines break where they are, and which
// can't be met at all.
func (c *Core) viewRules(machines []MachineView) {
	ruledOnes := false
	there, protected, at := make([]poweron.Resident, len(machines)), []poweron.Ruled{}, []int{}
	for i := range machines {
		m := &machines[i]
		there[i] = poweron.Resident{VM: m.VM, Name: m.Name, Rules: m.Rules, Host: m.Host}
		ruledOnes = ruledOnes || !m.Rules.IsZero()
		if m.Protected {
			protected, at = append(protected, poweron.Ruled{Name: m.Name, Rules: m.Rules}), append(at, i)
		}
	}
	if !ruledOnes {
		return
	}
	hosts := c.memberHosts()
	for _, b := range poweron.Breaches(there, hosts) {
		machines[b.Machine].Breaches = append(machines[b.Machine].Breaches, b.Why)
	}
	for _, conflict := range poweron.Conflicts(protected, hosts) {
		for _, i := range conflict.Machines {
			machines[at[i]].Conflicts = append(machines[at[i]].Conflicts, conflict.Why)
		}
	}
}
