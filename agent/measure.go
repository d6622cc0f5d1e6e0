package agent

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"storebeat/agent/clock"
	"storebeat/agent/config"
	"storebeat/agent/metrics"
	"storebeat/partition"
)

// measure makes the agent's metrics.
func (a *Agent) measure(version string) {
	a.registry, a.scraped = prometheus.NewRegistry(), make(chan string, 1)
	var names []string
	for _, d := range a.file.Datastores {
		names = append(names, a.datastoreName(d.UUID))
	}
	beat := partition.TimingOf(a.cfg.Timing).Beat
	a.metrics = metrics.New(a.registry, metrics.Options{Version: version, Datastores: names, Name: a.datastoreName, Beat: beat})
	metrics.Show(a.registry, a.state)
	a.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
}

// serveMetrics serves them where the configuration says, and no longer where it
// said before. Only the newest address counts.
func (a *Agent) serveMetrics(cfg *config.Config) {
	address := ""
	if cfg.Metrics.Address.IsValid() {
		address = cfg.Metrics.Address.String()
	}
	select {
	case <-a.scraped:
	default:
	}
	a.scraped <- address
}

// state is what metrics show. It asks nobody but the agent's own loop, and waits
// for no datastore.
func (a *Agent) state(ctx context.Context) (metrics.State, error) {
	v, err := a.view(ctx)
	if err != nil {
		return metrics.State{}, err
	}
	sent := a.network.Stats()
	s := metrics.State{View: v, Journal: a.journal.Health(), Datastores: map[string]metrics.Datastore{}, Machines: a.machines.uses.newest(), WeakFreeze: a.cgroupRoot == "",
		Sent: sent.Sent, SendErrors: sent.SendErrors}
	if c := a.guard.current(); c != nil && c.Fed() != 0 {
		s.Watchdog, s.Fed = true, clock.Now().Sub(c.Fed())
	}
	for _, d := range a.datastores.list() {
		s.Datastores[d.name()] = d.measured()
	}
	return s, nil
}

func (d *datastore) measured() metrics.Datastore {
	o, _ := d.operations()
	m := metrics.Datastore{Reads: o.Reads, Writes: o.Writes, Metadata: o.Metadata, BytesRead: o.BytesRead, BytesWritten: o.BytesWritten}
	for _, q := range d.queues() {
		_, since, _ := q.state()
		m.Pending = max(m.Pending, since)
	}
	return m
}
