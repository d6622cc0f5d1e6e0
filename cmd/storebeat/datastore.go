package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"storebeat/agent/core"
)

func newDatastore(a *app) *cobra.Command {
	return newGroup("datastore", "Initialise, add, remove, list, rank and check datastores",
		newDatastoreInit(a), newDatastoreAdd(a), newDatastoreRemove(a), newDatastoreList(a), newDatastoreRank(a), newDatastoreCheck(a))
}

func newDatastoreList(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the datastores as this host sees them",
		Long: `Lists the datastores as this host's own agent sees them: whether they can be used,
the term and lease under which this host runs machines there, and why not.`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := a.view(cmd.Context(), true)
			if err != nil {
				return err
			}
			return a.print(v.Datastores, func() error { return a.showDatastores(v) })
		},
	}
}

func (a *app) showDatastores(v cluster) error {
	rows := [][]string{{"DATASTORE", "STATE", "TYPE", "HEARTBEATS", "TERM", "LEASE", "WHY"}}
	for i := range v.Datastores {
		d := &v.Datastores[i]
		rows = append(rows, []string{d.Name, d.State, d.FSType, yes(d.Heartbeat), termOf(d), leaseOf(d), firstOf(d.Why, d.ReadError)})
	}
	if err := a.table(rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.out, "\nTERM and LEASE are those of %s.\n", v.Name)
	return err
}

func termOf(d *core.DatastoreView) string {
	if d.Term == 0 {
		return ""
	}
	return fmt.Sprintf("%d, %s", d.Term, d.Phase)
}

func leaseOf(d *core.DatastoreView) string {
	switch {
	case d.Lease > 0 && d.LeaseLength > 0:
		return fmt.Sprintf("%s of %v left", short(d.Lease), d.LeaseLength)
	case d.Lease > 0:
		return short(d.Lease) + " left"
	case d.Lease < 0:
		return "ended " + short(-d.Lease) + " ago"
	}
	return ""
}

func newDatastoreRank(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "rank", Short: "Show how good each datastore is for heartbeats, and why",
		Long: `Ranks the datastores for carrying heartbeats, best first: those preferred in the
configuration, then by how many live hosts have access, whether a device is shared
with another datastore, and the file system's type. Each host writes to the best ones.`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := a.view(cmd.Context(), true)
			if err != nil {
				return err
			}
			slices.SortStableFunc(v.Datastores, func(x, y core.DatastoreView) int { return place(x) - place(y) })
			return a.print(v.Datastores, func() error { return a.showRanks(v) })
		},
	}
}

// place puts datastores without a rank last.
func place(d core.DatastoreView) int {
	if d.Rank == 0 {
		return 1 << 30
	}
	return d.Rank
}

func (a *app) showRanks(v cluster) error {
	rows := [][]string{{"RANK", "DATASTORE", "HEARTBEATS", "REASONS"}}
	for i := range v.Datastores {
		d := &v.Datastores[i]
		rank, reasons := fmt.Sprint(d.Rank), d.Reasons
		if d.Rank == 0 {
			rank = "none"
			if len(reasons) == 0 {
				reasons = []string{firstOf(d.Why, "not ranked yet")}
			}
		}
		rows = append(rows, []string{rank, d.Name, yes(d.Heartbeat), strings.Join(reasons, "; ")})
	}
	return a.table(rows)
}
