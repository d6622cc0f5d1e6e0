package main

import (
	"context"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"storebeat/agent/config"
	"storebeat/agent/freeze"
	"storebeat/agent/guard"
	"storebeat/agent/hypervisor"
	"storebeat/datastorehb"
)

func newGuard(a *app) *cobra.Command {
	var o guard.Options
	var of hostMachines
	var takesOver int
	cmd := &cobra.Command{
		Use:   "guard",
		Short: "Run this host's guard, which freezes machines without proof of life",
		Long: `Runs the guard of this host in the foreground. The agent starts one by itself where
none answers, unless it was told not to (spawn = false in the configuration, or
--spawn-guard=false), which is for a service unit of the guard's own.
Without --socket, everything is taken from the configuration. A guard that starts
freezes whatever machines of its host are there already; they go on when the agent has
won its next term.

Under systemd (Type=notify) it says when it is ready. It then keeps a copy of the
configuration in the unit's runtime directory, and goes by that if it is started again
while the file makes no sense: to be without a guard would freeze every machine.

SIGHUP makes it execute the program that is installed now, in the same process: leases,
machines and connections go along, and no machine notices. A program that could not take
over is left alone. SIGTERM and SIGINT make it freeze every machine and end, unless
systemd is about to start it again: then it leaves what it holds with systemd, for the
next process.`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runGuard(cmd.Context(), o, of, takesOver) },
	}
	cmd.Flags().StringVar(&o.Socket, "socket", "", "guard `socket` to serve, in place of the configuration's")
	cmd.Flags().DurationVar(&o.Freeze, "freeze", 0, "`time` within which everything is to be frozen")
	cmd.Flags().StringVar(&o.Watchdog, "watchdog", "", "watchdog `device` to feed")
	cmd.Flags().DurationVar(&o.Lease, "lease", 0, "the cluster's `time` of a lease, for the watchdog")
	cmd.Flags().DurationVar(&o.Takeover, "takeover", 0, "the cluster's takeover `time`, for the watchdog")
	cmd.Flags().StringVar(&of.cluster, "cluster", "", "`UUID` of the cluster, to find the machines that are there already")
	cmd.Flags().Uint16Var(&of.host, "host-id", 0, "`id` of this host, to find them")
	cmd.Flags().IntVar(&takesOver, "takes-over", 0, "")
	_ = cmd.Flags().MarkHidden("takes-over") // a running guard asks it of its successor
	cmd.Flags().StringVar(&of.runDirectory, "run-directory", "", "the agent's run `directory`, to find them")
	return cmd
}

// hostMachines says whose machines a guard freezes when it starts.
type hostMachines struct {
	cluster      string
	host         uint16
	runDirectory string
}

// find returns how to find the machines, nil if nothing says whose they are.
func (m hostMachines) find() (func(context.Context) ([]freeze.Handle, error), error) {
	if m == (hostMachines{}) {
		return nil, nil
	}
	cluster, err := uuid.Parse(m.cluster)
	if err != nil || m.host == 0 || m.runDirectory == "" {
		return nil, &failure{exitUsage, fmt.Errorf("--cluster %q, --host-id %d and --run-directory %q belong together: give all three", m.cluster, m.host, m.runDirectory)}
	}
	return func(ctx context.Context) (all []freeze.Handle, err error) {
		found, err := hypervisor.Scan(ctx, cluster, datastorehb.HostID(m.host), m.runDirectory)
		for _, f := range found {
			all = append(append(all, f.Handle), f.Others...)
		}
		return all, err
	}, nil
}

func (a *app) runGuard(ctx context.Context, o guard.Options, of hostMachines, takesOver int) error {
	log := config.Log{Level: "info", Format: "text"}
	if o.Socket == "" {
		cfg, self, err := a.guardConfig()
		if err != nil {
			return err
		}
		log = cfg.Log
		of = hostMachines{cfg.Cluster.UUID.String(), uint16(self.ID), cfg.RunDirectory}
		o = orElse(o, guard.Options{Socket: cfg.Guard.Socket, Freeze: cfg.Timing.Freeze, Watchdog: cfg.Guard.Watchdog,
			Lease: cfg.Timing.Lease, Takeover: cfg.Timing.Takeover})
	}
	var err error
	if o.Machines, err = of.find(); err != nil {
		return err
	}
	if takesOver != 0 {
		return guard.CanTakeOver(takesOver)
	}
	o.Manager = guard.FindSystemd()
	o.Log = newLog(a.errOut, log).Named("guard")
	o.Ready = func() { tell(daemon.SdNotifyReady + "\nSTATUS=guards " + o.Socket) }
	return guard.Serve(ctx, o)
}

// orElse fills in what the command line left out.
func orElse(o, from guard.Options) guard.Options {
	if o.Socket == "" {
		o.Socket = from.Socket
	}
	if o.Freeze == time.Duration(0) {
		o.Freeze = from.Freeze
	}
	if o.Watchdog == "" {
		o.Watchdog = from.Watchdog
	}
	if o.Lease == 0 || o.Takeover == 0 {
		o.Lease, o.Takeover = from.Lease, from.Takeover
	}
	return o
}
