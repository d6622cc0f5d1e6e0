package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"storebeat/agent"
	"storebeat/agent/core"
)

func newClusterPause(a *app) *cobra.Command {
	c := core.ClusterCommand{Verb: core.ClusterPause}
	cmd := &cobra.Command{
		Use:   "pause",
		Short: "Pause the cluster for planned work on storage or network",
		Long: `Has every host take its machines into custody, with its agent running on: for as long as
the pause lasts no machine is frozen, stopped or taken over, whatever storage and network
do. What fails meanwhile is not restarted either. An agent may restart; a host that loses
power is taken over only by "storebeat host confirm-dead".

The command returns when the machines of all live hosts are in custody, and names those
that are not. Do the work after that. The pause ends by itself after --for, or with
"storebeat cluster resume". End it when storage and network work again: a host that can't
renew its leases then has its machines frozen as usual.`,
		Example: `  storebeat cluster pause --for 2h --why "new switch"
  storebeat cluster resume`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.pauseCluster(cmd.Context(), c) },
	}
	cmd.Flags().DurationVar(&c.For, "for", time.Hour, "end the pause after so `long`, at most 168h")
	cmd.Flags().StringVar(&c.Why, "why", "planned work", "`text` for whoever looks at the status")
	a.withoutFlag(cmd, &c.Without)
	return cmd
}

func newClusterResume(a *app) *cobra.Command {
	c := core.ClusterCommand{Verb: core.ClusterResume}
	cmd := &cobra.Command{
		Use: "resume", Short: "End a pause of the cluster", Args: arguments(0, 0),
		Long: `Ends a pause. Every host takes its machines out of custody, and lost ones are restarted
again, as soon as it has read that the pause is over.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.changeCluster(cmd.Context(), c) },
	}
	a.withoutFlag(cmd, &c.Without)
	return cmd
}

// pauseWithin is how long to wait until all machines are in custody.
const pauseWithin = time.Minute

func (a *app) pauseCluster(ctx context.Context, c core.ClusterCommand) error {
	var result agent.CommandResult
	if err := a.call(ctx, agent.MethodCluster, c, &result); err != nil {
		return err
	}
	told, deadline := "", time.Now().Add(pauseWithin)
	ticks := time.NewTicker(lookEvery)
	defer ticks.Stop()
	for {
		v, err := a.view(ctx, false)
		if err != nil {
			return err
		}
		missing := v.notInCustody()
		if len(missing) == 0 && v.Leading {
			return a.print(result, func() error {
				_, err := fmt.Fprintf(a.out, "%s; the machines of all live hosts are in custody\n", result.Text)
				return err
			})
		}
		if line := strings.Join(missing, ", "); line != told && line != "" {
			told = line
			fmt.Fprintln(a.errOut, "waiting for "+line)
		}
		if time.Now().After(deadline) {
			return fail(exitUnavailable, "the cluster is paused, but not in custody after %v: %s; their machines may still be frozen: look with `storebeat status`, or end the pause with `storebeat cluster resume`", pauseWithin, strings.Join(missing, ", "))
		}
		select {
		case <-ctx.Done():
			return fail(exitUnavailable, "interrupted while waiting: the cluster is paused; see `storebeat status`")
		case <-ticks.C:
		}
	}
}

// notInCustody names the live hosts with machines that a pause does not keep yet.
func (v cluster) notInCustody() (names []string) {
	for i := range v.Hosts {
		h := &v.Hosts[i]
		if live := h.State == "live" || h.State == "maintenance" || h.State == "storage-lost"; live && len(h.NotInCustody) > 0 {
			names = append(names, fmt.Sprintf("%s (on %s)", h.Name, strings.Join(h.NotInCustody, ", ")))
		}
	}
	return names
}
