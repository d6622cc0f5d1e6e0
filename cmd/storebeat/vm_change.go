package main

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"storebeat/agent"
	"storebeat/agent/control"
	"storebeat/agent/core"
)

// defaultWait is how long --wait waits unless it says otherwise.
const defaultWait = 5 * time.Minute

func newUnprotect(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "unprotect NAME…", Short: "Take machines off the protected list; they go on running",
		Long: `Takes machines off the protected list. A machine that runs goes on running, and is not
started again once it ends. vm stop still stops it; vm start, or vm protect again, puts
it back on the list.`,
		Args: arguments(1, -1), ValidArgsFunction: a.completeMachines,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeAll(cmd.Context(), core.Unprotect, args, 0)
		},
	}
}

func newStart(a *app) *cobra.Command {
	return newChange(a, core.Start, "running", &cobra.Command{
		Use: "start NAME…", Short: "Have machines running, also such as are held",
		Long: `Records that machines shall run. The master then chooses a host for each. A machine
that is held after too many failures, or that a guest has switched off, is let go; one
that runs already is left alone.`,
	})
}

func newStop(a *app) *cobra.Command {
	return newChange(a, core.Stop, "stopped", &cobra.Command{
		Use: "stop NAME…", Short: "Stop machines, and keep them stopped",
		Long: `Records that machines shall not run. The host that runs one asks its guest to shut
down, and ends it if it has not by its stop_time. It stays protected and is not started
again until vm start.`,
	})
}

func newChange(a *app, verb core.Verb, state string, cmd *cobra.Command) *cobra.Command {
	var wait time.Duration
	cmd.Args, cmd.ValidArgsFunction = arguments(1, -1), a.completeMachines
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for _, name := range args {
			if _, err := time.ParseDuration(name); err == nil && cmd.Flags().Changed("wait") {
				return fail(exitUsage, "%s would be the name of a machine here: write --wait=%s", name, name)
			}
		}
		return a.changeAll(cmd.Context(), verb, args, wait)
	}
	cmd.Flags().DurationVar(&wait, "wait", 0, "wait until it is "+state+", for so `long`, such as --wait=30s")
	cmd.Flags().Lookup("wait").NoOptDefVal = defaultWait.String()
	return cmd
}

// changed is what a change prints with -o json.
type changed struct {
	Machine string `json:"machine"`
	Done    string `json:"done,omitempty"`
	State   string `json:"state,omitempty"` // after --wait
	Host    string `json:"host,omitempty"`
}

// changeAll goes on with the other machines after an error, and returns the first.
func (a *app) changeAll(ctx context.Context, verb core.Verb, machines []string, wait time.Duration) error {
	all, errs := a.changes(ctx, machines, func(name string) core.Command { return core.Command{Verb: verb, VM: name} })
	if wait > 0 {
		errs.add(a.await(ctx, all, wantedAfter[verb], wait))
	}
	errs.add(a.print(all, func() error { return a.showChanged(all) }))
	return errs.join()
}

// changeEach is changeAll for a command that says more than a verb.
func (a *app) changeEach(ctx context.Context, machines []string, command func(name string) core.Command) error {
	all, errs := a.changes(ctx, machines, command)
	errs.add(a.print(all, func() error { return a.showChanged(all) }))
	return errs.join()
}

func (a *app) changes(ctx context.Context, machines []string, command func(name string) core.Command) (all []changed, errs failures) {
	all = make([]changed, 0, len(machines))
	for _, name := range machines {
		done, err := a.change(ctx, command(name))
		errs.add(err)
		if err == nil {
			all = append(all, changed{Machine: name, Done: done})
		}
	}
	return all, errs
}

// wantedAfter is the state that --wait waits for.
var wantedAfter = map[core.Verb]string{core.Start: "running", core.Protect: "running", core.Stop: "stopped"}

func (a *app) showChanged(all []changed) error {
	for _, c := range all {
		line := c.Done
		if c.State != "" {
			line = c.Machine + " is " + c.State
			if c.Host != "" {
				line += " on " + c.Host
			}
		}
		if _, err := fmt.Fprintln(a.out, line); err != nil {
			return err
		}
	}
	return nil
}

// change gives one wish to the agent. The agent goes by the names of protected
// machines alone; it is asked again by UUID about one that was taken off the list.
func (a *app) change(ctx context.Context, c core.Command) (string, error) {
	var result agent.CommandResult
	err := a.call(ctx, agent.MethodCommand, c, &result)
	if err == nil || c.Verb == core.Protect || control.CodeOf(err) != control.Refused {
		return result.Text, err
	}
	v, viewErr := a.view(ctx, false)
	if viewErr != nil {
		return "", err
	}
	m, missing := v.unlisted(c.VM)
	switch {
	case missing != nil:
		return "", missing
	case m == uuid.Nil || c.Verb == core.Unprotect:
		return "", err
	}
	c.VM = m.String()
	err = a.call(ctx, agent.MethodCommand, c, &result)
	return result.Text, err
}

// unlisted finds the machine of a name that was taken off the protected list. It
// is none if there is a protected one, or if the name is a UUID.
func (v cluster) unlisted(name string) (uuid.UUID, error) {
	m, err := v.machine(name)
	if err != nil || m.Protected || m.Name != name {
		return uuid.Nil, err
	}
	for i := range v.Machines {
		if other := &v.Machines[i]; other.Name == name && other.VM != m.VM {
			return uuid.Nil, fail(exitRefused, "several machines that were taken off the list are called %s, such as %s and %s: give the UUID of the one you mean", name, m.VM, other.VM)
		}
	}
	return m.VM, nil
}
