package poweron

import (
	"fmt"
	"slices"
	"strings"
)

// Need is one thing that a machine needs of its host: something of a kind, by its name.
type Need struct {
	Kind Kind
	Name string
}

// Kind is a kind of thing that hosts have and machines need, in words for people.
// Drivers may know further ones: what is of one kind is compared by name alone.
type Kind string

const (
	// Bridge is a bridge of the host's network.
	Bridge Kind = "network bridge"
	// VirtualNetwork is a network that the hypervisor keeps.
	VirtualNetwork Kind = "virtual network"
	// MachineType is what hardware the hypervisor shows its guests.
	MachineType Kind = "machine type"
	// CPUModel is a model of processor, under the accelerator that the host would choose.
	CPUModel Kind = "CPU model"
	// Datastore is a datastore beside the machine's home, by its name.
	Datastore Kind = "datastore"
	// Accelerator is what executes the guests' code.
	Accelerator Kind = "accelerator"
)

// Under is the kind of what is there under one accelerator alone.
func (k Kind) Under(accelerator string) Kind { return k + Kind(" under "+accelerator) }

// For is the kind of what is there for guests of one architecture alone.
func (k Kind) For(architecture string) Kind { return k + Kind(" for "+architecture) }

// Needs is what a machine needs of a host beside memory and its home datastore, as
// its driver reads its definition.
type Needs struct {
	Driver string
	Of     []Need

	// Watchdog says that the guest has an emulated watchdog, which needs nothing of the host
	// but would count on through a freeze (StopThenFreeze).
	Watchdog bool
}

// Capabilities is what a host says that it has. Nil stands for a host that has said
// nothing, as a program does that knows nothing of this.
type Capabilities struct {
	Drivers []DriverState     `json:"drivers"` // those that the host may start machines with
	Has     map[Kind][]string `json:"has"`     // for every driver; what has no kind here is not known
}

// DriverState is what a host says of one of its hypervisor drivers.
type DriverState struct {
	Name    string            `json:"name"`
	Version string            `json:"version,omitempty"` // of its hypervisor, for people
	Problem string            `json:"problem,omitempty"` // why it can't start machines now; "" if it can, or if that is not known
	Has     map[Kind][]string `json:"has"`               // goes before what the host has for every driver
}

// Lacking says, in words that follow a host's name, what it is known to lack of
// what a machine needs; "" if that is nothing. What is not known is not lacking.
func (c *Capabilities) Lacking(n Needs) string {
	if c == nil || n.Driver == "" {
		return ""
	}
	at := slices.IndexFunc(c.Drivers, func(d DriverState) bool { return d.Name == n.Driver })
	if at < 0 {
		return fmt.Sprintf("does not use hypervisor driver %s (hypervisor.drivers in its configuration)", n.Driver)
	}
	d := &c.Drivers[at]
	if d.Problem != "" {
		return fmt.Sprintf("has trouble with hypervisor driver %s: %s", d.Name, d.Problem)
	}
	var lacking []string
	for _, need := range n.Of {
		names, known := d.Has[need.Kind]
		if !known {
			names, known = c.Has[need.Kind]
		}
		if known && !slices.Contains(names, need.Name) {
			lacking = append(lacking, fmt.Sprintf("no %s %s", need.Kind, need.Name))
		}
	}
	if len(lacking) == 0 {
		return ""
	}
	return "has " + strings.Join(lacking, " and ")
}

// Equal reports whether two hosts say the same.
func (c *Capabilities) Equal(o *Capabilities) bool {
	if c == nil || o == nil {
		return c == o
	}
	return sameThings(c.Has, o.Has) && slices.EqualFunc(c.Drivers, o.Drivers, func(a, b DriverState) bool {
		return a.Name == b.Name && a.Version == b.Version && a.Problem == b.Problem && sameThings(a.Has, b.Has)
	})
}

func sameThings(a, b map[Kind][]string) bool {
	for kind, names := range a {
		if other, known := b[kind]; !known || !slices.Equal(names, other) {
			return false
		}
	}
	return len(a) == len(b)
}

// key is equal for needs that are.
func (n Needs) key() string {
	var b strings.Builder
	b.WriteString(n.Driver)
	for _, need := range n.Of {
		b.WriteString("\x00" + string(need.Kind) + "\x00" + need.Name)
	}
	return b.String()
}

// suited says, for each host, whether it has what machines of the same needs need:
// most machines of a cluster need the same.
type suited map[string][]bool

// of returns it for a machine's needs; nil stands for every host.
func (s suited) of(n Needs, hosts []Host) []bool {
	if n.Driver == "" {
		return nil
	}
	key := n.key()
	by, known := s[key]
	if !known {
		by = make([]bool, len(hosts))
		for i := range hosts {
			by[i] = hosts[i].Capabilities.Lacking(n) == ""
		}
		s[key] = by
	}
	return by
}

// hasWhatItNeeds is the filter of Incapable.
func hasWhatItNeeds(p *planner, u *unit, host int) bool {
	for _, b := range u.bonds {
		if b.suited != nil && !b.suited[host] {
			return false
		}
	}
	return true
}

// lacking says what a host lacks of what the first member of u needs that it can't take.
func (u *unit) lacking(h *Host) Needs {
	for _, m := range u.members {
		if h.Capabilities.Lacking(m.Needs) != "" {
			return m.Needs
		}
	}
	return Needs{}
}
