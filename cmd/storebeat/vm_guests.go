package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"storebeat/agent"
	"storebeat/agent/control"
	"storebeat/agent/core"
	"storebeat/agent/hypervisor"
	"storebeat/datastorehb"
	"storebeat/poweron"
)

// takeOverTime is how long the agent may take to have a running guest in its care.
const takeOverTime = time.Minute

// enrolling is the group of a running guest that is being protected. Until its own
// host has it in its care, it may be started on no other.
const enrolling = "storebeat-enrolling"

// namesGuests tells whether vm protect is given guests of libvirt, not a file.
func (o protection) namesGuests(cmd *cobra.Command, args []string) (bool, error) {
	described := o.datastore != "" || cmd.ArgsLenAtDash() >= 0 || len(o.disks) > 0
	switch {
	case o.all && (len(args) > 0 || described):
		return false, fail(exitUsage, "--all protects every guest that libvirt has on this host: give no other machine with it")
	case o.all:
		return true, nil
	case described || len(args) == 0 || args[0] == "-" || strings.ContainsAny(args[0], "./"):
		return false, nil
	}
	_, err := os.Stat(args[0])
	return errors.Is(err, os.ErrNotExist), nil
}

// protectGuests protects guests that libvirt has on this host, running or not.
func (a *app) protectGuests(ctx context.Context, names []string, o protection) error {
	var here agent.GuestsResult
	if err := a.call(ctx, agent.MethodGuests, struct{}{}, &here); err != nil {
		if code := control.CodeOf(err); (code == control.Refused || code == control.NotRunning) && len(names) == 1 {
			return fail(exitUsage, "there is no file %s: to protect a machine of that name give --datastore and --memory too (nor is it a guest of libvirt that can be protected: %v)", names[0], err)
		}
		return err
	}
	if o.all {
		names = here.Names
	}
	guests, errs := a.judgeGuests(ctx, here, names, o)
	if o.dryRun || errs.join() != nil && !o.all {
		return errs.join()
	}
	done := make([]changed, 0, len(guests))
	for i := range guests {
		text, err := a.protectGuest(ctx, here, &guests[i], o)
		errs.add(err)
		if err == nil {
			done = append(done, changed{Machine: guests[i].Name, Done: text})
		}
	}
	errs.add(a.print(done, func() error { return a.showChanged(done) }))
	return errs.join()
}

// judgeGuests finds out which guests can be protected, and tells why the others can't.
func (a *app) judgeGuests(ctx context.Context, here agent.GuestsResult, names []string, o protection) (good []hypervisor.Guest, errs failures) {
	for _, name := range names {
		if !slices.Contains(here.Names, name) {
			errs.add(notFound("guest of libvirt on this host", name, here.Names, "virsh list --all"))
			continue
		}
		var g hypervisor.Guest
		if err := a.call(ctx, agent.MethodExport, agent.ExportRequest{Name: name}, &g); err != nil {
			errs.add(err)
			continue
		}
		if err := a.judgeGuest(&g, o); err != nil {
			errs.add(err)
			continue
		}
		good = append(good, g)
	}
	return good, errs
}

// judgeGuest tells what is to be said of a guest, and refuses one that has problems.
func (a *app) judgeGuest(g *hypervisor.Guest, o protection) error {
	for _, w := range g.Warnings {
		fmt.Fprintf(a.errOut, "note: %s: %s\n", g.Name, w)
	}
	if len(g.Problems) > 0 {
		return control.Errorf(control.Refused, "%s can't be protected: %s", firstOf(g.Name, "the guest"), strings.Join(g.Problems, "; "))
	}
	if o.dryRun {
		fmt.Fprintf(a.errOut, "%s can be protected: its home is %s\n", g.Name, g.Datastore)
	}
	return nil
}

// protectGuest protects one guest. One that runs is taken over by the agent of this
// host before any other host may start it.
func (a *app) protectGuest(ctx context.Context, here agent.GuestsResult, g *hypervisor.Guest, o protection) (string, error) {
	v, err := a.view(ctx, false)
	if err != nil {
		return "", err
	}
	home, err := v.datastore(g.Datastore)
	if err != nil {
		return "", err
	}
	entry := poweron.Entry{VM: g.VM, Name: g.Name, Protected: true, Desired: poweron.Running, Policy: a.defaultPolicy(v), Driver: here.Driver, Definition: g.Definition, Memory: g.Memory}
	protect := func(rules poweron.Rules) (string, error) {
		entry.Rules = rules
		return a.change(ctx, core.Command{Verb: core.Protect, Datastore: home.ID, Entry: entry})
	}
	old := v.entryOf(&wish{Entry: entry}, home.ID)
	if old != nil {
		entry.Rules = withoutEnrolling(old.Rules)
	}
	if old != nil && old.Protected {
		entry.Policy = old.Policy
	}
	entry.Policy = o.policy.Of(entry.Policy)
	if o.rules.any() {
		if entry.Rules, err = o.rules.placement.rules(v.hostID); err != nil {
			return "", err
		}
	}
	rules := entry.Rules
	switch {
	case old != nil && inCareOf(old, here.Host):
		return protect(rules)
	case old != nil && old.Host != 0 && old.Host != here.Host && g.Running:
		return "", control.Errorf(control.Refused, "%s is %s, and a guest of the same UUID runs on this host", g.Name, stateOn(old)).WithRemedy("end one of the two: they may damage each other's disks")
	case !g.Running || o.stopped:
		if entry.Desired = poweron.Stopped; old != nil && old.Protected {
			entry.Desired = old.Desired
		}
		return protect(rules)
	}
	if _, err := protect(whileEnrolling(rules, here.Host)); err != nil {
		return "", err
	}
	if err := a.awaitInCare(ctx, g); err != nil {
		return "", err
	}
	return protect(rules)
}

// defaultPolicy is that of the cluster's record, or of the configuration.
func (a *app) defaultPolicy(v cluster) poweron.Policy {
	policy := poweron.DefaultPolicy()
	if v.Cluster.Record != nil {
		policy = v.Cluster.Record.Machines
	} else if cfg, err := a.readConfig(); err == nil {
		policy = cfg.Machines
	}
	return policy
}

// inCareOf tells whether the host's agent has the machine's process.
func inCareOf(m *core.MachineView, host datastorehb.HostID) bool {
	return m.Protected && m.Host == host && (m.State == "running" || m.State == "frozen")
}

// whileEnrolling are the rules of a guest that only its own host may start.
func whileEnrolling(r poweron.Rules, host datastorehb.HostID) poweron.Rules {
	r.Groups = append(slices.Clone(r.Groups), enrolling)
	r.Must.Hosts = []datastorehb.HostID{host}
	return r
}

// withoutEnrolling takes back what an earlier attempt has left.
func withoutEnrolling(r poweron.Rules) poweron.Rules {
	if !slices.Contains(r.Groups, enrolling) {
		return r
	}
	r.Groups = slices.DeleteFunc(slices.Clone(r.Groups), func(g string) bool { return g == enrolling })
	r.Must.Hosts = nil
	return r
}

// awaitInCare waits until this host's agent has the guest's process. A machine
// that was held is let go for it.
func (a *app) awaitInCare(ctx context.Context, g *hypervisor.Guest) error {
	if _, err := a.change(ctx, core.Command{Verb: core.Start, VM: g.VM.String()}); err != nil {
		return err
	}
	told := map[string]string{}
	ticks := time.NewTicker(lookEvery)
	defer ticks.Stop()
	for deadline := time.Now().Add(takeOverTime); ; {
		v, err := a.view(ctx, true)
		if err != nil {
			return err
		}
		m, err := v.machine(g.VM.String())
		if err == nil && m.Phase == core.PhaseRunning && m.State == "running" {
			return nil
		}
		if err == nil {
			a.tellOnce(told, m)
		}
		if time.Now().After(deadline) {
			return fail(exitUnavailable, "%s is not protected yet: its host has not taken it over within %v, and until then it is started nowhere else: see `storebeat explain vm %s`, then repeat the command", g.Name, takeOverTime, g.Name)
		}
		select {
		case <-ctx.Done():
			return fail(exitUnavailable, "interrupted: %s is not protected yet; repeat the command", g.Name)
		case <-ticks.C:
		}
	}
}
