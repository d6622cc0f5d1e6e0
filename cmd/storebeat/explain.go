package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"storebeat/agent/core"
	"storebeat/agent/journal"
	"storebeat/datastorehb"
)

func newExplain(a *app) *cobra.Command {
	var limit int
	explain := newGroup("explain", "Explain a state: the rule, the evidence, and why nothing is done",
		explainCommand(a, "host", "Explain the state of a host", one(a.completing(func(n names) []string { return n.hosts })), &limit, a.explainHost),
		explainCommand(a, "vm", "Explain where a machine is, or why it does not run", one(a.completeMachines), &limit, a.explainMachine),
		explainCommand(a, "datastore", "Explain what can be done on a datastore, and why not", one(a.completing(func(n names) []string { return n.datastores })), &limit, a.explainDatastore),
		newExplainEvent(a),
	)
	explain.Long = `Explains the present state of a host, a machine or a datastore: the rule behind it (the
numbers are those of docs/safety.md), the evidence with its times, what is not done and
why, and what the journals of all hosts that answer say about how it came to that.
Or says what a kind of event means.`
	explain.PersistentFlags().IntVarP(&limit, "limit", "n", 15, "at most so many `entries` of the journal")
	return explain
}

func explainCommand(a *app, what, short string, complete completer, limit *int, explain func(cluster, string) (explanation, error)) *cobra.Command {
	return &cobra.Command{
		Use: what + " NAME", Short: short, Args: arguments(1, 1), ValidArgsFunction: complete,
		RunE: func(cmd *cobra.Command, args []string) error {
			if *limit < 1 || *limit > journal.MaxLimit {
				return fail(exitUsage, "--limit %d: give it from 1 to %d", *limit, journal.MaxLimit)
			}
			v, err := a.view(cmd.Context(), false)
			if err != nil {
				return err
			}
			e, err := explain(v, args[0])
			if err != nil {
				return err
			}
			if e.Journal, err = a.timeline(cmd.Context(), e.filters, *limit); err != nil {
				return err
			}
			return a.print(e, func() error { return a.showExplanation(v, &e) })
		},
	}
}

// explanation is what is known about one host, machine or datastore.
type explanation struct {
	What     string          `json:"what"`
	State    string          `json:"state"`
	Rule     string          `json:"rule"`
	Evidence []string        `json:"evidence"`
	NotDone  []string        `json:"not_done"` // what is not acted upon, and why
	View     string          `json:"view"`     // whose view it is
	Journal  []journal.Entry `json:"journal"`
	filters  []journal.Filter
}

func (a *app) explainHost(v cluster, name string) (explanation, error) {
	h, err := v.host(name)
	if err != nil {
		return explanation{}, err
	}
	e := explanation{What: "host " + h.Name, State: since(stateOf(&h), h.For), Rule: h.Rule, Evidence: slices.Clone(h.Evidence), View: v.whose(),
		filters: []journal.Filter{{Host: h.ID}}}
	for i := range v.Datastores {
		d := &v.Datastores[i]
		if w := watchOf(d, h.ID); w != nil {
			e.Evidence = append(e.Evidence, watchLine(d, w))
			e.NotDone = append(e.NotDone, v.notClosed(d, w)...)
		}
	}
	for _, line := range v.machinesOn(&h) {
		e.Evidence = append(e.Evidence, "runs "+line)
	}
	return e, nil
}

func (a *app) explainMachine(v cluster, name string) (explanation, error) {
	m, err := v.machine(name)
	if err != nil {
		return explanation{}, err
	}
	e := explanation{What: "machine " + m.Name, State: stateOn(&m), Rule: m.Why, View: v.whose(), filters: []journal.Filter{{VM: m.VM}}}
	e.Evidence = append(e.Evidence, fmt.Sprintf("protected: %s; its user wants it %s", yes(m.Protected), m.Desired), generationOf(&m))
	if m.Failures > 0 {
		e.Evidence = append(e.Evidence, fmt.Sprintf("%d failures in a row; it is held at %d", m.Failures, m.Policy.Limit))
	}
	for _, line := range v.rulesOf(m.Rules.Must) {
		e.Evidence = append(e.Evidence, "must be "+line)
	}
	for _, line := range v.rulesOf(m.Rules.Prefer) {
		e.Evidence = append(e.Evidence, "should be "+line)
	}
	e.Evidence = append(e.Evidence, rulesBroken(&m)...)
	if m.Phase != "" {
		e.Evidence = append(e.Evidence, "on "+v.Name+": "+m.Phase)
	}
	e.NotDone = append(append(e.NotDone, m.Refusals...), notMoved(&m)...)
	home, err := v.datastore(m.Datastore.String())
	if err != nil {
		return e, nil
	}
	e.Evidence = append(e.Evidence, datastoreLine(&home, v.Name))
	e.filters = append(e.filters, journal.Filter{Datastore: m.Datastore})
	if m.Host != 0 && m.Host != v.Host {
		if w := watchOf(&home, m.Host); w != nil {
			e.Evidence = append(e.Evidence, watchLine(&home, w))
			e.NotDone = append(e.NotDone, v.notClosed(&home, w)...)
		}
	}
	return e, nil
}

func (a *app) explainDatastore(v cluster, name string) (explanation, error) {
	d, err := v.datastore(name)
	if err != nil {
		return explanation{}, err
	}
	e := explanation{What: "datastore " + d.Name, State: d.State, Rule: firstOf(d.Why, d.ReadError, "it can be read and written"), View: v.whose(),
		filters: []journal.Filter{{Datastore: d.ID}}}
	e.Evidence = append(e.Evidence, datastoreLine(&d, v.Name))
	e.Evidence = append(e.Evidence, fmt.Sprintf("rank %s for heartbeats; %s writes heartbeats here: %s", rankOfDatastore(&d), v.Name, yes(d.Heartbeat)))
	e.Evidence = append(e.Evidence, d.Reasons...)
	if d.Writing > 0 {
		e.Evidence = append(e.Evidence, fmt.Sprintf("a heartbeat write has been under way for %s", short(d.Writing)))
	}
	for i := range d.Hosts {
		e.Evidence = append(e.Evidence, watchLine(&d, &d.Hosts[i]))
		e.NotDone = append(e.NotDone, v.notClosed(&d, &d.Hosts[i])...)
	}
	return e, nil
}

// notMoved says why a machine that does not execute is not started elsewhere.
func notMoved(m *core.MachineView) []string {
	switch m.State {
	case "frozen":
		return []string{
			fmt.Sprintf("not killed: writes under way could still reach its disks (R12); it goes on once %s wins its next term on %s (R5)", m.HostName, m.Home),
			fmt.Sprintf("not started elsewhere: no other host has closed the term of %s on %s (R7)", m.HostName, m.Home),
		}
	case "undetermined":
		return []string{fmt.Sprintf("not started: only a closed term, or a release by its owner, ends generation %d (R8)", m.Generation)}
	case "held":
		return []string{fmt.Sprintf("not started again: it failed %d times in a row, and is held at %d; `storebeat vm start %s` lets it go", m.Failures, m.Policy.Limit, m.Name)}
	case "unknown":
		return []string{"not started: what can't be read is not known to be over (R8)"}
	}
	return nil
}

func generationOf(m *core.MachineView) string {
	if m.Generation == 0 {
		return "no generation: it never ran"
	}
	return fmt.Sprintf("generation %d, claimed under term %d", m.Generation, m.Term)
}

func rankOfDatastore(d *core.DatastoreView) string {
	if d.Rank == 0 {
		return "none"
	}
	return fmt.Sprint(d.Rank)
}

// whose says whose view an explanation goes by.
func (v cluster) whose() string {
	switch {
	case v.Leading:
		return "that of the master, " + v.Name
	case v.Master == 0:
		return fmt.Sprintf("that of %s; there is no master at the moment", v.Name)
	}
	return fmt.Sprintf("that of %s, which is not the master and watches only the master", v.Name)
}

func datastoreLine(d *core.DatastoreView, host string) string {
	line := fmt.Sprintf("datastore %s (%s) is %s on %s", d.Name, firstOf(d.FSType, "type not known"), d.State, host)
	if d.Term == 0 {
		return line + "; no term"
	}
	line += fmt.Sprintf("; term %d is %s", d.Term, d.Phase)
	if lease := leaseOf(d); lease != "" {
		line += ", lease " + lease
	}
	return line
}

func watchOf(d *core.DatastoreView, h datastorehb.HostID) *core.WatchView {
	for i := range d.Hosts {
		if d.Hosts[i].Host == h {
			return &d.Hosts[i]
		}
	}
	return nil
}

func watchLine(d *core.DatastoreView, w *core.WatchView) string {
	line := fmt.Sprintf("%s on %s: slot %s", w.Name, d.Name, w.Slot)
	if w.Slot == "valid" {
		line += fmt.Sprintf(", sequence %d, last sign of life %s ago", w.Sequence, short(w.Silent))
	}
	switch {
	case w.Term == 0:
		return line + ", no term known"
	case w.Closed:
		return line + fmt.Sprintf(", term %d closed", w.Term)
	}
	line += fmt.Sprintf(", term %d open", w.Term)
	if w.Custody {
		line += " and in custody"
	}
	return line
}

// notClosed says why the term of a host that is not live is not closed.
func (v cluster) notClosed(d *core.DatastoreView, w *core.WatchView) []string {
	if w.Closed || w.Term == 0 || w.NotClosed == "" {
		return nil
	}
	if h, err := v.host(w.Name); err == nil && h.State == "live" {
		return nil
	}
	return []string{fmt.Sprintf("term %d of %s on %s is not closed (R7a): %s", w.Term, w.Name, d.Name, w.NotClosed)}
}

// timeline gathers the journal's entries for all filters, in their order. What
// the second and later filters select about other machines is left out.
func (a *app) timeline(ctx context.Context, filters []journal.Filter, limit int) ([]journal.Entry, error) {
	all := []journal.Entry{}
	for i, f := range filters {
		f.Limit = limit
		if i > 0 {
			f.Limit = min(10*limit, journal.MaxLimit)
		}
		entries, err := a.listEvents(ctx, f, true)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if i == 0 || e.VM == uuid.Nil {
				all = append(all, e)
			}
		}
	}
	slices.SortStableFunc(all, func(x, y journal.Entry) int {
		return cmp.Or(x.Wall.Compare(y.Wall), cmp.Compare(x.By, y.By), cmp.Compare(x.ID, y.ID))
	})
	all = slices.CompactFunc(all, func(x, y journal.Entry) bool { return x.By == y.By && x.ID == y.ID })
	return all[max(0, len(all)-limit):], nil
}

func (a *app) showExplanation(v cluster, e *explanation) error {
	p := a.pairs()
	p.add("What", "%s", e.What)
	p.add("State", "%s", e.State)
	p.add("Because", "%s", e.Rule)
	p.list("Evidence", e.Evidence)
	p.list("Not done", e.NotDone)
	p.add("View", "%s", e.View)
	if err := p.flush(); err != nil {
		return err
	}
	if len(e.Journal) == 0 {
		_, err := fmt.Fprintln(a.out, "\nThe journals say nothing about it.")
		return err
	}
	fmt.Fprintln(a.out, "\nFrom the journals of all hosts that answer:")
	show := a.showEvent(v, false, true)
	for _, entry := range e.Journal {
		if err := show(entry); err != nil {
			return err
		}
	}
	return nil
}
