package hypervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"storebeat/agent/hypervisor/procfs"
)

// Statistics is what a machine has used since its process began. Amounts that rise begin
// anew with each process.
type Statistics struct {
	CPU        time.Duration         `json:"cpu"`    // of the leading process, in nanoseconds
	Memory     uint64                `json:"memory"` // bytes of the host's memory that it holds now
	Disks      []DiskStatistics      `json:"disks,omitempty"`
	Interfaces []InterfaceStatistics `json:"interfaces,omitempty"`
}

// DiskStatistics is what a guest has asked of one disk.
type DiskStatistics struct {
	Name    string `json:"name"` // as the hypervisor calls it
	Reads   uint64 `json:"reads"`
	Writes  uint64 `json:"writes"`
	Read    uint64 `json:"read_bytes"`
	Written uint64 `json:"written_bytes"`
}

// InterfaceStatistics is what has passed one network interface, as the guest sees it.
type InterfaceStatistics struct {
	Name     string `json:"name"` // of the host's end
	Received uint64 `json:"received_bytes"`
	Sent     uint64 `json:"sent_bytes"`
}

// ProcessStatistics reads what the kernel knows of a machine's leading process. It waits
// for nothing that a hung process holds.
func ProcessStatistics(h Handle) (Statistics, error) {
	stat, err := procfs.ReadStat(h.PID)
	if err == nil && (stat.Start != h.StartTime || stat.Dead()) {
		err = procfs.ErrGone
	}
	if err != nil {
		return Statistics{}, fmt.Errorf("statistics of process %d: %w", h.PID, err)
	}
	s := Statistics{CPU: stat.CPU, Memory: stat.Resident, Interfaces: interfacesOf(h.PID)}
	return s, nil
}

// interfacesOf finds the tap devices that a process has open. Those of another network
// namespace are left out.
func interfacesOf(pid int) (all []InterfaceStatistics) {
	folder := fmt.Sprintf("/proc/%d/fdinfo", pid)
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil // it has ended, or is another user's
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			name, is := strings.CutPrefix(line, "iff:\t")
			name = strings.TrimSpace(name)
			known := slices.ContainsFunc(all, func(i InterfaceStatistics) bool { return i.Name == name })
			if !is || name == "" || known { // one of several queues has a file of its own
				continue
			}
			// What the host sends into the device the guest receives.
			received, err1 := counter(name, "tx_bytes")
			sent, err2 := counter(name, "rx_bytes")
			if errors.Join(err1, err2) == nil {
				all = append(all, InterfaceStatistics{Name: name, Received: received, Sent: sent})
			}
		}
	}
	return all
}

func counter(name, which string) (uint64, error) {
	if name != filepath.Base(name) {
		return 0, fs.ErrInvalid
	}
	text, err := os.ReadFile(filepath.Join("/sys/class/net", name, "statistics", which))
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
}
