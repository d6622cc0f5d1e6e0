package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"storebeat/agent"
	"storebeat/agent/core"
)

func newMaintenance(a *app) *cobra.Command {
	m := newGroup("maintenance", "Begin and end the maintenance of a host", newMaintenanceOn(a), newMaintenanceOff(a))
	m.Long = `A host in maintenance gets no new machines; those that are there stay and run, unless it
is begun with --move. Maintenance stands in the cluster record: it outlives reboots and a
change of the master, and ends only when it is ended.`
	return m
}

func newMaintenanceOn(a *app) *cobra.Command {
	var move bool
	cmd := &cobra.Command{
		Use:   "on [HOST]",
		Short: "Begin maintenance: no machine is started on the host any more",
		Long: `Begins the maintenance of HOST, by default of this one. With --move its machines are
stopped in good order, one by one (those that must be together at once), each within its
own time, and started on other hosts before the next one is stopped. The command shows
how that goes, and returns when none is left, or says which machines can't be moved and
why; they run on where they are, and are moved as soon as it can be done.

Interrupting the command does not end the maintenance. Machines that are not protected are
not touched.`,
		Example: `  storebeat host maintenance on
  storebeat host maintenance on beta --move`,
		Args: arguments(0, 1), ValidArgsFunction: a.completeHosts,
		RunE: func(cmd *cobra.Command, args []string) error {
			var left func(cluster, *core.HostView) []string
			if move {
				left = staying
			}
			return a.maintain(cmd.Context(), args, core.ClusterCommand{On: true, Move: move}, left)
		},
	}
	cmd.Flags().BoolVar(&move, "move", false, "move the host's machines elsewhere, one by one")
	return cmd
}

func newMaintenanceOff(a *app) *cobra.Command {
	var back bool
	cmd := &cobra.Command{
		Use:   "off [HOST]",
		Short: "End maintenance: the host takes machines again",
		Long: `Ends the maintenance of HOST, by default of this one. With --return the machines that were
there when it began with --move are brought back, one by one in the same way. What can't
be brought back stays where it runs, and the command says why.`,
		Example: `  storebeat host maintenance off beta --return`,
		Args:    arguments(0, 1), ValidArgsFunction: a.completeHosts,
		RunE: func(cmd *cobra.Command, args []string) error {
			r := &returning{}
			var left func(cluster, *core.HostView) []string
			if back {
				left = r.left
			}
			err := a.maintain(cmd.Context(), args, core.ClusterCommand{Return: back}, left)
			if err == nil && len(r.away) > 0 {
				return fail(exitRefused, "%s could not be brought back and run on where they are: `storebeat events --cluster --kind machine-not-moved --evidence` tells why", strings.Join(r.away, ", "))
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&back, "return", false, "bring back the machines that were moved away")
	return cmd
}

// stuckFor is how long nothing must have moved before the command gives up waiting.
const stuckFor = 10 * time.Second

// maintain asks for a change, and then shows how it goes until nothing is left to
// be done by what left says, or nothing goes on.
func (a *app) maintain(ctx context.Context, args []string, c core.ClusterCommand, left func(cluster, *core.HostView) []string) error {
	c.Verb = core.ClusterMaintenance
	if len(args) == 1 {
		c.Host = args[0]
	} else if v, err := a.view(ctx, true); err != nil {
		return err
	} else {
		c.Host = v.Name
	}
	var result agent.CommandResult
	if err := a.call(ctx, agent.MethodCluster, c, &result); err != nil {
		return err
	}
	if left != nil {
		fmt.Fprintln(a.errOut, result.Text)
		if err := a.followMoves(ctx, c.Host, left); err != nil {
			return err
		}
		result.Text = "no machine is left to be moved"
	}
	return a.print(result, func() error {
		_, err := fmt.Fprintln(a.out, result.Text)
		return err
	})
}

// followMoves tells on standard error how each machine gets from one host to another.
func (a *app) followMoves(ctx context.Context, host string, left func(cluster, *core.HostView) []string) error {
	told, before, since := map[string]string{}, "", time.Now()
	ticks := time.NewTicker(lookEvery)
	defer ticks.Stop()
	for {
		v, err := a.view(ctx, false)
		if err != nil {
			return err
		}
		h, err := v.host(host)
		if err != nil {
			return err
		}
		waiting := left(v, &h)
		if len(waiting) == 0 && v.complete() {
			if len(h.Unprotected) > 0 {
				fmt.Fprintf(a.errOut, "note: not protected, and so not moved: %s; protect them with `storebeat vm protect`, or stop them\n", strings.Join(h.Unprotected, ", "))
			}
			return nil
		}
		for i := range v.Machines {
			if m := &v.Machines[i]; slices.Contains(waiting, m.Name) || told[m.Name] != "" {
				a.tellOnce(told, core.MachineView{Name: m.Name, State: m.State, Host: m.Host, HostName: m.HostName})
			}
		}
		if now := fmt.Sprint(waiting, told); now != before || !v.complete() {
			before, since = now, time.Now()
		}
		if len(h.Stuck) > 0 && time.Since(since) > stuckFor {
			return fail(exitRefused, "%s can't be moved for now: %s; what is in the way stays as it is, and they move once it is gone", strings.Join(waiting, ", "), strings.Join(h.Stuck, "; "))
		}
		select {
		case <-ctx.Done():
			return fail(exitUnavailable, "interrupted while waiting: it goes on without this command; see `storebeat host show %s`", host)
		case <-ticks.C:
		}
	}
}

// staying lists the protected machines that are on a host still.
func staying(v cluster, h *core.HostView) (names []string) {
	for i := range v.Machines {
		if m := &v.Machines[i]; m.Host == h.ID && m.Protected && m.Desired == "running" {
			names = append(names, m.Name)
		}
	}
	return names
}

// returning are the machines that shall be brought back to a host.
type returning struct {
	machines []uuid.UUID // all of them
	away     []string    // those that are not there, as of the last look
}

// left lists the machines that are still to be brought back.
func (r *returning) left(v cluster, h *core.HostView) (names []string) {
	if r.machines == nil && v.complete() {
		r.machines = h.Returning
	}
	r.away = nil
	for i := range v.Machines {
		m := &v.Machines[i]
		if !slices.Contains(r.machines, m.VM) || m.Host == h.ID || !m.Protected || m.Desired != "running" {
			continue
		}
		r.away = append(r.away, m.Name)
		if slices.Contains(h.Returning, m.VM) {
			names = append(names, m.Name)
		}
	}
	return names
}
