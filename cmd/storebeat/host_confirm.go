package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"storebeat/agent"
	"storebeat/agent/core"
)

func newConfirmDead(a *app) *cobra.Command {
	var sure, pings bool
	cmd := &cobra.Command{
		Use:   "confirm-dead NAME",
		Short: "Confirm that a host is off, so that its machines start elsewhere",
		Long: `Tells the cluster that a host is off: switched off, without power, or gone. Its machines
are started elsewhere at once, also those that its agent left in custody, which nothing
else takes from it.

Look at the computer first, and at nothing else: if it runs after all, its machines run
twice and destroy their disks. The command shows what the cluster knows of the host and
asks for its name; what it closes are the terms that were read before it asked, so a host
that has come back in the meantime loses nothing.

A host that is heard, that has written to a datastore lately, or whose address answers
pings is not taken for dead.`,
		Example: `  storebeat host confirm-dead host2`,
		Args:    arguments(1, 1), ValidArgsFunction: a.completeHosts,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.confirmDead(cmd.Context(), args[0], sure, pings)
		},
	}
	cmd.Flags().BoolVar(&sure, "i-have-looked-at-it", false, "don't ask for the host's name")
	cmd.Flags().BoolVar(&pings, "although-it-answers-pings", false, "something else has its address")
	return cmd
}

func (a *app) confirmDead(ctx context.Context, name string, sure, pings bool) error {
	v, err := a.view(ctx, false)
	if err != nil {
		return err
	}
	h, err := v.host(name)
	if err != nil {
		return err
	}
	order := core.ConfirmDead{Host: h.ID, AnswersPings: pings}
	for i := range v.Datastores {
		if w := watchOf(&v.Datastores[i], h.ID); w != nil && w.Term > 0 && !w.Closed {
			order.Terms = append(order.Terms, core.ReadTerm{Datastore: v.Datastores[i].ID, Number: w.Term})
		}
	}
	if err := a.askForName(v, &h, sure); err != nil {
		return err
	}
	var r agent.CommandResult
	if err := a.call(ctx, agent.MethodConfirmDead, order, &r); err != nil {
		return err
	}
	return a.print(r, func() error {
		_, err := fmt.Fprintln(a.out, r.Text)
		return err
	})
}

// askForName shows what is known of a host and has the operator write its name.
func (a *app) askForName(v cluster, h *core.HostView, sure bool) error {
	fmt.Fprintf(a.errOut, "%s is %s: %s\n", h.Name, since(stateOf(h), h.For), h.Rule)
	for _, line := range h.Evidence {
		fmt.Fprintln(a.errOut, "  "+line)
	}
	if machines := v.machinesOn(h); len(machines) > 0 {
		fmt.Fprintf(a.errOut, "it holds %s\n", strings.Join(machines, ", "))
	}
	if sure {
		return nil
	}
	fmt.Fprintf(a.errOut, "If %s runs still, its machines will run twice and destroy their disks.\nLook at the computer. Is it off? Write its name: ", h.Name)
	answer, _ := bufio.NewReader(a.in).ReadString('\n')
	if strings.TrimSpace(answer) != h.Name {
		return fail(exitRefused, "%q is not %q: nothing was done", strings.TrimSpace(answer), h.Name)
	}
	return nil
}
