package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"storebeat/agent"
	"storebeat/agent/core"
	"storebeat/agent/hypervisor"
	"storebeat/poweron"
)

func newVM(a *app) *cobra.Command {
	return newGroup("vm", "Protect, start, stop and list machines",
		newProtect(a), newUnprotect(a), newSet(a), newStart(a), newStop(a), newVMList(a), newVMShow(a), newExport(a))
}

func newVMList(a *app) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the protected machines with their states",
		Long: `Lists the protected machines: where each runs, or why it does not.

States: running, starting, stopping, stopped; what the guest is instead of running, such
as paused or io-error (its disk failed); kill-pending (it is to be ended, and waits for
its requests to the storage); frozen (its host has no lease on the home datastore),
waiting (to be started, with the reason), left off (its host was shut down and is not
back, and its policy is to wait for that), held (it failed too often), undetermined
(nobody knows whether it runs, so it is not started), unknown (its entry can't be read).`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := a.view(cmd.Context(), false)
			if err != nil {
				return err
			}
			shown := v.machinesShown(all)
			return a.print(shown, func() error {
				a.noteView(v)
				return a.showMachines(v, shown)
			})
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "also machines that were taken off the protected list")
	return cmd
}

func (v cluster) machinesShown(all bool) []core.MachineView {
	shown := []core.MachineView{}
	for _, m := range v.Machines {
		// An entry that can't be read may be that of a protected machine.
		if all || m.Protected || m.State == "unknown" {
			shown = append(shown, m)
		}
	}
	return shown
}

// complete reports whether the view is that of a master that has read where every machine is,
// so that a machine which is not in it is nowhere. A new master has not for a moment.
func (v cluster) complete() bool {
	return v.Leading && !slices.ContainsFunc(v.Datastores, func(d core.DatastoreView) bool { return d.State == "available" && !d.Scanned })
}

// unread lists the datastores whose machines are not known.
func (v cluster) unread() (names []string) {
	for i := range v.Datastores {
		if !v.Datastores[i].Scanned {
			names = append(names, v.Datastores[i].Name)
		}
	}
	return names
}

func (a *app) showMachines(v cluster, machines []core.MachineView) error {
	if unread := v.unread(); len(unread) > 0 {
		fmt.Fprintf(a.errOut, "note: the machines on %s have not been read yet\n", strings.Join(unread, ", "))
	}
	if len(machines) == 0 {
		_, err := fmt.Fprintln(a.out, "No machine is known to be protected: see storebeat vm protect --help")
		return err
	}
	rows := [][]string{{"MACHINE", "STATE", "HOST", "DATASTORE", "PRIORITY", "MEMORY", "WHY"}}
	for i := range machines {
		m := &machines[i]
		state := shownState(m)
		if !m.Protected && m.State != "unknown" {
			state += ", not protected"
		}
		rows = append(rows, []string{firstOf(m.Name, m.VM.String()), state, m.HostName, m.Home, fmt.Sprint(m.Policy.Priority), humanize.IBytes(m.Memory), whyNot(m)})
	}
	return a.table(rows)
}

// whyNot leaves the reason out where all is well.
func whyNot(m *core.MachineView) string {
	if m.State == "running" && m.Desired == "running" {
		return m.Condition.Why
	}
	return m.Why
}

func newVMShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show one machine: state, policy, right to run, and where it could run",
		Long: `Shows one machine, and where it could run now: for each host where it could not, why. The
master is asked, and goes by what it plans by: the hosts' states, their datastores and
memory, the machine's rules, and what each host has of what the machine needs, such as
hypervisor drivers that work, network bridges, machine types and models of processor.
What a host has not said is not held against it.`,
		Args: arguments(1, 1), ValidArgsFunction: one(a.completeMachines),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := a.view(cmd.Context(), false)
			if err != nil {
				return err
			}
			m, err := v.machine(args[0])
			if err != nil {
				return err
			}
			shown := machineShown{MachineView: m}
			if err := a.call(cmd.Context(), agent.MethodPlaces, agent.PlacesRequest{VM: m.VM}, &shown.Places); err != nil {
				fmt.Fprintf(a.errOut, "note: where it could run is not known: %v\n", err)
			}
			var use hypervisor.Statistics
			if m.Host != 0 && a.call(cmd.Context(), agent.MethodUse, agent.UseRequest{VM: m.VM}, &use) == nil { // else it has none, or its host does not answer
				shown.Use = &use
			}
			return a.print(shown, func() error { return a.showMachine(v, shown) })
		},
	}
}

// machineShown is what `vm show` knows of a machine.
type machineShown struct {
	core.MachineView
	Places []poweron.Place        `json:"places"`        // null when nobody could tell
	Use    *hypervisor.Statistics `json:"use,omitempty"` // since its process began
}

// use says what the machine has used since its process began.
func (p *pairs) use(u *hypervisor.Statistics) {
	if u == nil {
		return
	}
	p.add("Used", "%v of processor time, %s of memory", u.CPU.Round(10*time.Millisecond), humanize.IBytes(u.Memory))
	var lines []string
	for _, d := range u.Disks {
		lines = append(lines, fmt.Sprintf("disk %s: %s read, %s written", d.Name, humanize.IBytes(d.Read), humanize.IBytes(d.Written)))
	}
	for _, n := range u.Interfaces {
		lines = append(lines, fmt.Sprintf("network %s: %s received, %s sent", n.Name, humanize.IBytes(n.Received), humanize.IBytes(n.Sent)))
	}
	p.list("", lines)
}

// places says where a machine could run now, and of each other host why it could not.
func (p *pairs) places(places []poweron.Place) {
	var could, not []string
	nowhere := "no host"
	for _, at := range places {
		switch {
		case at.Here:
			nowhere = "no other host"
		case at.Refusal != "":
			not = append(not, at.Name+" "+at.Refusal)
		case at.Unknown:
			could = append(could, at.Name+" (it has not said what it has)")
		default:
			could = append(could, at.Name)
		}
	}
	if len(could) == 0 {
		could = []string{nowhere}
	}
	p.add("Could run on", "%s", strings.Join(could, ", "))
	p.list("Not on", not)
}

func (a *app) showMachine(v cluster, m machineShown) error {
	p := a.pairs()
	p.add("Machine", "%s", m.Name)
	p.add("UUID", "%s", m.VM)
	p.add("State", "%s", stateOn(&m.MachineView))
	p.add("Why", "%s", m.Why)
	p.add("Guest", "%s", m.Condition.Why)
	p.list("To look at", m.Condition.Remarks)
	if m.Places != nil {
		p.places(m.Places)
	} else {
		p.list("Refused by", m.Refusals)
	}
	p.add("Wanted", "%s%s", m.Desired, map[bool]string{false: ", not protected"}[m.Protected])
	p.add("Datastore", "%s", m.Home)
	p.add("Driver", "%s", m.Driver)
	p.add("Memory", "%s", humanize.IBytes(m.Memory))
	p.use(m.Use)
	p.add("Right to run", "%s", generationOf(&m.MachineView))
	if m.Failures > 0 {
		p.add("Failures", "%d in a row (held at %d)", m.Failures, m.Policy.Limit)
	}
	p.add("Groups", "%s", strings.Join(m.Rules.Groups, ", "))
	p.list("Must be", v.rulesOf(m.Rules.Must))
	p.list("Should be", v.rulesOf(m.Rules.Prefer))
	p.list("Broken rules", rulesBroken(&m.MachineView))
	policy := m.Policy
	p.add("Priority", "%d", policy.Priority)
	p.add("Restart", "%s", yes(policy.Restart))
	p.add("If isolated", "%s", policy.Isolation)
	p.add("After a crash", "%d attempts on the same host, held after %d failures within %v of each other", policy.Attempts, policy.Limit, policy.Window)
	p.add("Stop time", "%v", policy.StopTime)
	p.add("Guest shut down", "%s", policy.OnGuestShutDown)
	p.add("Host shutdown", "%s", onHostShutdown(policy))
	p.add("If proof runs out", "%s", onPause(policy))
	return p.flush()
}

func onHostShutdown(p poweron.Policy) string {
	p = p.Complete()
	if p.OnHostShutdown == poweron.WaitForReboot {
		return fmt.Sprintf("%s for the reboot for %v", p.OnHostShutdown, p.RebootWait)
	}
	return string(p.OnHostShutdown)
}

func onPause(p poweron.Policy) string {
	switch p.Complete().Pause {
	case poweron.Freeze:
		return "frozen from outside; its clock goes on"
	case poweron.StopThenFreeze:
		return "stopped by the hypervisor with its clock, then frozen"
	}
	return "frozen from outside; if it has an emulated watchdog, stopped by the hypervisor before"
}

func stateOn(m *core.MachineView) string {
	if m.HostName == "" {
		return shownState(m)
	}
	return shownState(m) + " on " + m.HostName
}
