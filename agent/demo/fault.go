package demo

import (
	"context"
	"fmt"
	"strings"
	"time"

	"storebeat/agent/core"
	"storebeat/agent/demo/cluster"
)

// Fault is what the demo does to the cluster.
type Fault string

const (
	// OneHost kills a host that is not the master.
	OneHost Fault = "host"
	// MasterHost kills the master's host.
	MasterHost Fault = "master"
	// MasterAndHost kills the master's host together with another one.
	MasterAndHost Fault = "master+host"
)

// Faults are all that the demo can do.
var Faults = []Fault{OneHost, MasterHost, MasterAndHost}

func (f Fault) validate() error {
	for _, known := range Faults {
		if f == known {
			return nil
		}
	}
	return fmt.Errorf("--fault %q: choose host, master or master+host", f)
}

// victims chooses the hosts to kill: among those that may be chosen, the ones
// with the most machines.
func (d *demo) victims(ctx context.Context) ([]*cluster.Host, core.View, error) {
	v, err := d.cluster.Up()[0].View(ctx, false)
	if err != nil {
		return nil, v, err
	}
	var master, other *cluster.Host
	most := -1
	for i := range v.Hosts {
		h := d.cluster.Hosts[v.Hosts[i].ID-1]
		if v.Hosts[i].Master {
			master = h
		} else if h.Up() && v.Hosts[i].Machines > most {
			other, most = h, v.Hosts[i].Machines
		}
	}
	switch {
	case master == nil || other == nil:
		return nil, v, fmt.Errorf("there is no master and other host to choose from")
	case d.Fault == OneHost:
		return []*cluster.Host{other}, v, nil
	case d.Fault == MasterHost:
		return []*cluster.Host{master}, v, nil
	}
	return []*cluster.Host{master, other}, v, nil
}

// strike kills hosts once, waits until their machines run elsewhere, tells the
// story, and brings the hosts back if there is another run to come.
func (d *demo) strike(ctx context.Context, run int) error {
	victims, before, err := d.victims(ctx)
	if err != nil {
		return err
	}
	lost := d.machinesOn(before, victims)
	var names []string
	for _, v := range victims {
		names = append(names, v.Name)
	}
	d.say("\n%s: %s dies now, with agent, guard and %d machines.", d.Fault, strings.Join(names, " and "), len(lost))
	boots := map[*machine]int{}
	for _, m := range d.machines {
		_, boots[m] = m.Console.Newest()
	}
	d.journal.begin()
	var killed time.Time
	for i, v := range victims {
		at, err := v.Kill(ctx)
		if err != nil {
			return err
		}
		if i == 0 {
			killed = at
		}
	}
	d.journal.live(killed)
	if err := d.awaitRestarts(ctx, lost, boots); err != nil {
		return err
	}
	d.journal.quiet()
	r := d.measure(run, names, killed, lost)
	d.results = append(d.results, r)
	d.tell(r)
	if d.Keep || run+1 == d.Runs {
		return nil
	}
	return d.bringBack(ctx, victims)
}

func (d *demo) machinesOn(v core.View, hosts []*cluster.Host) (on []*machine) {
	for _, state := range v.Machines {
		for _, h := range hosts {
			if state.Host != h.ID {
				continue
			}
			for _, m := range d.machines {
				if m.VM == state.VM {
					on = append(on, m)
					m.struck++
					m.owner = h.ID
				}
			}
		}
	}
	return on
}

// awaitRestarts waits for the first words of every lost guest.
func (d *demo) awaitRestarts(ctx context.Context, lost []*machine, boots map[*machine]int) error {
	return cluster.Await(ctx, 2*time.Minute, "the lost machines to run elsewhere", func() (bool, string) {
		for _, m := range lost {
			if newest, runs := m.Console.Newest(); runs <= boots[m] || newest.First.IsZero() {
				return false, m.Name + " is silent"
			}
		}
		return true, ""
	})
}

func (d *demo) bringBack(ctx context.Context, hosts []*cluster.Host) error {
	for _, h := range hosts {
		if err := h.Start(); err != nil {
			return err
		}
	}
	return cluster.Await(ctx, time.Minute, "the cluster to be whole again", func() (bool, string) { return d.cluster.Settled(ctx, d.VMs) })
}
