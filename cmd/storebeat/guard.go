package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"storebeat/agent/config"
	"storebeat/agent/guard"
)

func newGuard(a *app) *cobra.Command {
	var o guard.Options
	cmd := &cobra.Command{
		Use:   "guard",
		Short: "Run this host's guard, which freezes machines without proof of life",
		Long: `Runs the guard of this host in the foreground. The agent starts one by itself unless
the configuration says spawn = false, which is for a service unit of the guard's own.
Without --socket, everything is taken from the configuration.

SIGTERM and SIGINT make it freeze every machine and end.`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runGuard(cmd.Context(), o) },
	}
	cmd.Flags().StringVar(&o.Socket, "socket", "", "guard `socket` to serve, in place of the configuration's")
	cmd.Flags().DurationVar(&o.Freeze, "freeze", 0, "`time` within which everything is to be frozen")
	cmd.Flags().StringVar(&o.Watchdog, "watchdog", "", "watchdog `device` to feed")
	return cmd
}

func (a *app) runGuard(ctx context.Context, o guard.Options) error {
	log := config.Log{Level: "info", Format: "text"}
	if o.Socket == "" {
		cfg, err := a.readConfig()
		if err != nil {
			return err
		}
		log = cfg.Log
		o = orElse(o, guard.Options{Socket: cfg.Guard.Socket, Freeze: cfg.Timing.Freeze, Watchdog: cfg.Guard.Watchdog})
	}
	o.Log = newLog(a.errOut, log).Named("guard")
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
	return o
}
