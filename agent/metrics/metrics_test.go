package metrics_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"storebeat/agent/core"
	"storebeat/agent/hypervisor"
	"storebeat/agent/journal"
	"storebeat/agent/metrics"
	"storebeat/datastorehb"
)

var update = flag.Bool("update", false, "rewrite docs/metrics.md")

const page = "../../docs/metrics.md"

var nfs = uuid.MustParse("11111111-2222-4333-8444-555555555555")

// full is a state in which every metric of a state has something to show.
func full() metrics.State {
	return metrics.State{
		View: core.View{
			Host: 1, Name: "alpha", Master: 1, MasterName: "alpha", Leading: true, GuardUp: true,
			Timing: datastorehb.Timing{Interval: time.Second, Lease: 4 * time.Second},
			Hosts: []core.HostView{
				{ID: 1, Name: "alpha", State: "live", MemoryTotal: 100, MemoryUsed: 40},
				{ID: 2, Name: "beta", State: "dead", Silence: 90 * time.Second},
			},
			Datastores: []core.DatastoreView{{ID: nfs, Name: "nfs", State: "failing", Heartbeat: true, Lease: 3 * time.Second, Writing: 700 * time.Millisecond}},
			Machines: []core.MachineView{
				{VM: uuid.UUID{1}, Name: "web", Home: "nfs", State: "running", Host: 1},
				{VM: uuid.UUID{2}, Name: "db", Home: "nfs", State: "waiting", Refusals: []string{"beta has 1 GiB of memory left"}},
				{VM: uuid.UUID{3}, Name: "mail", Home: "nfs", State: "frozen", Host: 2},
			},
		},
		Journal:    journal.Health{Stored: true, Waiting: 3, Dropped: 2},
		Datastores: map[string]metrics.Datastore{"nfs": {Reads: 5, Writes: 4, Metadata: 3, BytesRead: 2048, BytesWritten: 1024, Pending: 2 * time.Second}},
		Machines: map[uuid.UUID]hypervisor.Statistics{
			{1}: {CPU: 1500 * time.Millisecond, Memory: 4096, Disks: []hypervisor.DiskStatistics{{Name: "disk0", Read: 512, Written: 1024}, {Name: "disk0"}}, Interfaces: []hypervisor.InterfaceStatistics{{Name: "tap0", Received: 60, Sent: 70}}},
			{9}: {Memory: 1}, // of which the view says nothing
		},
		Sent: 17, SendErrors: 1, Watchdog: true, Fed: 100 * time.Millisecond,
	}
}

func instruments(t *testing.T, source metrics.Source) (*metrics.Metrics, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	m := metrics.New(registry, metrics.Options{Version: "v1", Datastores: []string{"nfs"}, Name: nameOf, Beat: time.Second})
	metrics.Show(registry, source)
	return m, registry
}

func constant(s metrics.State) metrics.Source {
	return func(context.Context) (metrics.State, error) { return s, nil }
}

func text(t *testing.T, registry *prometheus.Registry) string {
	t.Helper()
	shown, err := metrics.Text(registry)
	if err != nil {
		t.Fatal(err)
	}
	return shown
}

// has fails unless each line is shown as it is.
func has(t *testing.T, shown string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains("\n"+shown, "\n"+line+"\n") {
			name, _, _ := strings.Cut(line, "{")
			name, _, _ = strings.Cut(name, " ")
			var near []string
			for l := range strings.Lines(shown) {
				if strings.HasPrefix(l, name) {
					near = append(near, strings.TrimSpace(l))
				}
			}
			t.Errorf("%s is not shown; there are %q", line, near)
		}
	}
}

// What machines use is shown by name, once each.
func TestWhatMachinesUse(t *testing.T) {
	_, registry := instruments(t, constant(full()))
	web := `machine="web",vm="01000000-0000-0000-0000-000000000000"`
	has(t, text(t, registry), "storebeat_machine_cpu_seconds_total{"+web+"} 1.5", "storebeat_machine_resident_bytes{"+web+"} 4096",
		`storebeat_machine_disk_read_bytes_total{disk="disk0",`+web+"} 512", `storebeat_machine_disk_written_bytes_total{disk="disk0",`+web+"} 1024",
		`storebeat_machine_network_received_bytes_total{interface="tap0",`+web+"} 60", `storebeat_machine_network_sent_bytes_total{interface="tap0",`+web+"} 70")
}

// What is in the table is shown, and what is shown is in the table.
func TestTheTableIsTheRegistry(t *testing.T) {
	m, registry := instruments(t, constant(full()))
	m.Received(2, "beta", 0)
	m.Notified("mail", "delivered")
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var shown, listed []string
	for _, f := range families {
		var labels []string
		for _, l := range f.Metric[0].Label {
			labels = append(labels, l.GetName())
		}
		slices.Sort(labels)
		shown = append(shown, fmt.Sprint(f.GetName(), strings.ToLower(f.GetType().String()), labels, f.GetHelp()))
	}
	for _, chapter := range metrics.Chapters() {
		for _, d := range chapter.Metrics {
			labels := slices.Sorted(slices.Values(d.Labels))
			listed = append(listed, fmt.Sprint(d.Name, string(d.Type), labels, d.Help))
		}
	}
	slices.Sort(shown)
	slices.Sort(listed)
	if diff := cmp.Diff(listed, shown); diff != "" {
		t.Errorf("table and registry differ (-table +registry):\n%s", diff)
	}
}

// The names follow Prometheus's conventions.
func TestConventions(t *testing.T) {
	_, registry := instruments(t, constant(full()))
	problems, err := promlint.New(strings.NewReader(text(t, registry))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestState(t *testing.T) {
	_, registry := instruments(t, constant(full()))
	has(t, text(t, registry),
		`storebeat_state_age_seconds 0`,
		`storebeat_master 1`,
		`storebeat_guard_up 1`,
		`storebeat_watchdog_fed_age_seconds 0.1`,
		`storebeat_host_state{host="beta",state="dead"} 1`,
		`storebeat_host_state{host="beta",state="live"} 0`,
		`storebeat_host_silence_seconds{host="beta"} 90`,
		`storebeat_datastore_state{datastore="nfs",state="failing"} 1`,
		`storebeat_lease_valid{datastore="nfs"} 1`,
		`storebeat_lease_age_seconds{datastore="nfs"} 1`,
		`storebeat_heartbeat_write_pending_seconds{datastore="nfs"} 0.7`,
		`storebeat_operation_pending_seconds{datastore="nfs"} 2`,
		`storebeat_datastore_operations_total{datastore="nfs",operation="metadata"} 3`,
		`storebeat_machines{state="running"} 1`,
		`storebeat_cluster_machines{state="waiting"} 1`,
		`storebeat_cluster_machines_without_place 1`,
		`storebeat_machine_trouble{datastore="nfs",machine="db",state="waiting",vm="02000000-0000-0000-0000-000000000000"} 1`,
		`storebeat_journal_dropped_total 2`,
	)
}

// A host that is not master does not judge the others, and must not show them
// as undetermined: that is what an alert would be about.
func TestOnlyWhatIsWatchedIsShown(t *testing.T) {
	s := full()
	s.View.Leading, s.View.Master = false, 3
	s.View.Hosts = append(s.View.Hosts, core.HostView{ID: 3, Name: "gamma", State: "live"})
	s.View.Datastores[0].Lease = 0
	s.Watchdog = false
	_, registry := instruments(t, constant(s))
	shown := text(t, registry)
	has(t, shown, `storebeat_master 0`, `storebeat_host_state{host="gamma",state="live"} 1`, `storebeat_host_state{host="alpha",state="live"} 1`, `storebeat_lease_valid{datastore="nfs"} 0`)
	for _, hidden := range []string{`host="beta"`, "storebeat_cluster_machines{", "storebeat_machine_trouble{", "storebeat_lease_age_seconds{", "storebeat_watchdog_fed_age_seconds "} {
		if strings.Contains(shown, hidden) {
			t.Errorf("%s is shown", hidden)
		}
	}
}

// A machine that is known on two datastores, a copy in a sibling say, must not
// make the whole scrape fail.
func TestOneMachineOnTwoDatastores(t *testing.T) {
	s := full()
	s.View.Machines = append(s.View.Machines, s.View.Machines[1])
	_, registry := instruments(t, constant(s))
	text(t, registry)
}

// A scrape is answered though the agent's loop hangs: with the last state, and its age.
func TestAHungLoopHoldsUpNoScrape(t *testing.T) {
	hang := false
	_, registry := instruments(t, func(ctx context.Context) (metrics.State, error) {
		if !hang {
			return full(), nil
		}
		<-ctx.Done()
		return metrics.State{}, ctx.Err()
	})
	has(t, text(t, registry), `storebeat_state_age_seconds 0`)
	hang = true
	shown := text(t, registry)
	has(t, shown, `storebeat_host_state{host="beta",state="dead"} 1`)
	if strings.Contains(shown, "storebeat_state_age_seconds 0\n") {
		t.Error("an old state is shown as a new one")
	}
}

// Before there is any state, what is counted is shown all the same.
func TestBeforeTheFirstState(t *testing.T) {
	_, registry := instruments(t, func(context.Context) (metrics.State, error) { return metrics.State{}, errors.New("not yet") })
	shown := text(t, registry)
	has(t, shown, `storebeat_terms_won_total{datastore="nfs"} 0`, `storebeat_failovers_total 0`, `storebeat_events_total{kind="host-dead",severity="error"} 0`)
	if strings.Contains(shown, "storebeat_master ") {
		t.Error("a state is shown that nobody has seen")
	}
}

func TestCounters(t *testing.T) {
	m, registry := instruments(t, constant(full()))
	m.Event(&core.Event{Kind: "term-won", Severity: core.Notice, Datastore: nfs})
	m.Event(&core.Event{Kind: "term-won", Severity: core.Notice, Datastore: uuid.UUID{7}})
	m.Event(&core.Event{Kind: "start-ordered", Severity: core.Notice, Datastore: nfs})
	span := core.Span{Datastore: nfs, Issued: datastorehb.Instant(time.Second), Returned: datastorehb.Instant(time.Second + 3*time.Millisecond)}
	m.HeartbeatWritten(span)
	span.Err = "input/output error"
	m.HeartbeatWritten(span)
	m.RegionRead(span)
	m.Claimed(span)
	m.Rejected()
	m.Notified("mail", "timeout")
	has(t, text(t, registry),
		`storebeat_events_total{kind="term-won",severity="notice"} 2`,
		`storebeat_terms_won_total{datastore="nfs"} 1`,
		`storebeat_terms_won_total{datastore="07000000-0000-0000-0000-000000000000"} 1`,
		`storebeat_failovers_total 1`,
		`storebeat_heartbeat_write_duration_seconds_bucket{datastore="nfs",le="0.0025"} 0`,
		`storebeat_heartbeat_write_duration_seconds_bucket{datastore="nfs",le="0.005"} 2`,
		`storebeat_heartbeat_write_failures_total{datastore="nfs"} 1`,
		`storebeat_region_read_failures_total{datastore="nfs"} 1`,
		`storebeat_claim_duration_seconds_count{datastore="nfs"} 1`,
		`storebeat_network_heartbeats_rejected_total 1`,
		`storebeat_notifications_total{notify="mail",result="timeout"} 1`,
	)
}

// Heartbeats that are missing between two count as lost; a long silence, as of a
// host that has another master now, does not.
func TestMissedHeartbeats(t *testing.T) {
	m, registry := instruments(t, constant(full()))
	for _, at := range []time.Duration{0, 1100 * time.Millisecond, 1900 * time.Millisecond, 5 * time.Second, 40 * time.Second, 41 * time.Second} {
		m.Received(2, "beta", datastorehb.Instant(at))
	}
	has(t, text(t, registry), `storebeat_network_heartbeats_received_total{host="beta"} 6`, `storebeat_network_heartbeats_missed_total{host="beta"} 2`)
}

// TestPage keeps docs/metrics.md in step with the table.
func TestPage(t *testing.T) {
	want := writePage()
	if *update {
		if err := os.WriteFile(page, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("docs/metrics.md is out of step (-table +page): run go test ./agent/metrics -run TestPage -update\n%s", diff)
	}
}

const pageHead = `# Metrics

Every agent shows how it and its host are doing in Prometheus's format: ` + "`storebeat metrics`" + ` prints it on the host, and
Prometheus reads it at the address that the configuration names (` + "`metrics.address`" + `, off by default; see
[configuration.md](configuration.md#metrics)). This page is generated from the table in the code
(` + "`go test ./agent/metrics -run TestPage -update`" + `).

A scrape touches no datastore: it shows what the agent knows already, and so answers however the storage is doing. If the
agent's own main loop does not answer within a second, the last state is shown, and ` + "`storebeat_state_age_seconds`" + `
says how old it is. Beside the metrics below there are those of the Go runtime and of the process (` + "`go_…`, `process_…`" + `).

Each host speaks for itself. What concerns the whole cluster is shown by the master alone, who is the one with
` + "`storebeat_master == 1`" + `; take the maximum over all hosts in rules about it. Names and labels stay the same from version to
version. The labels are names of hosts, datastores, states and kinds of events; single machines are named only while they are in
trouble.

Alert rules are in ` + "`packaging/prometheus/storebeat.rules.yml`" + `, a dashboard in ` + "`packaging/grafana/storebeat.json`" + `.
`

func writePage() []byte {
	var b bytes.Buffer
	b.WriteString(pageHead)
	for _, chapter := range metrics.Chapters() {
		fmt.Fprintf(&b, "\n## %s\n\n| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n", chapter.Title)
		for _, d := range chapter.Metrics {
			labels := "–"
			if len(d.Labels) > 0 {
				labels = "`" + strings.Join(d.Labels, "`, `") + "`"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", d.Name, d.Type, labels, d.Help)
		}
	}
	return b.Bytes()
}

// Nothing of the metrics is registered anywhere but where it was asked for.
func TestTheGlobalRegistryIsLeftAlone(t *testing.T) {
	instruments(t, constant(full()))
	if shown, err := metrics.Text(prometheus.DefaultGatherer); strings.Contains(shown, "storebeat_") || err != nil {
		t.Errorf("the global registry shows (%v)\n%s", err, shown)
	}
}

func nameOf(datastore uuid.UUID) string {
	if datastore == nfs {
		return "nfs"
	}
	return datastore.String()
}
