package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"storebeat/agent/control"
	"storebeat/agent/core"
	"storebeat/datastorehb"
	"storebeat/partition"
	"storebeat/poweron"
)

const localHelp = "this host's own view, even when there is a master to ask"

func newStatus(a *app) *cobra.Command {
	var local bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the whole cluster, its problems first",
		Long: `Shows the cluster: what is wrong first, then hosts, datastores and how many machines
are in which state. The master is asked, who alone watches everything; if it can't be
reached, this host's own view is shown, and it says so.`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := a.view(cmd.Context(), local)
			if err != nil {
				return err
			}
			short, err := a.shortfallsOf(cmd.Context(), v)
			if err != nil {
				fmt.Fprintf(a.errOut, "note: it is not known whether the rest could take any host's machines: %v\n", err)
			}
			return a.print(statusResult{v.View, short}, func() error { return a.showStatus(v, short...) })
		},
	}
	cmd.Flags().BoolVar(&local, "local", false, localHelp)
	return cmd
}

// statusResult is what status prints with -o json.
type statusResult struct {
	core.View
	Shortfalls []poweron.Shortfall `json:"shortfalls"` // null when it is not known
}

// shortfallsOf asks only where the view is the master's: nobody else could answer.
func (a *app) shortfallsOf(ctx context.Context, v cluster) ([]poweron.Shortfall, error) {
	if !v.Leading {
		return nil, nil
	}
	return a.shortfalls(ctx)
}

func (a *app) showStatus(v cluster, short ...poweron.Shortfall) error {
	t := v.Timing
	fmt.Fprintf(a.out, "Master    %s\n", v.masterLine())
	fmt.Fprintf(a.out, "Timing    heartbeat every %v, lease %v, takeover after %v\n", t.Interval, t.Lease, t.Takeover)
	fmt.Fprintf(a.out, "Machines  %s\n", v.machinesLine())
	problems := append(v.problems(), shortRows(short)...)
	if len(problems) > 0 {
		fmt.Fprintf(a.out, "\nProblems\n")
		if err := a.table(problems); err != nil {
			return err
		}
	}
	fmt.Fprintln(a.out)
	if err := a.showHosts(v); err != nil {
		return err
	}
	fmt.Fprintln(a.out)
	return a.showDatastores(v)
}

// masterLine says who is master and whose view this is.
func (v cluster) masterLine() string {
	switch {
	case v.Leading:
		return v.Name + " (this is its view)"
	case v.Master == 0:
		return fmt.Sprintf("none (this is the view of %s; a new one is elected within seconds)", v.Name)
	}
	return fmt.Sprintf("%s (this is the view of %s: it does not watch the other hosts)", v.MasterName, v.Name)
}

// machinesLine counts the protected machines by state.
func (v cluster) machinesLine() string {
	states, total := map[string]int{}, 0
	for i := range v.Machines {
		if v.Machines[i].Protected {
			states[shownState(&v.Machines[i])]++
			total++
		}
	}
	names := slices.Sorted(maps.Keys(states))
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(rankOf(a), rankOf(b)) })
	parts := make([]string, 0, len(names))
	for _, state := range names {
		parts = append(parts, fmt.Sprintf("%d %s", states[state], state))
	}
	line := fmt.Sprintf("%d protected: %s", total, strings.Join(parts, ", "))
	if total == 0 {
		line = "none is known to be protected"
	}
	if unread := v.unread(); len(unread) > 0 {
		line += "; those on " + strings.Join(unread, ", ") + " have not been read yet"
	}
	return line
}

// rankOf puts what runs first.
func rankOf(state string) int {
	if state == "running" {
		return 0
	}
	return 1
}

// problems lists all that is not as it should be: kind, name, state, why.
func (v cluster) problems() (rows [][]string) {
	add := func(kind, name, state, why string) { rows = append(rows, []string{"  " + kind, name, state, why}) }
	if v.Master == 0 {
		add("cluster", "-", "no master", "no host decides about restarts until one is elected")
	}
	if v.Isolated {
		add("host", v.Name, "isolated", "it hears no other host and no isolation address")
	}
	if !v.GuardUp {
		add("host", v.Name, "no guard", "its machines are frozen until a guard is back (R11)")
	}
	v.recordProblems(add)
	for i := range v.Hosts {
		if h := &v.Hosts[i]; v.worrying(h) {
			add("host", h.Name, stateOf(h), firstOf(v.custodyLine(h), h.Rule))
		}
		if h := &v.Hosts[i]; h.Uninhibited {
			add("host", h.Name, "no delay", v.uninhibitedLine(h))
		}
	}
	for i := range v.Datastores {
		if d := &v.Datastores[i]; d.State != "available" || d.ReadError != "" {
			add("datastore", d.Name, d.State, cmp.Or(d.Why, d.ReadError, "seen from "+v.Name))
		}
	}
	for i := range v.Machines {
		// What this host does not run itself, only the master knows well.
		m := &v.Machines[i]
		name := cmp.Or(m.Name, m.VM.String())
		if troubled(m) && (v.Leading || m.Host == v.Host) {
			add("machine", name, m.State, m.Why)
		} else if m.Protected && m.Condition.Why+m.Condition.Guest != "" {
			add("machine", name, shownState(m), cmp.Or(m.Condition.Why, "its guest stands still; storebeat events tells since when, and may tell why"))
		}
		for _, remark := range m.Condition.Remarks {
			add("machine", name, shownState(m), remark)
		}
		for _, why := range rulesBroken(&v.Machines[i]) {
			add("rules", v.Machines[i].Name, "broken", why)
		}
	}
	return rows
}

// custodyLine says what is unprotected while a host's machines are in custody, and
// what to do about it.
func (v cluster) custodyLine(h *core.HostView) string {
	if len(h.Custody) == 0 {
		return ""
	}
	machines := "its machines"
	if on := v.machinesOn(h); len(on) > 0 {
		machines = count(len(on), "machine") + " (" + shortList(on, 5) + ")"
	}
	line := fmt.Sprintf("%s: %s on %s run on and nobody starts them elsewhere; start the agent there, or if the host is off: storebeat host confirm-dead %s",
		firstOf(leftLine(h), "its agent has not taken them over again"), machines, strings.Join(h.Custody, ", "), h.Name)
	if h.Rule == partition.RuleNoAnswer {
		line += " (it answers no ping)"
	}
	return line
}

// uninhibitedLine says what it means that a host would not wait for its agent at a shutdown.
func (v cluster) uninhibitedLine(h *core.HostView) string {
	line := "at a shutdown its machines are stopped only when systemd stops the agent, while network and mounts may be going"
	if h.ID == v.Host && v.Inhibited != nil && v.Inhibited.Why != "" {
		return line + ": " + v.Inhibited.Why
	}
	return line + "; `storebeat events --kind host-not-inhibited` there has the reason"
}

// leftLine says who stopped a host's agent, and when by that host's own clock.
func leftLine(h *core.HostView) string {
	if h.Leave.By == 0 {
		return ""
	}
	who := h.Leave.String()
	if h.Leave.By == datastorehb.LeftByUser {
		// By this host's list of users, which is like that host's unless its operators are careless.
		who = control.UserName(h.Leave.User)
	}
	return fmt.Sprintf("stopped by %s at %s", who, time.Unix(h.Leave.Wall, 0).Format("2006-01-02 15:04:05"))
}

// shortList names the first few of a list.
func shortList(names []string, most int) string {
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}

// worrying leaves out what this host does not watch, when it is not the master.
func (v cluster) worrying(h *core.HostView) bool {
	switch h.State {
	case "live", "maintenance":
		return false
	case "undetermined":
		return v.Leading
	case "isolated":
		return h.ID != v.Host
	}
	return true
}

// shownState is how a machine is: where it runs, its guest may not.
func shownState(m *core.MachineView) string {
	if m.State == core.PhaseRunning && m.Condition.Guest != "" || m.Condition.Guest == core.KillPending {
		return m.Condition.Guest
	}
	return m.State
}

// troubled says whether a machine is not where its user wants it.
func troubled(m *core.MachineView) bool {
	if !m.Protected {
		return false
	}
	switch m.State {
	case "frozen", "waiting", core.LeftOff, "held", "undetermined", "unknown":
		return true
	}
	return m.State == "stopped" && m.Desired == "running"
}

func stateOf(h *core.HostView) string {
	if len(h.Custody) > 0 {
		return h.State + " (custody)"
	}
	if len(h.Lost) > 0 {
		return h.State + " (" + strings.Join(h.Lost, ", ") + ")"
	}
	return h.State
}
