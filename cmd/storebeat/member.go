package main

import (
	"fmt"
	"net/netip"

	"github.com/spf13/cobra"

	"storebeat/agent/config"
	"storebeat/agent/core"
	clusterrecord "storebeat/agent/core/cluster"
	"storebeat/datastorehb"
)

// addressOptions are a host's addresses as a user gives them.
type addressOptions struct{ heartbeat, management string }

func (o *addressOptions) flags(cmd *cobra.Command, heartbeat string) {
	cmd.Flags().StringVar(&o.heartbeat, "address", "", heartbeat+fmt.Sprintf(", with the port if it is not %d", config.HeartbeatPort))
	cmd.Flags().StringVar(&o.management, "management", "", fmt.Sprintf("`address` for requests between agents, if it is another, with the port if it is not %d", config.ManagementPort))
}

// fill fills in the addresses that were given, and the management address that
// goes with a heartbeat address alone.
func (o *addressOptions) fill(m *clusterrecord.Member) error {
	var err error
	if o.heartbeat != "" {
		if m.Heartbeat, err = addressWith(o.heartbeat, config.HeartbeatPort); err != nil {
			return fail(exitUsage, "--address %q is no IP address: write it as in --address 10.0.0.3", o.heartbeat)
		}
		m.Management = netip.AddrPortFrom(m.Heartbeat.Addr(), config.ManagementPort)
	}
	if o.management != "" {
		if m.Management, err = addressWith(o.management, config.ManagementPort); err != nil {
			return fail(exitUsage, "--management %q is no IP address: write it as in --management 10.0.0.3", o.management)
		}
	}
	return nil
}

func addressWith(text string, port uint16) (netip.AddrPort, error) {
	if at, err := netip.ParseAddrPort(text); err == nil {
		return at, nil
	}
	address, err := netip.ParseAddr(text)
	return netip.AddrPortFrom(address, port), err
}

func newHostAdd(a *app) *cobra.Command {
	var addresses addressOptions
	var id uint16
	var replace bool
	var without []string
	cmd := &cobra.Command{
		Use:   "add NAME --address ADDRESS",
		Short: "Take a host into the cluster",
		Long: `Makes a host a member of the cluster, with an id of its own. It takes part once its
agent runs there with that name and id: "storebeat join" on the new host does all of
it, this command included. The first computer that is heard under the id is the member
from then on, and another one under the same id is recognised and takes no part.

--replace says that another computer takes the place of the member NAME, with its name
and id, which must be off; its addresses stay as they are unless others are given.`,
		Example: `  storebeat host add gamma --address 10.0.0.3
  storebeat host add gamma --replace`,
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m := clusterrecord.Member{Name: args[0], ID: datastorehb.HostID(id)}
			if err := addresses.fill(&m); err != nil {
				return err
			}
			if !m.Heartbeat.IsValid() && !replace {
				return fail(exitUsage, "no address is given for %s: write it as in --address 10.0.0.3", args[0])
			}
			return a.changeCluster(cmd.Context(), core.ClusterCommand{Verb: core.ClusterHostAdd, Member: &m, Replace: replace, Without: without})
		},
	}
	addresses.flags(cmd, "`address` for network heartbeats")
	cmd.Flags().Uint16Var(&id, "id", 0, "host `id`; without it the lowest one that no host ever had")
	cmd.Flags().BoolVar(&replace, "replace", false, "another computer takes the place of the member of that name")
	a.withoutFlag(cmd, &without)
	return cmd
}

func newHostRemove(a *app) *cobra.Command {
	var without []string
	cmd := &cobra.Command{
		Use: "remove NAME", Aliases: []string{"rm"}, Short: "Take a host out of the cluster",
		Long: `Takes a host out of the cluster. It is refused while machines are in its name: move
those of a living host first ("storebeat host maintenance on NAME --move"); those of a
dead one are taken over by themselves. A removed host whose agent still runs, or runs
again, claims and starts nothing and says why.

Its id is not given to another host by itself; "host add --id" may take it again once
nothing is in its name.`,
		Args: arguments(1, 1), ValidArgsFunction: a.completeHosts,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeCluster(cmd.Context(), core.ClusterCommand{Verb: core.ClusterHostRemove, Host: args[0], Without: without})
		},
	}
	a.withoutFlag(cmd, &without)
	return cmd
}

func newHostRename(a *app) *cobra.Command {
	var without []string
	cmd := &cobra.Command{
		Use: "rename OLD NEW", Short: "Give a host another name",
		Long: `Gives a host another name in the cluster record; its id stays. Machines, rules and
rights hang on the id, so nothing is disturbed. Write the new name into the host's own
configuration file (host block and self) at your leisure: status names the difference
until then.`,
		Args: arguments(2, 2), ValidArgsFunction: a.completeHosts,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeCluster(cmd.Context(), core.ClusterCommand{Verb: core.ClusterHostSet, Host: args[0], Member: &clusterrecord.Member{Name: args[1]}, Without: without})
		},
	}
	a.withoutFlag(cmd, &without)
	return cmd
}

func newHostSet(a *app) *cobra.Command {
	var addresses addressOptions
	var without []string
	cmd := &cobra.Command{
		Use: "set NAME --address ADDRESS", Short: "Change where a host is reached",
		Long: `Changes a host's addresses in the cluster record: the others send there from then on.
The host itself listens where its own configuration file says; change that file and
restart its agent around the same time.`,
		Example: `  storebeat host set gamma --address 10.0.0.33`,
		Args:    arguments(1, 1), ValidArgsFunction: a.completeHosts,
		RunE: func(cmd *cobra.Command, args []string) error {
			var m clusterrecord.Member
			if err := addresses.fill(&m); err != nil {
				return err
			}
			if !m.Heartbeat.IsValid() && !m.Management.IsValid() {
				return fail(exitUsage, "nothing is given to be changed: write it as in --address 10.0.0.3")
			}
			return a.changeCluster(cmd.Context(), core.ClusterCommand{Verb: core.ClusterHostSet, Host: args[0], Member: &m, Without: without})
		},
	}
	addresses.flags(cmd, "`address` for network heartbeats")
	a.withoutFlag(cmd, &without)
	return cmd
}
