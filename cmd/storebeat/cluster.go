package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"storebeat/agent"
	"storebeat/agent/core"
	clusterrecord "storebeat/agent/core/cluster"
	"storebeat/datastorehb"
)

func newCluster(a *app) *cobra.Command {
	c := newGroup("cluster", "Show and change what is true of the cluster as a whole",
		newClusterShow(a), newClusterSet(a), newClusterPause(a), newClusterResume(a), newClusterUpgrade(a), newClusterInit(a))
	c.Long = `The cluster record lies on every datastore of the cluster: members, datastores, timing,
what machines get by default. The master makes its first revision from its configuration
file once all hosts are there, and changes it for whoever asks. Where record and file
say different things, the record goes first, and status names the difference.

A change counts once most of the datastores hold it: both of two, two of three. With
--without, a datastore that can't be reached is given up for that change; it gets the
record when it is back. Give up only what no other part of the cluster can reach: two
parts that give up each other's datastores each get a record of their own, of which one
is dropped when they meet again.`
	return c
}

// withoutFlag adds the flag that gives datastores up.
func (a *app) withoutFlag(cmd *cobra.Command, without *[]string) {
	cmd.Flags().StringArrayVar(without, "without", nil, "go on without this datastore (`name` or UUID), which can't be reached; may be repeated")
	_ = cmd.RegisterFlagCompletionFunc("without", a.completing(func(n names) []string { return n.datastores }))
}

// changeCluster has the master change the record, and prints what was done.
func (a *app) changeCluster(ctx context.Context, c core.ClusterCommand) error {
	var result agent.CommandResult
	if err := a.call(ctx, agent.MethodCluster, c, &result); err != nil {
		return err
	}
	return a.print(result, func() error {
		_, err := fmt.Fprintln(a.out, result.Text)
		return err
	})
}

func newClusterSet(a *app) *cobra.Command {
	var without []string
	cmd := &cobra.Command{
		Use:   "set SETTING=VALUE…",
		Short: "Change settings of the cluster",
		Long: `Changes settings of the cluster record, all of those given or none. They have the names
of the configuration file:

  ` + strings.Join(clusterrecord.Settings(), "\n  ") + `

  datastore.NAME.path
  datastore.NAME.preferred
  datastore.NAME.excluded
  datastore.NAME.accept_no_barrier

Where timings are set, timing.freeze is not among them: guards go by the files of their
hosts, and status names a file that has a longer one than the cluster counts on.

Machine defaults are what machines get that are protected from then on. Timings take
effect on each host when its agent starts again, one host after the other, in any order:
a host's lease stands in its terms, and who takes over goes by the longer of both. Until
then status names the hosts that still have others.`,
		Example: `  storebeat cluster set timing.profile=fast
  storebeat cluster set timing.lease=6s timing.takeover=8s
  storebeat cluster set machine_defaults.stop_time=3m`,
		Args: arguments(1, -1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var all []string
			for _, name := range clusterrecord.Settings() {
				all = append(all, name+"=")
			}
			return all, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c := core.ClusterCommand{Verb: core.ClusterSet, Without: without}
			for _, arg := range args {
				name, value, ok := strings.Cut(arg, "=")
				if !ok {
					return fail(exitUsage, "%q is not SETTING=VALUE: write it as in timing.lease=6s", arg)
				}
				c.Set = append(c.Set, clusterrecord.Assignment{Setting: name, Value: value})
			}
			return a.changeCluster(cmd.Context(), c)
		},
	}
	a.withoutFlag(cmd, &without)
	return cmd
}

func newClusterUpgrade(a *app) *cobra.Command {
	var without []string
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Raise the cluster's feature level, once every host has the new version",
		Long: `Raises the feature level at which everything is written by one, so that what a new version
brings can be used. Do this once the new version is installed on every host, one after the
other; until then all of them write what the old version reads.

It is refused while a host runs a version that does not know the level, and while one
can't be heard, since its version might not. --without HOST goes on without such a host:
an agent of the old version will refuse to start there. There is no way back.`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.changeCluster(cmd.Context(), core.ClusterCommand{Verb: core.ClusterUpgrade, Without: without})
		},
	}
	cmd.Flags().StringArrayVar(&without, "without", nil, "go on without this host or datastore (`name`), which can't be reached; may be repeated")
	_ = cmd.RegisterFlagCompletionFunc("without", a.completing(func(n names) []string { return append(n.hosts, n.datastores...) }))
	return cmd
}

func newClusterInit(a *app) *cobra.Command {
	var without []string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the cluster record without waiting for all hosts",
		Long: `Makes the first revision of the cluster record from the master's configuration file. The
master does it by itself as soon as all hosts of its file are there and their files say
the same; this is for a cluster of which a host is not there yet.`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.changeCluster(cmd.Context(), core.ClusterCommand{Verb: core.ClusterInit, Without: without})
		},
	}
	a.withoutFlag(cmd, &without)
	return cmd
}

func newClusterShow(a *app) *cobra.Command {
	var local bool
	cmd := &cobra.Command{
		Use: "show", Short: "Show the cluster record, and which hosts and datastores have it", Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := a.view(cmd.Context(), local)
			if err != nil {
				return err
			}
			return a.print(v.Cluster, func() error { return a.showCluster(v) })
		},
	}
	cmd.Flags().BoolVar(&local, "local", false, localHelp)
	return cmd
}

func (a *app) showCluster(v cluster) error {
	r := v.Cluster.Record
	if r == nil {
		return fail(exitUnavailable, "there is no cluster record yet: %s", cmp.Or(v.Cluster.Missing, "the master makes it once all hosts are there; `storebeat status` shows them"))
	}
	p := a.pairs()
	p.add("Revision", "%d, %s", r.Revision, v.recordStanding())
	p.add("Made", "%s by %s: %s", r.At.Local().Format(time.DateTime), v.hostName(r.By), r.Change)
	p.add("Level", "%d%s", r.Level, v.raisable())
	for _, name := range clusterrecord.Settings() {
		p.add(name, "%s", r.Show(name))
	}
	p.list("File of "+v.Name, v.Cluster.Differences)
	if err := p.flush(); err != nil {
		return err
	}
	fmt.Fprintln(a.out)
	if err := a.table(v.memberRows()); err != nil {
		return err
	}
	for _, m := range r.Removed {
		fmt.Fprintf(a.out, "%s (id %d) was removed with revision %d.\n", m.Name, m.ID, m.In)
	}
	fmt.Fprintln(a.out)
	return a.table(v.recordDatastoreRows())
}

// raisable says whether every host knows the next feature level.
func (v cluster) raisable() string {
	for i := range v.Cluster.Record.Members {
		h, err := v.host(fmt.Sprint(v.Cluster.Record.Members[i].ID))
		if err != nil || !h.Levels.Know(v.Cluster.Record.Level+1) {
			return ""
		}
	}
	return fmt.Sprintf(" (every host knows %d: `storebeat cluster upgrade` raises it)", v.Cluster.Record.Level+1)
}

// recordStanding says in words whether the revision counts.
func (v cluster) recordStanding() string {
	c := &v.Cluster
	text := "which most of its datastores hold"
	if !c.Counts {
		text = "which is not known to be on most of its datastores: another one may go first"
	}
	if len(c.Lacks) > 0 {
		text += "; not on " + strings.Join(c.Lacks, ", ") + " yet"
	}
	if len(c.Unknown) > 0 {
		text += "; " + strings.Join(c.Unknown, ", ") + " can't be read"
	}
	return text
}

// memberRows lists the members with what their agents act on.
func (v cluster) memberRows() [][]string {
	rows := [][]string{{"MEMBER", "ID", "HEARTBEAT", "MANAGEMENT", "SINCE", "ACTS ON", "LEVELS", "VERSION", "MAINTENANCE"}}
	for i := range v.Cluster.Record.Members {
		m := &v.Cluster.Record.Members[i]
		row := []string{m.Name, fmt.Sprint(m.ID), m.Heartbeat.String(), m.Management.String(), fmt.Sprintf("revision %d", m.Since), "", "", "", ""}
		if m.Maintenance != nil {
			row[8] = "since " + m.Maintenance.Since.Local().Format(time.DateTime)
		}
		if h, err := v.host(fmt.Sprint(m.ID)); err == nil && h.Levels.Highest > 0 {
			row[5], row[6], row[7] = fmt.Sprintf("revision %d", h.Revision), h.Levels.String(), h.Version
		}
		rows = append(rows, row)
	}
	return rows
}

func (v cluster) recordDatastoreRows() [][]string {
	rows := [][]string{{"DATASTORE", "UUID", "RECORD", "PATH", "OPTIONS"}}
	for _, d := range v.Cluster.Record.Datastores {
		holds := "holds it"
		switch {
		case slices.Contains(v.Cluster.Lacks, d.Name):
			holds = "an older one"
		case slices.Contains(v.Cluster.Unknown, d.Name):
			holds = "not known"
		}
		rows = append(rows, []string{d.Name, d.ID.String(), holds, cmp.Or(d.Path, "by each host's file"), datastoreOptions(&d)})
	}
	return rows
}

func datastoreOptions(d *clusterrecord.Datastore) string {
	var all []string
	for _, o := range []struct {
		set  bool
		name string
	}{{d.Preferred, "preferred"}, {d.Excluded, "excluded"}, {d.AcceptNoBarrier, "accept_no_barrier"}} {
		if o.set {
			all = append(all, o.name)
		}
	}
	return strings.Join(all, ", ")
}

// recordProblems lists what is not as the cluster record has it.
func (v cluster) recordProblems(add func(kind, name, state, why string)) {
	c := &v.Cluster
	if c.Missing != "" {
		add("cluster", "record", "missing", c.Missing)
	}
	if c.Record != nil && c.Record.Pause != nil {
		p := c.Record.Pause
		add("cluster", "-", "paused", fmt.Sprintf("until %s (%s): nothing that is lost is restarted; `storebeat cluster resume` ends it", p.Until.Local().Format(time.DateTime), p.Why))
		for _, host := range v.notInCustody() {
			add("host", host, "not in custody", "its machines there are frozen as usual if their leases run out")
		}
	}
	if c.Record != nil && !c.Counts {
		add("cluster", "record", "open", "revision "+fmt.Sprint(c.Record.Revision)+" is not known to be on most datastores: `storebeat cluster show` tells more")
	}
	if c.Outdated != "" {
		add("host", v.Name, "outdated", c.Outdated)
	}
	if c.Outcast != "" {
		add("host", v.Name, "takes no part", c.Outcast)
	}
	for _, d := range c.Differences {
		add("host", v.Name, "file differs", d)
	}
	v.olderLeases(add)
	if !v.Leading {
		return
	}
	for i := range v.Hosts {
		h := &v.Hosts[i]
		if h.Stranger != uuid.Nil {
			add("host", h.Name, "other computer", fmt.Sprintf("one with machine-id %s says that it is %s, and the member is %s: it takes no part; if it replaces the member: storebeat host add %s --replace", h.Stranger, h.Name, v.computer(h.ID), h.Name))
		}
		if h.Levels.Highest == 0 || h.State == "dead" {
			continue // it was never heard, or says nothing any more
		}
		if h.Differs && h.ID != v.Host {
			add("host", h.Name, "file differs", "from the cluster record: `storebeat cluster show --local` there tells in what")
		}
		v.oddProgram(h, add)
	}
}

// computer returns the machine-id that the record has of a member.
func (v cluster) computer(id datastorehb.HostID) string {
	if r := v.Cluster.Record; r != nil && r.Member(id) != nil {
		return r.Member(id).Machine.String()
	}
	return "not known"
}

// olderLeases lists where the term that is held has another lease than the next
// one will have.
func (v cluster) olderLeases(add func(kind, name, state, why string)) {
	for i := range v.Datastores {
		if d := &v.Datastores[i]; d.LeaseLength > 0 && d.LeaseLength != v.Timing.Lease {
			add("datastore", d.Name, "older lease", fmt.Sprintf("on %s a lease of %v is in force under term %d there, and %v from its next term on", v.Name, d.LeaseLength, d.Term, v.Timing.Lease))
		}
	}
}

// oddProgram compares a host with the one that answers.
func (v cluster) oddProgram(h *core.HostView, add func(kind, name, state, why string)) {
	if c := &v.Cluster; c.Record != nil && h.Revision < c.Record.Revision {
		add("host", h.Name, "older record", fmt.Sprintf("it acts on revision %d, the newest is %d", h.Revision, c.Record.Revision))
	}
	own, err := v.host(fmt.Sprint(v.Host))
	if err != nil {
		return
	}
	if h.Version != own.Version {
		add("host", h.Name, "other version", fmt.Sprintf("it runs Storebeat %s, %s runs %s", h.Version, own.Name, own.Version))
	}
	wanted := v.Timing
	if v.Cluster.Record != nil {
		wanted = v.Cluster.Record.Timing
	}
	if h.Lease != wanted.Lease || h.Takeover != wanted.Takeover {
		add("host", h.Name, "other timing", fmt.Sprintf("its lease is %v and its takeover time %v, the cluster's %v and %v: restart its agent", h.Lease, h.Takeover, wanted.Lease, wanted.Takeover))
	}
}
