package poweron

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/google/uuid"

	"storebeat/datastorehb"
)

// Situation is a cluster as it is, to find out what the loss of hosts would mean.
// It is only read, so several may ask it at a time.
type Situation struct {
	Machines []Situated
	Hosts    []Host
}

// Situated is a machine, where it is, and whether it would be started again.
type Situated struct {
	Machine
	Host  datastorehb.HostID // where it has its place, 0 if it has none
	Stays string             // why nobody would start it, "" if somebody would
}

// Forecast is what the loss of hosts would mean.
type Forecast struct {
	Lost   []string `json:"lost"`   // names of the hosts that are lost
	Starts []Fate   `json:"starts"` // in the order in which they would start
	Waits  []Fate   `json:"waits"`  // in the order of their turn
	Stays  []Fate   `json:"stays"`  // by name; nobody would start them
}

// Fate is what would become of one machine.
type Fate struct {
	VM       uuid.UUID `json:"vm"`
	Machine  string    `json:"machine"`
	Memory   uint64    `json:"memory"`         // bytes
	From     string    `json:"from,omitempty"` // the host that it would lose; "" if it waits for a place already
	To       string    `json:"to,omitempty"`   // where it would start
	Why      string    `json:"why"`
	Refusals []string  `json:"refusals,omitempty"` // by host, why a machine that waits could not start there
}

// Lose plans as if the hosts were lost for good: their machines, and those that
// wait already, are placed on the rest, however many starts that takes.
func (s Situation) Lose(hosts ...datastorehb.HostID) Forecast {
	f := Forecast{Lost: []string{}, Starts: []Fate{}, Waits: []Fate{}, Stays: []Fate{}}
	in := Input{Hosts: slices.Clone(s.Hosts), Starts: math.MaxInt}
	for i := range in.Hosts {
		if h := &in.Hosts[i]; slices.Contains(hosts, h.ID) {
			f.Lost = append(f.Lost, h.String())
			h.Live, h.State = false, "lost"
		}
	}
	fates := map[uuid.UUID]Fate{}
	for i := range s.Machines {
		m := &s.Machines[i]
		fate := Fate{VM: m.VM, Machine: m.Name, Memory: m.Memory, Why: m.Stays}
		lost := slices.Contains(hosts, m.Host)
		if lost {
			fate.From = s.host(m.Host).String()
		}
		switch {
		case m.Stays != "" && lost:
			f.Stays = append(f.Stays, fate)
		case m.Stays == "" && (lost || m.Host == 0):
			fates[m.VM] = fate
			in.Machines = append(in.Machines, m.Machine)
		default:
			in.Present = append(in.Present, Resident{VM: m.VM, Name: m.Name, Rules: m.Rules, Host: m.Host})
		}
	}
	slices.SortFunc(f.Stays, func(a, b Fate) int {
		return cmp.Or(strings.Compare(a.Machine, b.Machine), strings.Compare(a.VM.String(), b.VM.String()))
	})
	f.fill(Plan(in), fates, s)
	return f
}

// fill takes a plan over.
func (f *Forecast) fill(r Result, fates map[uuid.UUID]Fate, s Situation) {
	for _, p := range r.Placements {
		fate := fates[p.VM]
		fate.To, fate.Why = s.host(p.Host).String(), p.Why
		f.Starts = append(f.Starts, fate)
	}
	for _, w := range r.Waiting {
		fate := fates[w.VM]
		fate.Why = w.Why
		for _, refusal := range w.Hosts {
			fate.Refusals = append(fate.Refusals, refusal.String())
		}
		f.Waits = append(f.Waits, fate)
	}
}

// host returns a host of the situation, or nil.
func (s Situation) host(id datastorehb.HostID) *Host {
	for i := range s.Hosts {
		if s.Hosts[i].ID == id {
			return &s.Hosts[i]
		}
	}
	return nil
}

// Shortfall is what the rest of the cluster could not take of one host's machines.
type Shortfall struct {
	Host     string `json:"host"`
	Memory   uint64 `json:"memory"`   // bytes that the machines need that would be started again
	Machines int    `json:"machines"` // that would be started again
	Waits    []Fate `json:"waits"`    // those that would find no place, without what each host says
}

// Shortfalls finds each live host whose machines the rest could not take, the one
// with the most memory in use first. A cluster of one host has no rest.
func (s Situation) Shortfalls() []Shortfall {
	found := []Shortfall{}
	for i := range s.Hosts {
		if h := &s.Hosts[i]; h.Live && len(s.Hosts) > 1 {
			if short := s.shortfall(h); len(short.Waits) > 0 {
				found = append(found, short)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b Shortfall) int { return cmp.Compare(b.Memory, a.Memory) })
	return found
}

func (s Situation) shortfall(h *Host) Shortfall {
	short := Shortfall{Host: h.String(), Waits: []Fate{}}
	f := s.Lose(h.ID)
	for _, fate := range slices.Concat(f.Starts, f.Waits) {
		if fate.From == "" { // It waits whatever happens to this host.
			continue
		}
		short.Machines++
		short.Memory += fate.Memory
		if fate.To == "" {
			fate.Refusals = nil
			short.Waits = append(short.Waits, fate)
		}
	}
	return short
}
