package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/cobra"

	"storebeat/agent/config"
	"storebeat/agent/core"
	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/libvirt"
	"storebeat/agent/hypervisor/process"
	"storebeat/agent/hypervisor/qemu"
	"storebeat/poweron"
)

// protection are the flags of vm protect. Those after wait describe a machine
// without a file.
type protection struct {
	stopped bool
	all     bool
	dryRun  bool
	wait    time.Duration
	monitor string
	name    string

	datastore string
	memory    string
	policy    poweron.PolicyChange
	disks     []string
	cpus      int
	rules     *ruleFlags
}

func newProtect(a *app) *cobra.Command {
	var o protection
	var policy *policyFlags
	cmd := &cobra.Command{
		Use:   "protect FILE | protect NAME --datastore D --memory M (--disk PATH… | -- COMMAND…) | protect GUEST… | protect --all | protect --monitor SOCKET",
		Short: "Put machines on the protected list, or change their entries",
		Long: `Puts every machine that FILE describes on the protected list of its home datastore.
From then on it is kept running: the master chooses a host for it, and another one when
that host is lost. FILE is HCL or JSON as in docs/machines.md; "-" is standard input.

For simple machines no file is needed: disks make a QEMU guest, a command after "--" a
machine that is an ordinary process.

GUEST is one that libvirt has on this host (driver libvirt must be configured); --all
means every one of them. Its definition is read, its disks are looked for on the
datastores, and what can't be protected is refused with the reason. A guest that runs
goes on running: the agent takes it over, and only then may another host start it. One
that is shut off stays so until vm start.

Policy (--priority … --pause, as for vm set) and rules that are given here go for every
machine that is named, also for guests that are protected already. A file has them in
its policy and placement blocks.

--monitor takes over a QEMU guest of this host that somebody has started by hand: SOCKET
is a monitor of it (-qmp unix:SOCKET,server=on,wait=off) that the agent may keep. The
definition is made of its command line; --name gives the machine another name.

A machine that is protected already gets the new definition and policy, with which it
starts next time; whether it shall run stays as it is. What FILE says nothing of is
taken from the machine defaults of the cluster record, or, without an agent, from those
of the configuration; rules (storebeat vm set) stay as they are when FILE has no
placement block.`,
		Example: `  storebeat vm protect web.hcl
  storebeat vm protect web --datastore nfs1 --memory 2GiB --disk web/disk.qcow2 --wait
  storebeat vm protect web-2 --datastore nfs1 --memory 2GiB --disk web-2/disk.qcow2 --group web --apart web
  storebeat vm protect worker --datastore nfs1 --memory 64MiB -- /usr/local/bin/worker --queue jobs
  storebeat vm protect web db
  storebeat vm protect --all --dry-run
  storebeat vm protect --all --isolation shut-down --stop-time 3m
  storebeat vm protect --monitor /run/web.qmp --name web`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := policy.in(cmd.Flags(), &o.policy); err != nil {
				return err
			}
			if err := o.policy.Of(poweron.DefaultPolicy()).Validate(); err != nil {
				return &failure{exitUsage, err}
			}
			return a.protect(cmd, args, o)
		},
		Args: func(cmd *cobra.Command, args []string) error {
			if o.all || o.monitor != "" {
				return nil
			}
			return arguments(1, -1)(cmd, args)
		},
	}
	o.addFlags(cmd)
	policy = addPolicyFlags(cmd)
	o.rules = a.ruleFlags(cmd)
	_ = cmd.RegisterFlagCompletionFunc("datastore", a.completing(func(n names) []string { return n.datastores }))
	return cmd
}

func (o *protection) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&o.stopped, "stopped", false, "protect without starting: it starts with vm start")
	f.BoolVar(&o.all, "all", false, "protect every guest that libvirt has on this host")
	f.StringVar(&o.monitor, "monitor", "", "monitor `socket` of a running QEMU guest that is taken over")
	f.StringVar(&o.name, "name", "", "`name` of the machine that is made of it")
	f.BoolVar(&o.dryRun, "dry-run", false, "only judge the file")
	f.DurationVar(&o.wait, "wait", 0, "wait until all of them run, for so `long`, such as --wait=30s")
	f.Lookup("wait").NoOptDefVal = defaultWait.String()
	f.StringVar(&o.datastore, "datastore", "", "`name` of the home datastore")
	f.StringVar(&o.memory, "memory", "", "`amount` of memory it needs, such as 2GiB")
	f.StringArrayVar(&o.disks, "disk", nil, "disk image of a QEMU guest, a `path` on the datastore; may be repeated")
	f.IntVar(&o.cpus, "cpus", 1, "virtual `processors` of a QEMU guest")
}

func (a *app) protect(cmd *cobra.Command, args []string, o protection) error {
	if o.monitor != "" || o.name != "" {
		return a.protectRunning(cmd, args, o)
	}
	if guests, err := o.namesGuests(cmd, args); guests || err != nil {
		if err != nil {
			return err
		}
		return a.protectGuests(cmd.Context(), args, o)
	}
	wishes, err := a.wishes(cmd, args, o)
	if err != nil {
		return err
	}
	if err := a.judgeDefinitions(wishes); err != nil {
		return err
	}
	if o.dryRun {
		return a.showDryRun(wishes)
	}
	v, err := a.view(cmd.Context(), false)
	if err != nil {
		return err
	}
	commands, err := v.commands(wishes, o.stopped)
	if err != nil {
		return err
	}
	return a.protectAll(cmd.Context(), commands, o.wait)
}

// wishes come from a file, or from the command line.
func (a *app) wishes(cmd *cobra.Command, args []string, o protection) ([]*wish, error) {
	policy := poweron.DefaultPolicy()
	if cfg, err := a.readConfig(); err == nil {
		policy = cfg.Machines
	} else if a.socket == "" {
		return nil, err
	}
	if v, err := a.view(cmd.Context(), false); err == nil && v.Cluster.Record != nil {
		policy = v.Cluster.Record.Machines // the file's are for a cluster without a record
	}
	if o.datastore != "" || cmd.ArgsLenAtDash() >= 0 || len(o.disks) > 0 {
		w, err := o.wish(args, cmd.ArgsLenAtDash(), policy)
		if err != nil {
			return nil, &failure{exitUsage, err}
		}
		return []*wish{w}, nil
	}
	if o.rules.any() || o.policy != (poweron.PolicyChange{}) {
		return nil, fail(exitUsage, "policy and rules on the command line are for a machine without a file: write a policy or placement block, or use storebeat vm set afterwards")
	}
	if len(args) > 1 {
		return nil, fail(exitUsage, "%d arguments: give one FILE, or NAME with --datastore and --memory", len(args))
	}
	wishes, err := readMachines(args[0], a.in, policy)
	if errors.Is(err, os.ErrNotExist) && !strings.ContainsAny(args[0], "./") {
		return nil, fail(exitUsage, "there is no file %s: to protect a machine of that name give --datastore and --memory too", args[0])
	}
	return wishes, err
}

// wish makes a machine of the command line.
func (o protection) wish(args []string, dash int, policy poweron.Policy) (*wish, error) {
	var command []string
	if dash >= 0 {
		args, command = args[:dash], args[dash:]
	}
	switch {
	case len(args) != 1:
		return nil, errors.New("give one NAME, and a command only after --")
	case o.datastore == "":
		return nil, errors.New("without --datastore a machine has no home: name a datastore (storebeat datastore list)")
	case o.memory == "":
		return nil, errors.New("without --memory no host can be chosen: give an amount such as --memory 2GiB")
	case (len(command) > 0) == (len(o.disks) > 0):
		return nil, errors.New("give either --disk for a QEMU guest or a command after -- for a process")
	}
	memory, err := parseMemory(o.memory)
	if err != nil {
		return nil, fmt.Errorf("--memory %w", err)
	}
	if err := poweron.CheckName(args[0]); err != nil {
		return nil, fmt.Errorf("name %w", err)
	}
	w := &wish{datastore: o.datastore, block: hcl.Range{Filename: "command line"}}
	w.Entry = poweron.Entry{Name: args[0], Protected: true, Desired: poweron.Running, Policy: o.policy.Of(policy), Memory: memory}
	if o.rules.any() {
		w.placement = &o.rules.placement
	}
	w.Driver, w.Definition, err = o.define(command, memory)
	return w, err
}

func (o protection) define(command []string, memory uint64) (driver string, definition []byte, err error) {
	if len(command) > 0 {
		definition, err = json.Marshal(process.Definition{Command: command})
		return "process", definition, err
	}
	if o.cpus < 1 {
		return "", nil, fmt.Errorf("--cpus %d: give it from 1", o.cpus)
	}
	d := qemu.Definition{MemoryMiB: int(memory >> 20), CPUs: o.cpus}
	for _, path := range o.disks {
		disk := qemu.Disk{Path: path}
		if filepath.Ext(path) == ".qcow2" {
			disk.Format = "qcow2"
		}
		d.Disks = append(d.Disks, disk)
	}
	definition, err = json.Marshal(d)
	return "qemu", definition, err
}

// judgeDefinitions has the drivers judge what they can judge here, where the
// place in the file is known. The agent judges again.
func (a *app) judgeDefinitions(wishes []*wish) error {
	var diags hcl.Diagnostics
	cfg, err := a.readConfig()
	for _, w := range wishes {
		spec := hypervisor.Spec{DatastorePath: "/datastore"}
		if err == nil {
			d, ok := cfg.Datastore(w.datastore)
			if !ok {
				diags = append(diags, wrong(w.at("datastore"), "Unknown datastore", "%s has no datastore %q; name one that it has.", a.config, w.datastore))
				continue
			}
			spec.DatastorePath, spec.Others = d.Path, placesBut(cfg, d.Name)
		}
		diags = append(append(diags, w.judgePlacement()...), w.judge(spec)...)
	}
	if diags.HasErrors() {
		return badConfig(diags)
	}
	return nil
}

// placesBut are the configured datastores but for one.
func placesBut(cfg *config.Config, home string) []hypervisor.Place {
	places := []hypervisor.Place{} // not nil: these are all there are
	for _, d := range cfg.Datastores {
		if d.Name != home {
			places = append(places, hypervisor.Place{Name: d.Name, Path: d.Path})
		}
	}
	return places
}

// judge fills in the memory, and has the driver judge the definition.
func (w *wish) judge(spec hypervisor.Spec) hcl.Diagnostics {
	validate, ok := map[string]func(hypervisor.Spec) error{"process": process.New().Validate, "qemu": qemu.New("").Validate, "libvirt": libvirt.New("").Validate}[w.Driver]
	if !ok {
		return hcl.Diagnostics{wrong(w.at("driver"), "Unknown driver", "%q is no hypervisor driver; write \"process\", \"qemu\" or \"libvirt\".", w.Driver)}
	}
	spec.VM, spec.Name, spec.Definition = w.VM, w.Name, w.Definition
	if err := validate(spec); err != nil {
		return hcl.Diagnostics{wrong(w.at("definition"), "Unusable definition", "%s.", strings.ReplaceAll(err.Error(), "\n", "; "))}
	}
	if w.Memory == 0 && w.Driver == "qemu" {
		var d qemu.Definition
		if err := json.Unmarshal(w.Definition, &d); err == nil {
			w.Memory = uint64(d.MemoryMiB) << 20
		}
	}
	if w.Memory == 0 {
		return hcl.Diagnostics{wrong(w.block, "Missing memory", "Machine %q says nothing of its memory; write memory = \"64MiB\" with what it needs.", w.Name)}
	}
	return nil
}

func (a *app) showDryRun(wishes []*wish) error {
	return a.print(entriesOf(wishes), func() error {
		for _, w := range wishes {
			if _, err := fmt.Fprintf(a.out, "machine %s is valid: driver %s on %s\n", w.Name, w.Driver, w.datastore); err != nil {
				return err
			}
		}
		return nil
	})
}

func entriesOf(wishes []*wish) (entries []poweron.Entry) {
	for _, w := range wishes {
		entries = append(entries, w.Entry)
	}
	return entries
}

// commands makes the agent's commands of the wishes. A machine that has an entry
// keeps its UUID, also when it was taken off the list: it may still be running, and
// under another UUID it would be started beside itself. While it is protected, it
// stays stopped if its user stopped it.
func (v cluster) commands(wishes []*wish, stopped bool) (commands []core.Command, err error) {
	for _, w := range wishes {
		home, err := v.datastore(w.datastore)
		if err != nil {
			return nil, err
		}
		if old := v.entryOf(w, home.ID); old != nil {
			w.VM = old.VM
			if old.Protected {
				w.Desired = old.Desired
			}
			w.Rules = old.Rules
		}
		if w.placement != nil {
			if w.Rules, err = w.placement.rules(v.hostID); err != nil {
				return nil, err
			}
		}
		if w.VM == uuid.Nil {
			w.VM = uuid.New()
		}
		if stopped {
			w.Desired = poweron.Stopped
		}
		commands = append(commands, core.Command{Verb: core.Protect, Datastore: home.ID, Entry: w.Entry})
	}
	return commands, nil
}

// entryOf finds the machine that a wish means among those of its home datastore:
// by its UUID if it gives one, or by its name. Of several that once had the name,
// the protected one counts, or else one that may be running.
func (v cluster) entryOf(w *wish, home uuid.UUID) (found *core.MachineView) {
	rank := func(m *core.MachineView) int {
		switch {
		case m.Protected:
			return 2
		case m.State != "stopped":
			return 1
		}
		return 0
	}
	for i := range v.Machines {
		m := &v.Machines[i]
		if m.Datastore != home || w.VM != uuid.Nil && m.VM != w.VM || w.VM == uuid.Nil && m.Name != w.Name {
			continue
		}
		if found == nil || rank(m) > rank(found) {
			found = m
		}
	}
	return found
}

func textOf(id uuid.UUID) string {
	if id == uuid.Nil {
		return ""
	}
	return id.String()
}

func (a *app) protectAll(ctx context.Context, commands []core.Command, wait time.Duration) error {
	var errs failures
	all := make([]changed, 0, len(commands))
	for _, c := range commands {
		done, err := a.change(ctx, c)
		errs.add(err)
		if err == nil {
			all = append(all, changed{Machine: c.Entry.Name, Done: done})
		}
	}
	if wait > 0 {
		errs.add(a.awaitDesired(ctx, commands, all, wait))
	}
	errs.add(a.print(all, func() error { return a.showChanged(all) }))
	return errs.join()
}

// awaitDesired waits for those that shall run.
func (a *app) awaitDesired(ctx context.Context, commands []core.Command, all []changed, wait time.Duration) error {
	stopped := map[string]bool{}
	for _, c := range commands {
		stopped[c.Entry.Name] = c.Entry.Desired == poweron.Stopped
	}
	for i := range all {
		if stopped[all[i].Machine] {
			continue
		}
		if err := a.await(ctx, all[i:i+1], wantedAfter[core.Protect], wait); err != nil {
			return err
		}
	}
	return nil
}
