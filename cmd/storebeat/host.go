package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"storebeat/agent/core"
)

func newHost(a *app) *cobra.Command {
	return newGroup("host", "List, add, remove and show hosts, take them out of service, confirm one dead",
		newHostList(a), newHostShow(a), newHostToken(a), newHostAdd(a), newHostRemove(a), newHostRename(a), newHostSet(a), newMaintenance(a), newConfirmDead(a))
}

func newHostList(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the hosts of the cluster with their states", Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := a.view(cmd.Context(), false)
			if err != nil {
				return err
			}
			return a.print(v.Hosts, func() error {
				a.noteView(v)
				return a.showHosts(v)
			})
		},
	}
}

func (a *app) showHosts(v cluster) error {
	rows := [][]string{{"HOST", "ID", "STATE", "FOR", "MACHINES", "MEMORY", "ROLE"}}
	for i := range v.Hosts {
		h := &v.Hosts[i]
		role := ""
		if h.Master {
			role = "master"
		}
		rows = append(rows, []string{h.Name, fmt.Sprint(h.ID), stateOf(h), age(h.For), fmt.Sprint(h.Machines), memoryOf(h), role})
	}
	return a.table(rows)
}

// noteView warns of a view that does not show the whole cluster.
func (a *app) noteView(v cluster) {
	if !v.Leading {
		fmt.Fprintf(a.errOut, "note: master is %s\n", v.masterLine())
	}
}

// memoryOf shows what machines use of what they may use; of a host that is gone
// it is not known.
func memoryOf(h *core.HostView) string {
	switch h.State {
	case "dead", "agent-down", "unreachable":
		return ""
	}
	if h.MemoryTotal == 0 {
		return ""
	}
	return humanize.IBytes(h.MemoryUsed) + " of " + humanize.IBytes(h.MemoryTotal)
}

func newHostShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show one host: state, evidence, and the machines it runs",
		Args: arguments(1, 1), ValidArgsFunction: a.completeHosts,
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := a.view(cmd.Context(), false)
			if err != nil {
				return err
			}
			h, err := v.host(args[0])
			if err != nil {
				return err
			}
			return a.print(h, func() error { return a.showHost(v, h) })
		},
	}
}

func (a *app) showHost(v cluster, h core.HostView) error {
	p := a.pairs()
	p.add("Host", "%s (id %d)", h.Name, h.ID)
	p.add("State", "%s", since(stateOf(&h), h.For))
	p.add("Rule", "%s", h.Rule)
	if h.Master {
		p.add("Role", "master")
	}
	p.add("Agent", "%s", leftLine(&h))
	p.add("Memory", "%s", memoryOf(&h))
	p.list("Drivers", driversOf(&h))
	if h.Machine != uuid.Nil {
		p.add("Computer", "machine-id %s", strings.ReplaceAll(h.Machine.String(), "-", ""))
	}
	if h.Lease > 0 {
		p.add("Timing", "in force there: lease %v, takeover after %v", h.Lease, h.Takeover)
	}
	if m := h.Maintenance; m != nil {
		p.add("Maintenance", "since %s; %s", m.Since.Local().Format(time.DateTime), map[bool]string{true: "its machines move elsewhere", false: "its machines stay"}[m.Move])
	}
	p.list("Not moved", h.Stuck)
	p.list("Not protected", h.Unprotected)
	p.list("Evidence", h.Evidence)
	p.list("Machines", v.machinesOn(&h))
	return p.flush()
}

// driversOf says how the host's hypervisor drivers are.
func driversOf(h *core.HostView) (lines []string) {
	for _, d := range h.Drivers {
		lines = append(lines, fmt.Sprintf("%s: %s", d.Name, firstOf(d.Problem, d.Version, "works")))
	}
	return lines
}

// machinesOn lists what runs on a host by what the datastores say.
func (v cluster) machinesOn(h *core.HostView) (lines []string) {
	for i := range v.Machines {
		if m := &v.Machines[i]; m.Host == h.ID {
			lines = append(lines, m.Name+" ("+m.State+")")
		}
	}
	return lines
}
