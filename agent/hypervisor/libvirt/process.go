package libvirt

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/procfs"
)

// pidFiles is where libvirt's QEMU driver notes its processes, by domain name.
const pidFiles = "/run/libvirt/qemu/"

// errNoProcess means that libvirtd has not noticed yet that a domain has ended.
var errNoProcess = errors.New("libvirtd says that the domain runs, and no process of it is there")

// processOf finds QEMU's process of a domain that libvirt runs on this host.
func processOf(vm uuid.UUID, domainName string) (int, error) {
	if text, err := os.ReadFile(pidFiles + domainName + ".pid"); err == nil {
		if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && argument(pid, "-uuid") == vm.String() {
			return pid, nil
		}
	}
	all, err := procfs.Pids()
	if err != nil {
		return 0, fmt.Errorf("look for the domain's process: %w", err)
	}
	pids := running(all, vm)
	switch len(pids) {
	case 1:
		return pids[0], nil
	case 0:
		return 0, fmt.Errorf("%w: domain %s", errNoProcess, domainName)
	}
	return 0, fmt.Errorf("domain %s has %d processes here (%v), and %s%s.pid does not tell which is libvirtd's", domainName, len(pids), pids, pidFiles, domainName)
}

// running lists which of these processes are the QEMU of the domain.
func running(pids []int, vm uuid.UUID) (of []int) {
	var stats []procfs.Stat
	for _, pid := range pids {
		if stat, err := procfs.ReadStat(pid); err == nil {
			stats = append(stats, stat)
		}
	}
	for pid, a := range procfs.Arguments(stats) {
		if after(a.Words, "-uuid") == vm.String() {
			of = append(of, pid)
		}
	}
	slices.Sort(of)
	return of
}

// nameOf returns the name of the domain that a QEMU process runs, "" if it can't be told.
func nameOf(pid int) string {
	for part := range strings.SplitSeq(strings.ReplaceAll(argument(pid, "-name"), ",,", "\x00"), ",") {
		if guest, ok := strings.CutPrefix(part, "guest="); ok {
			return strings.ReplaceAll(guest, "\x00", ",")
		}
	}
	return ""
}

// argument returns what follows an option on a process's command line, "" if it can't be told.
func argument(pid int, option string) string {
	stat, err := procfs.ReadStat(pid)
	if err != nil {
		return ""
	}
	return after(procfs.Arguments([]procfs.Stat{stat})[pid].Words, option)
}

// after returns the word that follows another.
func after(words []string, word string) string {
	at := slices.Index(words, word)
	if at < 0 || at+1 >= len(words) {
		return ""
	}
	return words[at+1]
}

// bornHere tells whether the process was started by this driver for the machine,
// and not taken over.
func bornHere(f hypervisor.Found) bool {
	env := procfs.Environs([]procfs.Stat{{PID: f.Handle.PID, Start: f.Handle.StartTime}})[f.Handle.PID].Words
	return slices.Contains(env, hypervisor.EnvDriver+"="+name) && slices.Contains(env, hypervisor.EnvRun+"="+f.RunDir)
}
