package core

import (
	"fmt"

	"github.com/google/uuid"

	"storebeat/datastorehb"
	"storebeat/poweron"
)

// located is a machine of the catalogue, and where it has its place.
type located struct {
	home *footing
	*info
	host datastorehb.HostID // that runs it, starts it, was told to, or holds it; 0 if none does
}

// locate finds the place of every machine that the datastores know, as far as
// this host can tell. What nobody has been seen to end has its place still.
func (c *Core) locate() (all []located) {
	for _, f := range c.footings {
		for _, i := range f.infos {
			if i.EntryState == datastorehb.Valid {
				all = append(all, located{f, i, c.placeOf(f, i)})
			}
		}
	}
	return all
}

func (c *Core) placeOf(f *footing, i *info) datastorehb.HostID {
	if m := c.machine(i.vm); m != nil && m.phase != phaseRelease && m.phase != phasePutDown {
		return c.cfg.Self.Host
	}
	if o := c.mastery.orders[i.vm]; o != nil {
		return o.host
	}
	g := i.newest()
	if g == nil || c.knownOver(f, *g) {
		return 0
	}
	return g.Owner
}

// residents are the machines that are not planned now, for the rules of those
// that are: they have their place, or shall have one as soon as they can be planned.
func residents(all []located, planned []poweron.Machine) (there []poweron.Resident) {
	now := map[uuid.UUID]bool{}
	for i := range planned {
		now[planned[i].VM] = true
	}
	for _, l := range all {
		expected := l.Entry.Protected && l.Entry.Desired == poweron.Running
		if l.host == 0 && (!expected || now[l.vm]) {
			continue
		}
		there = append(there, poweron.Resident{VM: l.vm, Name: l.Entry.Name, Rules: l.Entry.Rules, Host: l.host})
	}
	return there
}

// candidate describes a machine to the planner.
func (c *Core) candidate(f *footing, i *info) poweron.Machine {
	return poweron.Machine{VM: i.vm, Name: i.Entry.Name, Priority: i.Entry.Policy.Priority, Memory: i.Entry.Memory, Home: f.ID,
		Failed: c.failedOn(i), Rules: i.Entry.Rules, Needs: i.Needs}
}

// forbidden says which hard rule, or what need, keeps a machine off this very host, or nothing.
// The master has planned by the same rules. But its order may be late, there may
// be two masters, and an entry may have changed: what is here, the host knows best.
func (c *Core) forbidden(vm uuid.UUID, e *poweron.Entry, needs poweron.Needs) string {
	if !e.Rules.Allows(c.cfg.Self.Host) {
		return fmt.Sprintf("the rules of %s do not allow %s", e.Name, c.HostName(c.cfg.Self.Host))
	}
	if c.record.outcast != "" {
		return c.record.outcast
	}
	if lacking := c.capabilitiesOf(c.cfg.Self.Host).Lacking(needs); lacking != "" {
		return c.HostName(c.cfg.Self.Host) + " " + lacking
	}
	if c.inMaintenance() {
		return c.HostName(c.cfg.Self.Host) + " is in maintenance"
	}
	for _, m := range c.machines {
		if m.vm == vm || m.phase == phaseRelease || m.phase == phasePutDown {
			continue
		}
		if m.entry.Name == "" {
			if m.phase == phaseAdopt && !m.frozen && len(e.Rules.Groups)+len(e.Rules.Must.Apart) > 0 {
				return fmt.Sprintf("machine %s was found running on %s, and its rules have not been read yet", m.vm, c.HostName(c.cfg.Self.Host))
			}
			continue
		}
		if rule, must := poweron.MustPart(ruled(e), ruled(&m.entry)); must {
			return fmt.Sprintf("%s is on %s, and rules keep it apart from %s (%s)", m.entry.Name, c.HostName(c.cfg.Self.Host), e.Name, rule)
		}
	}
	return ""
}

func ruled(e *poweron.Entry) poweron.Ruled { return poweron.Ruled{Name: e.Name, Rules: e.Rules} }
