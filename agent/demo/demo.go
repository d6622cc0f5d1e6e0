package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"time"

	"storebeat/agent"
	"storebeat/agent/config"
	"storebeat/agent/demo/cluster"
	"storebeat/datastorehb"
)

// Options choose the demo.
type Options struct {
	Hosts      int    // 2 or more
	Datastores int    // 1 or more
	VMs        int    // 1 or more
	Profile    string // fast, default or relaxed
	Fault      Fault
	Driver     string // qemu, process, or "" for QEMU where it is there
	Runs       int    // how many times a host is killed
	Keep       bool   // leave the cluster running
	Dir        string // "" for a new temporary directory
	JSON       bool   // print the measurements as JSON instead of the story
}

// Validate refuses options that make no demo.
func (o Options) Validate() error {
	switch {
	case o.Hosts < 2 || o.Hosts > 32:
		return fmt.Errorf("--hosts %d: choose 2 to 32", o.Hosts)
	case o.Datastores < 1 || o.Datastores > 8:
		return fmt.Errorf("--datastores %d: choose 1 to 8", o.Datastores)
	case o.VMs < 1 || o.VMs > 100:
		return fmt.Errorf("--vms %d: choose 1 to 100", o.VMs)
	case o.Runs < 1:
		return fmt.Errorf("--runs %d: choose 1 or more", o.Runs)
	case !slices.Contains([]config.Profile{config.Fast, config.Normal, config.Relaxed}, config.Profile(o.Profile)):
		return fmt.Errorf("--profile %q: choose fast, default or relaxed", o.Profile)
	case o.Driver != "" && o.Driver != "qemu" && o.Driver != "process":
		return fmt.Errorf("--driver %q: choose qemu or process", o.Driver)
	case o.Fault == MasterAndHost && o.Hosts < 3:
		return fmt.Errorf("--fault %s needs at least 3 hosts: add --hosts 3", o.Fault)
	}
	return o.Fault.validate()
}

// demo is one run of the demo.
type demo struct {
	Options
	out      io.Writer
	cluster  *cluster.Cluster
	machines []*machine
	journal  *recorder
	results  []Result
}

// machine is one guest of the demo.
type machine struct {
	*cluster.Machine
	owner  datastorehb.HostID // that ran it when its host was killed last
	struck int                // how often its host was killed
}

// Run runs the demo and tells the story on out. The error says in which way the
// product failed, or why the demo could not run.
func Run(ctx context.Context, o Options, out io.Writer) error {
	if err := o.Validate(); err != nil {
		return err
	}
	d := &demo{Options: o, out: out}
	if d.Dir == "" {
		dir, err := os.MkdirTemp("", "storebeat-demo-")
		if err != nil {
			return err
		}
		d.Dir = dir
	}
	d.chooseDriver()
	err := d.run(ctx)
	if d.Keep && err == nil {
		d.tellHowToExplore()
		return nil
	}
	return errors.Join(err, d.cleanUp(err))
}

func (d *demo) cleanUp(failed error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var err error
	if d.cluster != nil {
		err = d.cluster.End(ctx)
	}
	if failed != nil {
		fmt.Fprintf(d.out, "\nThe logs are left in %s\n", d.Dir)
		return err
	}
	return errors.Join(err, os.RemoveAll(d.Dir))
}

// say tells the story, unless measurements are wanted alone.
func (d *demo) say(format string, args ...any) {
	if !d.JSON {
		fmt.Fprintf(d.out, format+"\n", args...)
	}
}

func (d *demo) chooseDriver() {
	if d.Driver != "" {
		return
	}
	d.Driver = "qemu"
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		d.Driver = "process"
		d.say("QEMU is not installed here, so the machines are ordinary processes (install qemu-system-x86 for real guests).")
	}
}

func (d *demo) run(ctx context.Context) error {
	d.say("Storebeat demo: %d hosts, %d datastores, %d machines (%s), profile %s, in %s", d.Hosts, d.Datastores, d.VMs, d.Driver, d.Profile, d.Dir)
	d.say("What it is not: all hosts share this computer and local directories stand in for shared storage, so it measures Storebeat and not your storage.\n")
	if err := d.begin(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d.journal = newRecorder(ctx, d)
	d.say("Waiting for the agents to elect a master …")
	if err := cluster.Await(ctx, 60*time.Second, "the cluster to form", func() (bool, string) { return d.cluster.Settled(ctx, 0) }); err != nil {
		return err
	}
	if err := d.tellFreezer(ctx); err != nil {
		return err
	}
	if err := d.protectAll(ctx); err != nil {
		return err
	}
	go d.watchConsoles(ctx)
	if err := d.awaitRunning(ctx); err != nil {
		return err
	}
	for run := range d.Runs {
		if err := d.strike(ctx, run); err != nil {
			return err
		}
	}
	return d.conclude()
}

// begin builds the cluster and starts its agents.
func (d *demo) begin() error {
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	d.cluster, err = cluster.Build(cluster.Options{Binary: binary, Dir: d.Dir, Hosts: d.Hosts, Datastores: d.Datastores, Profile: d.Profile})
	if err != nil {
		return err
	}
	return d.cluster.Start()
}

// tellFreezer says how machines are frozen here: a weak freeze is no measurement
// of what a cgroup does.
func (d *demo) tellFreezer(ctx context.Context) error {
	var health agent.Health
	if err := d.cluster.Hosts[0].Client.Call(ctx, agent.MethodHealth, struct{}{}, &health); err != nil {
		return err
	}
	d.say("Machines are frozen by %s.", health.Freezer)
	return nil
}

// protectAll puts every machine on the protected list, spread over the datastores.
func (d *demo) protectAll(ctx context.Context) error {
	d.say("Protecting %d machines; the master places and starts them …", d.VMs)
	for i := range d.VMs {
		m := &machine{Machine: cluster.NewMachine(fmt.Sprintf("vm%d", i+1), d.cluster.Datastores[i%len(d.cluster.Datastores)], d.Driver)}
		if err := d.cluster.Protect(ctx, d.cluster.Hosts[0], m.Machine); err != nil {
			return err
		}
		d.machines = append(d.machines, m)
	}
	return nil
}

// watchConsoles reads every console a hundred times a second.
func (d *demo) watchConsoles(ctx context.Context) {
	for ctx.Err() == nil {
		for _, m := range d.machines {
			if err := m.Console.Look(); err != nil {
				d.say("can't read the console of %s: %v", m.Name, err)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// awaitRunning waits until the cluster calls every machine running and every
// guest has said something itself.
func (d *demo) awaitRunning(ctx context.Context) error {
	return cluster.Await(ctx, 60*time.Second, "every machine to run", func() (bool, string) {
		for _, m := range d.machines {
			if newest, _ := m.Console.Newest(); newest.First.IsZero() {
				return false, "nothing was heard of the guest " + m.Name
			}
		}
		return d.cluster.Settled(ctx, d.VMs)
	})
}

func (d *demo) tellHowToExplore() {
	fmt.Fprintf(d.out, "\nThe cluster goes on in %s. Explore it:\n", d.Dir)
	config := d.cluster.Up()[0].Config
	for _, words := range []string{"status", "vm list", "explain vm vm1", "events --follow"} {
		fmt.Fprintf(d.out, "  %s --config %s %s\n", d.cluster.Binary, config, words)
	}
	fmt.Fprintf(d.out, "End it with:\n  %s demo --end %s\n", d.cluster.Binary, d.Dir)
}

// End ends a cluster that a demo has kept in dir, and removes dir.
func End(ctx context.Context, dir string) error { return cluster.EndKept(ctx, dir) }
