package metrics

import "github.com/prometheus/client_golang/prometheus"

// Type is a kind of metric in Prometheus's terms.
type Type string

// The types that are used.
const (
	Counter   Type = "counter"
	Gauge     Type = "gauge"
	Histogram Type = "histogram"
)

// Definition is one metric as it is documented.
type Definition struct {
	Name   string
	Type   Type
	Labels []string
	Help   string // one line, shown with the metric, too
}

// Chapter holds the metrics that concern one thing.
type Chapter struct {
	Title   string
	Metrics []Definition
}

// Chapters returns all metrics, by what they concern.
func Chapters() []Chapter { return chapters }

// definition looks one up. A name that is not in the table is a mistake in this
// package, which the first test finds.
func definition(name string) Definition {
	for _, chapter := range chapters {
		for _, d := range chapter.Metrics {
			if d.Name == name {
				return d
			}
		}
	}
	panic("metrics: " + name + " is not in the table")
}

func (d Definition) desc() *prometheus.Desc {
	return prometheus.NewDesc(d.Name, d.Help, d.Labels, nil)
}

// chapters are the one list of all metrics. docs/metrics.md is written from it.
var chapters = []Chapter{
	{"Agent", []Definition{
		{"storebeat_build_info", Gauge, []string{"version", "goversion"}, "1, with the version of the program."},
		{"storebeat_state_age_seconds", Gauge, nil, "Age of the state that this answer was made from; 0 unless the agent's main loop did not answer."},
		{"storebeat_guard_up", Gauge, nil, "Whether the agent has a guard that answers."},
		{"storebeat_watchdog_fed_age_seconds", Gauge, nil, "Time since the guard fed the hardware watchdog last. Absent without a watchdog."},
		{"storebeat_weak_freeze", Gauge, nil, "Whether machines are frozen by SIGSTOP for want of cgroup v2, which others can undo."},
		{"storebeat_events_total", Counter, []string{"kind", "severity"}, "Events that this host recorded, by the kinds of docs/events.md."},
		{"storebeat_journal_stored", Gauge, nil, "Whether the journal is written to disk; 0 while it is in memory only."},
		{"storebeat_journal_waiting", Gauge, nil, "Entries of the journal that are not on disk yet."},
		{"storebeat_journal_dropped_total", Counter, nil, "Entries of the journal that left memory before they could be written."},
		{"storebeat_notifications_total", Counter, []string{"notify", "result"}, "Notifications by what became of them: delivered, failed, timeout, suppressed, dropped."},
	}},
	{"Cluster", []Definition{
		{"storebeat_master", Gauge, nil, "Whether this host is master."},
		{"storebeat_master_known", Gauge, nil, "Whether this host is master or follows one."},
		{"storebeat_isolated", Gauge, nil, "Whether this host holds itself for isolated."},
		{"storebeat_host_state", Gauge, []string{"host", "state"}, "1 for the state that the host is in, 0 for the others. Shown by hosts that watch it: the master watches all, the others only the master and themselves."},
		{"storebeat_host_silence_seconds", Gauge, []string{"host"}, "Time since another host was heard on the network, for the hosts that this one watches."},
		{"storebeat_host_memory_bytes", Gauge, []string{"host"}, "Memory that a host gives to machines, for the hosts that this one watches."},
		{"storebeat_host_memory_used_bytes", Gauge, []string{"host"}, "Part of storebeat_host_memory_bytes that machines use."},
		{"storebeat_failovers_total", Counter, nil, "Starts that this host ordered as master."},
		{"storebeat_terms_closed_total", Counter, []string{"datastore"}, "Terms of other hosts that this host closed: each time a host had lost its machines there."},
	}},
	{"Datastores", []Definition{
		{"storebeat_datastore_state", Gauge, []string{"datastore", "state"}, "1 for the state that the datastore is in for this host (available, failing, unavailable, distrusted), 0 for the others."},
		{"storebeat_datastore_heartbeat", Gauge, []string{"datastore"}, "Whether the datastore is one of this host's heartbeat datastores."},
		{"storebeat_lease_valid", Gauge, []string{"datastore"}, "Whether this host has a lease: proof of life that lets it run machines there. A host with no machines on a datastore may need none."},
		{"storebeat_lease_age_seconds", Gauge, []string{"datastore"}, "Time since the proof of life that the lease rests on. Absent without a lease."},
		{"storebeat_lease_duration_seconds", Gauge, nil, "How long one proof of life lets a host run its machines."},
		{"storebeat_heartbeat_write_duration_seconds", Histogram, []string{"datastore"}, "How long heartbeat writes took, failed ones too."},
		{"storebeat_heartbeat_write_failures_total", Counter, []string{"datastore"}, "Heartbeat writes that failed."},
		{"storebeat_heartbeat_write_pending_seconds", Gauge, []string{"datastore"}, "How long a heartbeat write has been under way; 0 when none is."},
		{"storebeat_region_read_duration_seconds", Histogram, []string{"datastore"}, "How long reads of the heartbeat region took, failed ones too."},
		{"storebeat_region_read_failures_total", Counter, []string{"datastore"}, "Reads of the heartbeat region that failed."},
		{"storebeat_claim_duration_seconds", Histogram, []string{"datastore"}, "How long claims in a register took, lost and failed ones too."},
		{"storebeat_operation_pending_seconds", Gauge, []string{"datastore"}, "How long the oldest operation of any kind has been under way; 0 when none is."},
		{"storebeat_datastore_operations_total", Counter, []string{"datastore", "operation"}, "Operations on the datastore: read, write, metadata."},
		{"storebeat_datastore_read_bytes_total", Counter, []string{"datastore"}, "Bytes read from the datastore."},
		{"storebeat_datastore_written_bytes_total", Counter, []string{"datastore"}, "Bytes written to the datastore."},
		{"storebeat_terms_won_total", Counter, []string{"datastore"}, "Terms that this host won; more than one in a run of the agent means that machines were frozen."},
		{"storebeat_leases_lapsed_total", Counter, []string{"datastore"}, "Leases that ran out with machines to freeze."},
		{"storebeat_generations_claimed_total", Counter, []string{"datastore"}, "Generations that this host won: rights to run a machine."},
	}},
	{"Machines", []Definition{
		{"storebeat_machines", Gauge, []string{"state"}, "Machines on this host: running, frozen, starting, stopping."},
		{"storebeat_cluster_machines", Gauge, []string{"state"}, "Machines of the whole cluster, shown by the master alone."},
		{"storebeat_cluster_machines_without_place", Gauge, nil, "Machines that are to start and that no host can take at present, shown by the master alone. The event `machine-without-place` has the reasons."},
		{"storebeat_machine_trouble", Gauge, []string{"machine", "vm", "datastore", "state"}, "1 for each machine that is to run and does not (frozen, waiting, held, undetermined, unknown), shown by the master, or by the host that it is on. `storebeat explain vm` has the reason."},
		{"storebeat_machine_cpu_seconds_total", Counter, []string{"machine", "vm"}, "Processor time of the machine's process, for machines on this host. This and what follows begins anew with each start."},
		{"storebeat_machine_resident_bytes", Gauge, []string{"machine", "vm"}, "Memory of this host that the machine's process holds."},
		{"storebeat_machine_disk_read_bytes_total", Counter, []string{"machine", "vm", "disk"}, "What the guest has read. Absent while the hypervisor does not answer, as while the machine is frozen."},
		{"storebeat_machine_disk_written_bytes_total", Counter, []string{"machine", "vm", "disk"}, "What the guest has written."},
		{"storebeat_machine_network_received_bytes_total", Counter, []string{"machine", "vm", "interface"}, "What the guest has received, by the tap device of the host."},
		{"storebeat_machine_network_sent_bytes_total", Counter, []string{"machine", "vm", "interface"}, "What the guest has sent."},
		{"storebeat_machine_starts_total", Counter, nil, "Machines that were started on this host."},
		{"storebeat_machine_start_failures_total", Counter, nil, "Machines that could not be started on this host."},
		{"storebeat_machine_crashes_total", Counter, nil, "Machines on this host that ended unasked."},
		{"storebeat_machine_thaws_total", Counter, nil, "Machines that went on after they had been frozen on this host."},
	}},
	{"Network heartbeats", []Definition{
		{"storebeat_network_heartbeats_sent_total", Counter, nil, "Network heartbeats sent."},
		{"storebeat_network_heartbeats_received_total", Counter, []string{"host"}, "Network heartbeats received from another host."},
		{"storebeat_network_heartbeats_missed_total", Counter, []string{"host"}, "Network heartbeats that another host should have sent between two that came, for gaps of up to ten."},
		{"storebeat_network_heartbeats_rejected_total", Counter, nil, "Packets dropped because they were not authentic, too large, or not for this host."},
		{"storebeat_network_send_errors_total", Counter, nil, "Network heartbeats that could not be sent."},
	}},
}
