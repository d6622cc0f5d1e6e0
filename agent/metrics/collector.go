package metrics

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"storebeat/agent/core"
	"storebeat/agent/hypervisor"
	"storebeat/agent/journal"
	"storebeat/partition"
)

// Patience is how long a scrape waits for the agent's state.
const Patience = time.Second

// State is what the agent knows and does at one time.
type State struct {
	View       core.View
	Journal    journal.Health
	Datastores map[string]Datastore                // by name
	Machines   map[uuid.UUID]hypervisor.Statistics // of this host's
	WeakFreeze bool
	Sent       uint64 // network heartbeats
	SendErrors uint64
	Fed        time.Duration // since the watchdog was fed
	Watchdog   bool          // there is one
}

// Datastore is what the agent does on one datastore.
type Datastore struct {
	Reads, Writes, Metadata, BytesRead, BytesWritten int64
	Pending                                          time.Duration // of the oldest operation
}

// Source returns the agent's state. It gives up when ctx is done.
type Source func(ctx context.Context) (State, error)

// Show makes the registry show the agent's state whenever it is gathered.
func Show(registry prometheus.Registerer, source Source) {
	registry.MustRegister(&collector{source: source, now: time.Now})
}

type collector struct {
	source Source
	now    func() time.Time

	mu    sync.Mutex
	state State
	taken time.Time // of state; zero before the first
}

// shown are the metrics of a state.
var shown = []string{
	"storebeat_state_age_seconds", "storebeat_guard_up", "storebeat_watchdog_fed_age_seconds", "storebeat_weak_freeze",
	"storebeat_journal_stored", "storebeat_journal_waiting", "storebeat_journal_dropped_total",
	"storebeat_master", "storebeat_master_known", "storebeat_isolated", "storebeat_host_state", "storebeat_host_silence_seconds",
	"storebeat_host_memory_bytes", "storebeat_host_memory_used_bytes",
	"storebeat_datastore_state", "storebeat_datastore_heartbeat", "storebeat_lease_valid", "storebeat_lease_age_seconds", "storebeat_lease_duration_seconds",
	"storebeat_heartbeat_write_pending_seconds", "storebeat_operation_pending_seconds", "storebeat_datastore_operations_total",
	"storebeat_datastore_read_bytes_total", "storebeat_datastore_written_bytes_total",
	"storebeat_machines", "storebeat_cluster_machines", "storebeat_cluster_machines_without_place", "storebeat_machine_trouble",
	"storebeat_machine_cpu_seconds_total", "storebeat_machine_resident_bytes", "storebeat_machine_disk_read_bytes_total", "storebeat_machine_disk_written_bytes_total",
	"storebeat_machine_network_received_bytes_total", "storebeat_machine_network_sent_bytes_total",
	"storebeat_network_heartbeats_sent_total", "storebeat_network_send_errors_total",
}

// Describe names the metrics of a state.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, name := range shown {
		out <- definition(name).desc()
	}
}

// Collect shows the newest state that can be had.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	s, age, ok := c.newest()
	if !ok {
		return // the agent has not begun
	}
	w := writer{out}
	w.gauge("storebeat_state_age_seconds", age.Seconds())
	w.agent(&s)
	w.hosts(&s.View)
	for i := range s.View.Datastores {
		d := &s.View.Datastores[i]
		w.datastore(d, &s.View)
		w.operations(d.Name, s.Datastores[d.Name])
	}
	w.machines(&s.View)
	w.use(&s)
}

// newest asks for the state, and makes do with the last one when none comes.
func (c *collector) newest() (s State, age time.Duration, ok bool) {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	s, err := c.source(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.state, c.taken = s, c.now()
		return s, 0, true
	}
	return c.state, c.now().Sub(c.taken), !c.taken.IsZero()
}

type writer struct{ out chan<- prometheus.Metric }

func (w writer) metric(name string, value float64, labels ...string) {
	d, kind := definition(name), prometheus.GaugeValue
	if d.Type == Counter {
		kind = prometheus.CounterValue
	}
	w.out <- prometheus.MustNewConstMetric(d.desc(), kind, value, labels...)
}

func (w writer) gauge(name string, value float64, labels ...string) { w.metric(name, value, labels...) }

func (w writer) flag(name string, on bool, labels ...string) {
	value := 0.0
	if on {
		value = 1
	}
	w.metric(name, value, labels...)
}

// oneOf shows which of several states holds.
func (w writer) oneOf(name, whose, state string, states []string) {
	for _, s := range states {
		w.flag(name, s == state, whose, s)
	}
}

func (w writer) agent(s *State) {
	w.flag("storebeat_guard_up", s.View.GuardUp)
	if s.Watchdog {
		w.gauge("storebeat_watchdog_fed_age_seconds", s.Fed.Seconds())
	}
	w.flag("storebeat_weak_freeze", s.WeakFreeze)
	w.flag("storebeat_journal_stored", s.Journal.Stored)
	w.gauge("storebeat_journal_waiting", float64(s.Journal.Waiting))
	w.metric("storebeat_journal_dropped_total", float64(s.Journal.Dropped))
	w.metric("storebeat_network_heartbeats_sent_total", float64(s.Sent))
	w.metric("storebeat_network_send_errors_total", float64(s.SendErrors))
	w.gauge("storebeat_lease_duration_seconds", s.View.Timing.Lease.Seconds())
}

var hostStates = func() (names []string) {
	for s := partition.Undetermined; s <= partition.Dead; s++ {
		names = append(names, s.String())
	}
	return names
}()

func (w writer) hosts(v *core.View) {
	w.flag("storebeat_master", v.Leading)
	w.flag("storebeat_master_known", v.Master != 0)
	w.flag("storebeat_isolated", v.Isolated)
	for i := range v.Hosts {
		h := &v.Hosts[i]
		if h.ID != v.Host && h.ID != v.Master && !v.Leading {
			continue
		}
		w.oneOf("storebeat_host_state", h.Name, h.State, hostStates)
		if h.ID != v.Host {
			w.gauge("storebeat_host_silence_seconds", h.Silence.Seconds(), h.Name)
		}
		w.gauge("storebeat_host_memory_bytes", float64(h.MemoryTotal), h.Name)
		w.gauge("storebeat_host_memory_used_bytes", float64(h.MemoryUsed), h.Name)
	}
}

func (w writer) datastore(d *core.DatastoreView, v *core.View) {
	w.oneOf("storebeat_datastore_state", d.Name, d.State, []string{"available", "failing", "unavailable", "distrusted"})
	w.flag("storebeat_datastore_heartbeat", d.Heartbeat, d.Name)
	w.flag("storebeat_lease_valid", d.Lease > 0, d.Name)
	if d.Lease > 0 {
		w.gauge("storebeat_lease_age_seconds", max(0, v.Timing.Lease-d.Lease).Seconds(), d.Name)
	}
	w.gauge("storebeat_heartbeat_write_pending_seconds", d.Writing.Seconds(), d.Name)
}

func (w writer) operations(name string, d Datastore) {
	w.gauge("storebeat_operation_pending_seconds", d.Pending.Seconds(), name)
	w.metric("storebeat_datastore_operations_total", float64(d.Reads), name, "read")
	w.metric("storebeat_datastore_operations_total", float64(d.Writes), name, "write")
	w.metric("storebeat_datastore_operations_total", float64(d.Metadata), name, "metadata")
	w.metric("storebeat_datastore_read_bytes_total", float64(d.BytesRead), name)
	w.metric("storebeat_datastore_written_bytes_total", float64(d.BytesWritten), name)
}

// use shows what this host's machines use.
func (w writer) use(s *State) {
	told := map[uuid.UUID]bool{}
	for i := range s.View.Machines {
		m := &s.View.Machines[i]
		u, known := s.Machines[m.VM]
		if !known || told[m.VM] {
			continue
		}
		told[m.VM] = true
		w.metric("storebeat_machine_cpu_seconds_total", u.CPU.Seconds(), m.Name, m.VM.String())
		w.gauge("storebeat_machine_resident_bytes", float64(u.Memory), m.Name, m.VM.String())
		seen := map[string]bool{} // a name may come twice, a series may not
		for _, d := range u.Disks {
			if !seen[d.Name] {
				w.metric("storebeat_machine_disk_read_bytes_total", float64(d.Read), m.Name, m.VM.String(), d.Name)
				w.metric("storebeat_machine_disk_written_bytes_total", float64(d.Written), m.Name, m.VM.String(), d.Name)
			}
			seen[d.Name] = true
		}
		for _, n := range u.Interfaces {
			w.metric("storebeat_machine_network_received_bytes_total", float64(n.Received), m.Name, m.VM.String(), n.Name)
			w.metric("storebeat_machine_network_sent_bytes_total", float64(n.Sent), m.Name, m.VM.String(), n.Name)
		}
	}
}

// The states of machines; the view has no others.
var (
	localStates   = []string{"running", "frozen", "starting", "stopping"}
	clusterStates = []string{"running", "in custody", "frozen", "starting", "stopping", "stopped", "left off", "waiting", "held", "undetermined", "unknown"}
	troubleStates = map[string]bool{"frozen": true, "waiting": true, "held": true, "undetermined": true, "unknown": true}
)

func (w writer) machines(v *core.View) {
	here, all, without := map[string]int{}, map[string]int{}, 0
	told := map[uuid.UUID]bool{} // a machine known on two datastores is one series
	for i := range v.Machines {
		m := &v.Machines[i]
		if all[m.State]++; len(m.Refusals) > 0 {
			without++
		}
		if m.Host == v.Host {
			here[m.State]++
		}
		if troubleStates[m.State] && (v.Leading || m.Host == v.Host) && !told[m.VM] {
			told[m.VM] = true
			w.gauge("storebeat_machine_trouble", 1, m.Name, m.VM.String(), m.Home, m.State)
		}
	}
	for _, state := range localStates {
		w.gauge("storebeat_machines", float64(here[state]), state)
	}
	if v.Leading {
		w.gauge("storebeat_cluster_machines_without_place", float64(without))
	}
	for _, state := range clusterStates {
		if v.Leading {
			w.gauge("storebeat_cluster_machines", float64(all[state]), state)
		}
	}
}
