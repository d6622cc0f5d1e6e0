package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"storebeat/agent"
	"storebeat/agent/control"
	"storebeat/agent/core"
)

func newAgentStop(a *app) *cobra.Command {
	var ask agent.StopRequest
	cmd := &cobra.Command{
		Use:   "stop",
		Short: "Stop this host's agent and leave its machines in custody",
		Long: `Stops the agent of this host in good order and returns when it has ended. Its machines
run on in custody: untouched, for as long as there is no agent, and nobody starts them
elsewhere. If not all of them can be left so, since a datastore can't be written to, the
agent goes on and the command names the machines.

Under systemd use "systemctl stop storebeat", which does the same and keeps the unit's
Restart= from starting the agent again; only that it does not go on when a datastore
can't be written to. It also knows when the whole host shuts down; where no systemd says
so, as in a container, have the shutdown run "storebeat agent stop --host-shuts-down"
before machines and mounts end, with a --timeout as long as the machines may take.`,
		Example: `  storebeat agent stop
  storebeat agent stop --now
  storebeat agent stop --host-shuts-down --timeout 5m`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.stopAgent(cmd.Context(), ask) },
	}
	cmd.Flags().BoolVar(&ask.Shutdown, "host-shuts-down", false, "stop the machines and give them up, each in its own time: others start them")
	cmd.Flags().BoolVar(&ask.Now, "now", false, "don't wait for custody: the guard freezes the machines when their leases end")
	return cmd
}

func (a *app) stopAgent(ctx context.Context, ask agent.StopRequest) error {
	var r agent.CommandResult
	if err := a.call(ctx, agent.MethodStop, ask, &r); err != nil {
		return err
	}
	if err := a.untilGone(ctx); err != nil {
		return err
	}
	return a.print(r, func() error {
		_, err := fmt.Fprintln(a.out, r.Text)
		return err
	})
}

// untilGone waits until no agent answers any more.
func (a *app) untilGone(ctx context.Context) error {
	for deadline := time.Now().Add(a.timeout); ; {
		var v core.View
		err := a.call(ctx, agent.MethodView, agent.ViewRequest{Local: true}, &v)
		if e, ok := errors.AsType[*control.Error](err); ok && e.Code == control.NotRunning {
			return nil
		}
		if time.Now().After(deadline) {
			return fail(exitUnavailable, "the agent has been asked to end and still answers after %v", a.timeout)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lookEvery / 5):
		}
	}
}
