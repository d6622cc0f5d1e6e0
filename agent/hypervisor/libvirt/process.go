package libvirt

import (
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

// processOf finds QEMU's process of a domain that libvirt runs on this host.
func processOf(vm uuid.UUID, domainName string) (int, error) {
	if text, err := os.ReadFile(pidFiles + domainName + ".pid"); err == nil {
		if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && runs(pid, vm) {
			return pid, nil
		}
	}
	pids, err := procfs.Pids()
	if err != nil {
		return 0, fmt.Errorf("look for the domain's process: %w", err)
	}
	pids = slices.DeleteFunc(pids, func(pid int) bool { return !runs(pid, vm) })
	switch len(pids) {
	case 1:
		return pids[0], nil
	case 0:
		return 0, fmt.Errorf("libvirtd says that domain %s runs, and no process of it is there", domainName)
	}
	return 0, fmt.Errorf("domain %s has %d processes here (%v), and %s%s.pid does not tell which is libvirtd's", domainName, len(pids), pids, pidFiles, domainName)
}

// runs tells whether a process is the QEMU of the domain.
func runs(pid int, vm uuid.UUID) bool { return argument(pid, "-uuid") == vm.String() }

// nameOf returns the name of the domain that a QEMU process runs, "" if it can't be told.
func nameOf(pid int) string {
	for part := range strings.SplitSeq(strings.ReplaceAll(argument(pid, "-name"), ",,", "\x00"), ",") {
		if guest, ok := strings.CutPrefix(part, "guest="); ok {
			return strings.ReplaceAll(guest, "\x00", ",")
		}
	}
	return ""
}

// argument returns what follows an option on a process's command line.
func argument(pid int, option string) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	args := strings.Split(string(text), "\x00")
	at := slices.Index(args, option)
	if at < 0 || at+1 >= len(args) {
		return ""
	}
	return args[at+1]
}

// bornHere tells whether the process was started by this driver for the machine,
// and not taken over.
func bornHere(f hypervisor.Found) bool {
	env, err := procfs.Environ(f.Handle.PID)
	return err == nil && slices.Contains(env, hypervisor.EnvDriver+"="+name) && slices.Contains(env, hypervisor.EnvRun+"="+f.RunDir)
}
