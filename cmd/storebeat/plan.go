package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"storebeat/agent"
	"storebeat/poweron"
)

func newPlan(a *app) *cobra.Command {
	var lost []string
	cmd := &cobra.Command{
		Use:   "plan [--fail HOST…]",
		Short: "Say what the loss of hosts would mean, without doing anything",
		Long: `Says for each machine of the hosts named where it would start if they were lost, all
at once and for good, and why there, or why it would wait. Machines that wait already
compete for the same room. Without --fail it names every single host whose machines the
others could not take; status warns of the same.

The master is asked. It plans as it does after a failure, from what it knows now.`,
		Example: `  storebeat plan
  storebeat plan --fail alpha
  storebeat plan --fail alpha beta -o json`,
		ValidArgsFunction: a.completing(func(n names) []string { return n.hosts }),
		Args:              arguments(0, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case cmd.Flags().Changed("fail"):
				return a.forecast(cmd.Context(), append(slices.Clone(lost), args...))
			case len(args) > 0:
				return fail(exitUsage, "%s: write --fail %s to see what its loss would mean", args[0], strings.Join(args, " "))
			}
			return a.planForAny(cmd.Context())
		},
	}
	cmd.Flags().StringSliceVar(&lost, "fail", nil, "`hosts` that are lost, all at once")
	_ = cmd.RegisterFlagCompletionFunc("fail", a.completing(func(n names) []string { return n.hosts }))
	return cmd
}

func (a *app) forecast(ctx context.Context, hosts []string) error {
	v, err := a.view(ctx, false)
	if err != nil {
		return err
	}
	ids, err := hostIDs(hosts, v.hostID)
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		return fail(exitUsage, "--fail names no host: give one, such as --fail %s", v.Name)
	}
	var f poweron.Forecast
	if err := a.call(ctx, agent.MethodForecast, agent.ForecastRequest{Hosts: ids}, &f); err != nil {
		return err
	}
	return a.print(f, func() error {
		a.noteUnread(v)
		return a.showForecast(&f)
	})
}

// noteUnread warns of datastores whose machines are missing in what is shown.
func (a *app) noteUnread(v cluster) {
	if unread := v.unread(); len(unread) > 0 {
		fmt.Fprintf(a.errOut, "note: the machines on %s have not been read yet\n", strings.Join(unread, ", "))
	}
}

func (a *app) showForecast(f *poweron.Forecast) error {
	lost := strings.Join(f.Lost, " and ")
	if len(f.Starts)+len(f.Waits)+len(f.Stays) == 0 {
		_, err := fmt.Fprintf(a.out, "Without %s, no machine would have to start.\n", lost)
		return err
	}
	fmt.Fprintf(a.out, "Without %s, %s would start elsewhere, %d would wait, and %d would stay off.\n\n", lost, count(len(f.Starts), "machine"), len(f.Waits), len(f.Stays))
	rows := [][]string{{"MACHINE", "FROM", "TO", "MEMORY", "WHY"}}
	for _, part := range []struct {
		fates []poweron.Fate
		to    string
	}{{f.Starts, ""}, {f.Waits, "waits"}, {f.Stays, "stays off"}} {
		for _, fate := range part.fates {
			rows = append(rows, []string{fate.Machine, firstOf(fate.From, "waits already"), firstOf(fate.To, part.to), humanize.IBytes(fate.Memory), fate.Why})
		}
	}
	if err := a.table(rows); err != nil {
		return err
	}
	for _, fate := range f.Waits {
		fmt.Fprintf(a.out, "\n%s would wait:\n", fate.Machine)
		for _, refusal := range fate.Refusals {
			fmt.Fprintf(a.out, "  %s\n", refusal)
		}
	}
	return nil
}

func (a *app) shortfalls(ctx context.Context) (short []poweron.Shortfall, err error) {
	err = a.call(ctx, agent.MethodShortfalls, nil, &short)
	return short, err
}

func (a *app) planForAny(ctx context.Context) error {
	short, err := a.shortfalls(ctx)
	if err != nil {
		return err
	}
	return a.print(short, func() error {
		if len(short) == 0 {
			_, err := fmt.Fprintln(a.out, "Whichever single host were lost, the others could take all of its machines.")
			return err
		}
		rows := [][]string{{"WITHOUT", "MACHINES", "MEMORY", "WOULD WAIT", "WHY"}}
		for _, s := range short {
			for i, fate := range s.Waits {
				row := []string{" ", " ", " ", fate.Machine, fate.Why}
				if i == 0 {
					row[0], row[1], row[2] = s.Host, fmt.Sprint(s.Machines), humanize.IBytes(s.Memory)
				}
				rows = append(rows, row)
			}
		}
		return a.table(rows)
	})
}

// shortRows are the lines of status about hosts whose machines the others could
// not take: the largest with the names, the rest by number.
func shortRows(short []poweron.Shortfall) (rows [][]string) {
	if len(short) == 0 {
		return nil
	}
	const most = 3
	s := short[0]
	var waits []string
	for _, fate := range s.Waits[:min(most, len(s.Waits))] {
		waits = append(waits, fmt.Sprintf("%s (%s)", fate.Machine, fate.Why))
	}
	if more := len(s.Waits) - most; more > 0 {
		waits = append(waits, fmt.Sprintf("%d more", more))
	}
	why := fmt.Sprintf("if it were lost, %d of its %s would wait: %s", len(s.Waits), count(s.Machines, "machine"), strings.Join(waits, "; "))
	if more := len(short) - 1; more > 0 {
		why += fmt.Sprintf(". The same goes for %s", count(more, "other host"))
	}
	return [][]string{{"  capacity", s.Host, "short", why + " (see storebeat plan)"}}
}
