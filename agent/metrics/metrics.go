package metrics

import (
	"runtime"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"storebeat/agent/core"
	"storebeat/datastorehb"
)

// Metrics are an agent's. Its methods may be called from anywhere and never wait.
type Metrics struct {
	name func(datastore uuid.UUID) string
	beat time.Duration // from one network heartbeat to the next

	events                            *prometheus.CounterVec
	counters                          map[string]*prometheus.CounterVec // those in countedByKind
	heartbeats, regionReads, claims   *prometheus.HistogramVec
	heartbeatFailures, regionFailures *prometheus.CounterVec
	received, missed                  *prometheus.CounterVec
	rejected                          prometheus.Counter
	notifications                     *prometheus.CounterVec

	mu   sync.Mutex
	last map[datastorehb.HostID]datastorehb.Instant // arrival of the newest packet
}

// countedByKind are counters of their own for what people ask for most.
var countedByKind = map[core.Kind]string{
	"start-ordered":   "storebeat_failovers_total",
	"term-closed":     "storebeat_terms_closed_total",
	"term-won":        "storebeat_terms_won_total",
	"lease-lapsed":    "storebeat_leases_lapsed_total",
	"generation-won":  "storebeat_generations_claimed_total",
	"machine-started": "storebeat_machine_starts_total",
	"start-failed":    "storebeat_machine_start_failures_total",
	"machine-crashed": "storebeat_machine_crashes_total",
	"machine-thawed":  "storebeat_machine_thaws_total",
}

// latencies suit storage from a local disk to one that stalls, in seconds.
var latencies = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// Options say what is known from the start.
type Options struct {
	Version    string
	Datastores []string                         // names of those known from the start
	Name       func(datastore uuid.UUID) string // of a datastore; called at any time
	Beat       time.Duration                    // from one network heartbeat to the next
}

// New makes an agent's metrics and registers them. A registry takes them once.
func New(registry prometheus.Registerer, o Options) *Metrics {
	m := &Metrics{name: o.Name, beat: o.Beat, counters: map[string]*prometheus.CounterVec{}, last: map[datastorehb.HostID]datastorehb.Instant{}}
	counter := func(name string) *prometheus.CounterVec {
		d := definition(name)
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: d.Name, Help: d.Help}, d.Labels)
		registry.MustRegister(v)
		return v
	}
	histogram := func(name string) *prometheus.HistogramVec {
		d := definition(name)
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: d.Name, Help: d.Help, Buckets: latencies}, d.Labels)
		registry.MustRegister(v)
		return v
	}
	m.events = counter("storebeat_events_total")
	for _, name := range countedByKind {
		m.counters[name] = counter(name)
	}
	m.heartbeats, m.heartbeatFailures = histogram("storebeat_heartbeat_write_duration_seconds"), counter("storebeat_heartbeat_write_failures_total")
	m.regionReads, m.regionFailures = histogram("storebeat_region_read_duration_seconds"), counter("storebeat_region_read_failures_total")
	m.claims = histogram("storebeat_claim_duration_seconds")
	m.received, m.missed = counter("storebeat_network_heartbeats_received_total"), counter("storebeat_network_heartbeats_missed_total")
	m.rejected = counter("storebeat_network_heartbeats_rejected_total").WithLabelValues()
	m.notifications = counter("storebeat_notifications_total")
	build := definition("storebeat_build_info")
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: build.Name, Help: build.Help}, build.Labels)
	info.WithLabelValues(o.Version, runtime.Version()).Set(1)
	registry.MustRegister(info)
	m.begin(o.Datastores)
	return m
}

// begin shows every counter from the start, as 0: a counter that first appears
// as 1 has not increased, in the eyes of Prometheus.
func (m *Metrics) begin(datastores []string) {
	for _, about := range core.Kinds() {
		m.events.WithLabelValues(string(about.Kind), string(about.Severity))
	}
	for name, v := range m.counters {
		if len(definition(name).Labels) == 0 {
			v.WithLabelValues()
		}
	}
	for _, name := range datastores {
		for counter, v := range m.counters {
			if len(definition(counter).Labels) > 0 {
				v.WithLabelValues(name)
			}
		}
		m.heartbeatFailures.WithLabelValues(name)
		m.regionFailures.WithLabelValues(name)
		for _, h := range []*prometheus.HistogramVec{m.heartbeats, m.regionReads, m.claims} {
			h.WithLabelValues(name)
		}
	}
}

// Event counts one.
func (m *Metrics) Event(e *core.Event) {
	m.events.WithLabelValues(string(e.Kind), string(e.Severity)).Inc()
	name, ok := countedByKind[e.Kind]
	if !ok {
		return
	}
	var labels []string
	if len(definition(name).Labels) > 0 {
		labels = []string{m.name(e.Datastore)}
	}
	m.counters[name].WithLabelValues(labels...).Inc()
}

// HeartbeatWritten counts one heartbeat write, as it returned.
func (m *Metrics) HeartbeatWritten(s core.Span) { m.operation(m.heartbeats, m.heartbeatFailures, s) }

// RegionRead counts one read of the heartbeat region, as it returned.
func (m *Metrics) RegionRead(s core.Span) { m.operation(m.regionReads, m.regionFailures, s) }

// Claimed counts one claim, as it returned.
func (m *Metrics) Claimed(s core.Span) { m.operation(m.claims, nil, s) }

func (m *Metrics) operation(took *prometheus.HistogramVec, failed *prometheus.CounterVec, s core.Span) {
	name := m.name(s.Datastore)
	took.WithLabelValues(name).Observe(s.Returned.Sub(s.Issued).Seconds())
	if failed != nil && s.Err != "" {
		failed.WithLabelValues(name).Inc()
	}
}

// longestGap is how many heartbeats may be missing between two for them to
// count: a host that is not meant to send, because another is its master, is no loss.
const longestGap = 10

// Received counts a network heartbeat of another host that arrived at an instant.
func (m *Metrics) Received(from datastorehb.HostID, name string, at datastorehb.Instant) {
	m.received.WithLabelValues(name).Inc()
	m.mu.Lock()
	defer m.mu.Unlock()
	before, known := m.last[from]
	m.last[from] = at
	missed := m.missed.WithLabelValues(name)
	if !known || m.beat <= 0 {
		return
	}
	if gap := int64((at.Sub(before) + m.beat/2) / m.beat); gap > 1 && gap <= longestGap+1 {
		missed.Add(float64(gap - 1))
	}
}

// Rejected counts a packet that was dropped.
func (m *Metrics) Rejected() { m.rejected.Inc() }

// Notified counts what became of a notification.
func (m *Metrics) Notified(notify, result string) {
	m.notifications.WithLabelValues(notify, result).Inc()
}
