package core

import "fmt"

// incidents are the texts of what hypervisors tell of guests.
var incidents = map[Kind]string{
	"guest-panicked":       "the guest of %s panicked",
	"guest-crash-kernel":   "the guest of %s has crashed and runs its crash kernel",
	"guest-watchdog":       "the guest of %s has not fed its watchdog",
	"guest-reset":          "the guest of %s was reset",
	"guest-paused":         "the guest of %s was paused by a user of the hypervisor",
	"guest-resumed":        "the guest of %s goes on after a pause",
	"guest-disk-failed":    "the guest of %s stands still: a request to a disk failed",
	"guest-disk-recovered": "the disks of %s answer again",
	"guest-job-failed":     "a job on a disk of %s failed",
	"guest-device-removed": "a device of %s was removed",
	"guest-memory-failed":  "memory of this host failed under %s",
}

// onMachineIncident tells the operator. Nothing follows from it: the guest's end, if
// it is one, is reported by itself.
func (c *Core) onMachineIncident(o MachineIncident) {
	m := c.machine(o.VM)
	text := incidents[o.Kind]
	if m == nil || text == "" || o.Generation != m.process {
		return
	}
	var evidence []string
	if o.Detail != "" {
		evidence = []string{o.Detail}
	}
	c.journalMachine(m, o.Kind, "", fmt.Sprintf(text, m.nameOrID()), evidence...)
}

// nameOrID is what people call a machine, as far as its entry is known.
func (m *machine) nameOrID() string {
	if m.entry.Name == "" {
		return m.vm.String()
	}
	return m.entry.Name
}
