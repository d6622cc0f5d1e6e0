package poweron

import (
	"math"

	"github.com/google/uuid"

	"storebeat/datastorehb"
)

// Place is one host of the cluster as a place for one machine.
type Place struct {
	Host    datastorehb.HostID `json:"host"`
	Name    string             `json:"name"`
	Here    bool               `json:"here,omitempty"`    // the machine is there
	Refusal string             `json:"refusal,omitempty"` // why it could not run there now, "" if it could as far as is known
	Unknown bool               `json:"unknown,omitempty"` // the host has not said what it has
}

// Places says for each host, in the order of their ids, whether a machine could run
// there now, by what plans go by. Starts that are under way and failures of
// late do not count: they pass. It reports false for a machine that is not there.
func (s Situation) Places(vm uuid.UUID) ([]Place, bool) {
	in := Input{Hosts: s.Hosts, Starts: math.MaxInt}
	here := datastorehb.HostID(0)
	for i := range s.Machines {
		m := &s.Machines[i]
		if m.VM == vm {
			in.Machines, here = []Machine{m.Machine}, m.Host
		} else if m.Host != 0 || m.Stays == "" {
			in.Present = append(in.Present, Resident{VM: m.VM, Name: m.Name, Rules: m.Rules, Host: m.Host})
		}
	}
	if in.Machines == nil {
		return nil, false
	}
	p := newPlanner(in)
	m := &in.Machines[0]
	u := &unit{host: none}
	u.join(m, p.bonds[m])
	places := make([]Place, len(p.hosts))
	for i := range p.hosts {
		h := &p.hosts[i]
		places[i] = Place{Host: h.ID, Name: h.String(), Here: h.ID == here, Unknown: h.Capabilities == nil}
		if r := p.refusal(u, i); r.Obstacle != FailedThere && !places[i].Here {
			places[i].Refusal = r.words()
		}
	}
	return places, true
}
