package qemu

import (
	"context"

	"storebeat/agent/hypervisor"
)

// Statistics adds what QEMU says of its disks, if its monitor answers.
func (m *machine) Statistics(ctx context.Context) (hypervisor.Statistics, error) {
	s, err := m.Process.Statistics(ctx)
	if err != nil {
		return s, err
	}
	m.mu.Lock()
	session, answers := m.session, m.condition.Monitor == hypervisor.Answering
	m.mu.Unlock()
	if session == nil || !answers {
		return s, nil
	}
	var disks []struct {
		Device string `json:"device"`
		Node   string `json:"node-name"`
		QDev   string `json:"qdev"`
		Stats  struct {
			Reads   uint64 `json:"rd_operations"`
			Writes  uint64 `json:"wr_operations"`
			Read    uint64 `json:"rd_bytes"`
			Written uint64 `json:"wr_bytes"`
		} `json:"stats"`
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	if session.Execute(ctx, "query-blockstats", nil, &disks) != nil {
		return s, nil // frozen just now, or it hangs: the condition tells
	}
	for _, d := range disks {
		s.Disks = append(s.Disks, hypervisor.DiskStatistics{Name: firstOf(d.Device, d.Node, d.QDev), Reads: d.Stats.Reads, Writes: d.Stats.Writes, Read: d.Stats.Read, Written: d.Stats.Written})
	}
	return s, nil
}
