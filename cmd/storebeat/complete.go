package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// completionTime bounds what pressing the tab key may cost.
const completionTime = time.Second

// names are what names can be completed to.
type names struct{ hosts, datastores, machines []string }

// known asks the running agent, or else the configuration, which knows no machines.
func (a *app) known(ctx context.Context) (n names) {
	a.timeout = min(a.timeout, completionTime)
	if v, err := a.view(ctx, true); err == nil {
		for _, h := range v.Hosts {
			n.hosts = append(n.hosts, h.Name)
		}
		for _, d := range v.Datastores {
			n.datastores = append(n.datastores, d.Name)
		}
		for _, m := range v.Machines {
			n.machines = append(n.machines, m.Name)
		}
		return n
	}
	if cfg, err := a.readConfig(); err == nil {
		for _, h := range cfg.Hosts {
			n.hosts = append(n.hosts, h.Name)
		}
		for _, d := range cfg.Datastores {
			n.datastores = append(n.datastores, d.Name)
		}
	}
	return n
}

type completer = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// completing makes a completer of a choice of names.
func (a *app) completing(choose func(names) []string) completer {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		ctx := cmd.Context()
		if ctx == nil {
			ctx = context.Background()
		}
		var fitting []string
		for _, name := range choose(a.known(ctx)) {
			if name != "" && strings.HasPrefix(name, begun) && !slices.Contains(args, name) && !slices.Contains(fitting, name) {
				fitting = append(fitting, name)
			}
		}
		return fitting, cobra.ShellCompDirectiveNoFileComp
	}
}

// one stops completing after the first argument.
func one(complete completer) completer {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return complete(cmd, args, begun)
	}
}

func (a *app) completeHosts(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	return one(a.completing(func(n names) []string { return n.hosts }))(cmd, args, begun)
}

// completeDatastores offers files as well: where a name goes, a path often does.
func (a *app) completeDatastores(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	found, directive := one(a.completing(func(n names) []string { return n.datastores }))(cmd, args, begun)
	if len(args) == 0 && len(found) == 0 {
		return nil, cobra.ShellCompDirectiveFilterDirs
	}
	return found, directive
}

func (a *app) completeMachines(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	return a.completing(func(n names) []string { return n.machines })(cmd, args, begun)
}
