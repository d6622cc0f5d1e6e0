package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"storebeat/agent"
	"storebeat/agent/config"
)

func newAgent(a *app) *cobra.Command {
	var host string
	spawnGuard := true
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run this host's agent until it is told to end",
		Long: `Runs the agent of this host in the foreground. SIGTERM and SIGINT end it in good
order: it leaves its machines in custody, in which they run on untouched for as long as
there is no agent, and nobody starts them elsewhere. The next agent takes them over
unharmed. Where custody can't be had, since a datastore hangs, the agent ends after
three leases and says so; the guard freezes those machines when their leases end. A
second signal ends the agent at once.

An agent that is killed leaves nothing in custody: a new one that is there within the
lease takes the machines over unharmed, else they are frozen.

Under systemd (Type=notify) it says when it is ready, and feeds the unit's watchdog
for as long as its main loop answers.`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runAgent(cmd.Context(), host, spawnGuard) },
	}
	cmd.Flags().BoolVar(&spawnGuard, "spawn-guard", true, "start a guard where none answers; false waits for one that a service unit runs")
	cmd.Flags().StringVar(&host, "host", "", "`name` of this host, in place of the configuration's self or the computer's host name")
	_ = cmd.RegisterFlagCompletionFunc("host", cobra.NoFileCompletions)
	cmd.AddCommand(newAgentStop(a))
	return cmd
}

func (a *app) runAgent(ctx context.Context, host string, spawnGuard bool) error {
	cfg, err := a.loadConfig()
	if err != nil {
		return err
	}
	hostname, err := os.Hostname()
	if err != nil && host == "" && cfg.Self == "" {
		return fmt.Errorf("can't tell the computer's name: %w; give --host", err)
	}
	self, err := cfg.FindSelf(host, hostname)
	if err != nil {
		return &failure{exitUsage, err}
	}
	cfg.Override(func(c *config.Config) {
		c.ControlSocket = cmp.Or(a.socket, c.ControlSocket)
		c.Guard.Spawn = c.Guard.Spawn && spawnGuard
	})
	stayInMemory()
	ended, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	go tellSystemd(ctx, ended, cfg.ControlSocket)
	log, flush := newQueuedLog(a.errOut, cfg.Log)
	defer flush()
	return agent.Run(ctx, cfg, self, programVersion(), log)
}

// loadConfig reads the configuration with its key. Warnings go to standard error.
func (a *app) loadConfig() (*config.Config, error) {
	cfg, diags := config.Load(a.config)
	if cfg == nil {
		return nil, badConfig(diags)
	}
	fmt.Fprint(a.errOut, config.Describe(diags))
	return cfg, nil
}

// stayInMemory trades a little time for a small process: an agent makes little
// garbage, and what it keeps is a few megabytes. The environment goes first.
func stayInMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(48 << 20)
	}
}
