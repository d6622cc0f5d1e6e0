package libvirt

import (
	"context"
	"strconv"
	"strings"

	"storebeat/agent/hypervisor"
)

// Statistics adds what libvirt says of the domain's disks, if it can without waiting.
func (m *machine) Statistics(ctx context.Context) (hypervisor.Statistics, error) {
	s, err := m.Process.Statistics(ctx)
	if err != nil || m.Condition().Monitor != hypervisor.Answering {
		return s, err
	}
	out, err := m.driver.virsh.callAside(ctx, "domstats", "--nowait", "--block", "--domain", m.vm.String())
	if err != nil {
		return s, nil // the condition tells of a daemon that does not answer
	}
	s.Disks = parseBlockStats(out)
	return s, nil
}

// parseBlockStats reads lines such as "block.0.rd.bytes=512".
func parseBlockStats(out string) (disks []hypervisor.DiskStatistics) {
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		rest, ok := strings.CutPrefix(key, "block.")
		number, what, _ := strings.Cut(rest, ".")
		index, err := strconv.Atoi(number)
		if !ok || err != nil || index < 0 || index > len(disks) {
			continue
		}
		if index == len(disks) {
			disks = append(disks, hypervisor.DiskStatistics{})
		}
		d := &disks[index]
		n, _ := strconv.ParseUint(value, 10, 64) // a name is no number
		switch what {
		case "name":
			d.Name = value
		case "rd.reqs":
			d.Reads = n
		case "wr.reqs":
			d.Writes = n
		case "rd.bytes":
			d.Read = n
		case "wr.bytes":
			d.Written = n
		}
	}
	return disks
}
