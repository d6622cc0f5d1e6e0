package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"storebeat/agent"
	"storebeat/agent/core"
	"storebeat/agent/journal"
)

// eventOptions are the flags of events.
type eventOptions struct {
	follow              bool
	vm, host, datastore string
	kind, since         string
	severity            string
	limit               int
	evidence, cluster   bool
}

func newEvents(a *app) *cobra.Command {
	var o eventOptions
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show this host's journal: what happened, what was decided, and why",
		Long: `Shows the newest entries of this host's journal, oldest first. Each host keeps its own:
verdicts, closed terms and ordered starts stand in the master's. With --cluster, the
journals of all hosts that answer are shown together, in the order of the hosts' clocks.

With --follow it goes on with entries as they come, also through restarts of agents:
nothing is lost or shown twice, and notes on standard error tell when an agent is away,
or when it came back too late to have it all. "storebeat explain event" says what the
kinds mean.`,
		Example: `  storebeat events --since 1h
  storebeat events --cluster --host alpha
  storebeat events --vm web --evidence
  storebeat events --cluster --severity warning
  storebeat events --follow --cluster
  storebeat events --follow -o json`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.events(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.BoolVarP(&o.follow, "follow", "f", false, "go on with entries as they come, until interrupted")
	f.StringVar(&o.vm, "vm", "", "only those about this machine (`name` or UUID)")
	f.StringVar(&o.host, "host", "", "only those about this host (`name`)")
	f.StringVar(&o.datastore, "datastore", "", "only those about this datastore (`name`)")
	f.StringVar(&o.kind, "kind", "", "only those of this `kind`, such as term-closed; `storebeat explain event` lists all")
	f.StringVar(&o.severity, "severity", "", "only those of this `severity` or more: info, notice, warning, error")
	f.StringVar(&o.since, "since", "", "only those since a `time`: 10m, 15:04, 2006-01-02, 2006-01-02T15:04:05Z")
	f.IntVarP(&o.limit, "limit", "n", 50, fmt.Sprintf("at most so many, at most %d", journal.MaxLimit))
	f.BoolVarP(&o.cluster, "cluster", "a", false, "the journals of all hosts that answer")
	f.BoolVarP(&o.evidence, "evidence", "e", false, "also the evidence behind each entry")
	_ = cmd.RegisterFlagCompletionFunc("vm", a.completing(func(n names) []string { return n.machines }))
	_ = cmd.RegisterFlagCompletionFunc("host", a.completing(func(n names) []string { return n.hosts }))
	_ = cmd.RegisterFlagCompletionFunc("kind", completeKinds)
	_ = cmd.RegisterFlagCompletionFunc("severity", cobra.FixedCompletions(severityNames(), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("datastore", a.completing(func(n names) []string { return n.datastores }))
	return cmd
}

func (a *app) events(ctx context.Context, o eventOptions) error {
	filter, err := o.filter(time.Now())
	if err != nil {
		return err
	}
	v, err := a.view(ctx, false)
	if err != nil {
		return err
	}
	filter, err = o.about(v, filter)
	if err != nil {
		return err
	}
	show := a.showEvent(v, o.evidence, o.cluster)
	if o.follow {
		return a.follow(ctx, agent.FollowRequest{Filter: filter, Cluster: o.cluster}, show)
	}
	entries, err := a.listEvents(ctx, filter, o.cluster)
	if err != nil {
		return err
	}
	return a.print(entries, func() error {
		for _, e := range entries {
			if err := show(e); err != nil {
				return err
			}
		}
		return nil
	})
}

// filter takes over what needs nobody to ask.
func (o eventOptions) filter(now time.Time) (f journal.Filter, err error) {
	f.Kind, f.Severity, f.Limit = core.Kind(o.kind), core.Severity(o.severity), o.limit
	if o.kind != "" {
		if _, err := findKind(o.kind); err != nil {
			return f, err
		}
	}
	if o.severity != "" && !slices.Contains(core.Severities, f.Severity) {
		return f, fail(exitUsage, "--severity %q: there are %s", o.severity, strings.Join(severityNames(), ", "))
	}
	if o.limit < 1 || o.limit > journal.MaxLimit {
		return f, fail(exitUsage, "--limit %d: give it from 1 to %d", o.limit, journal.MaxLimit)
	}
	if o.since != "" {
		f.Since, err = parseSince(o.since, now)
	}
	return f, err
}

// about looks the names up.
func (o eventOptions) about(v cluster, f journal.Filter) (journal.Filter, error) {
	if o.vm != "" {
		m, err := v.machine(o.vm)
		if err != nil {
			return f, err
		}
		f.VM = m.VM
	}
	if o.host != "" {
		h, err := v.host(o.host)
		if err != nil {
			return f, err
		}
		f.Host = h.ID
	}
	if o.datastore != "" {
		d, err := v.datastore(o.datastore)
		if err != nil {
			return f, err
		}
		f.Datastore = d.ID
	}
	return f, nil
}

// parseSince reads a duration back from now, a time of today, or a full time.
func parseSince(text string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{"15:04", "15:04:05"} {
		if t, err := time.Parse(layout, text); err == nil {
			y, m, d := now.Date()
			return time.Date(y, m, d, t.Hour(), t.Minute(), t.Second(), 0, now.Location()), nil
		}
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fail(exitUsage, "--since %q is no time: write 10m, 15:04, 2006-01-02 or 2006-01-02T15:04:05Z", text)
}

func (a *app) listEvents(ctx context.Context, f journal.Filter, cluster bool) ([]journal.Entry, error) {
	entries := []journal.Entry{}
	err := a.call(ctx, agent.MethodEvents, agent.EventsRequest{Filter: f, Cluster: cluster}, &entries)
	return entries, err
}

// showEvent writes one entry in one line, with the host whose journal it is from
// if wanted, and its evidence below.
func (a *app) showEvent(v cluster, evidence, by bool) func(journal.Entry) error {
	return func(e journal.Entry) error {
		who := ""
		if by {
			who = fmt.Sprintf("%-10s  ", v.hostName(e.By))
		}
		_, err := fmt.Fprintf(a.out, "%s  %s%-7s  %-20s  %s%s\n", e.Wall.Local().Format("2006-01-02 15:04:05.000"), who, e.Severity, e.Kind, e.Text, v.about(&e.Event))
		if evidence {
			for _, line := range e.Evidence {
				_, err = fmt.Fprintf(a.out, "%25s· %s\n", "", line)
			}
		}
		return err
	}
}

// about names what an event concerns and its sentence does not.
func (v cluster) about(e *core.Event) string {
	var parts []string
	add := func(what, name string) {
		if !strings.Contains(e.Text, name) {
			parts = append(parts, what+" "+name)
		}
	}
	if e.Host != 0 && e.Host != e.By {
		add("host", v.hostName(e.Host))
	}
	if textOf(e.VM) != "" {
		add("vm", v.machineName(e.VM))
	}
	if e.Rule != "" {
		parts = append(parts, e.Rule)
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}
