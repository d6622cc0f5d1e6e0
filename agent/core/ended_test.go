package core

import (
	"testing"

	"storebeat/poweron"
)

// What a user ends with the hypervisor's own tools stays off, whatever the policy
// says of a guest that switches itself off, until a user wants it started.
func TestDestroyedByAUserStaysOff(t *testing.T) {
	d, _ := runs(t)
	m := d.machine(guest)
	m.entry.Policy.OnGuestShutDown = poweron.StartAgain
	entry, revision := m.entry, m.revision
	g := d.released(EndedByUser)
	if g.Reason != poweron.Held {
		t.Fatalf("released as %s", g.Reason)
	}
	if len(d.events("machine-destroyed")) != 1 {
		t.Error("the event is missing")
	}
	if wants, why := poweron.Wants(entry, revision, &g, true); wants {
		t.Errorf("wanted: %s", why)
	}
	if wants, why := poweron.Wants(poweron.AskStart(entry, g.Entry+1), g.Entry+1, &g, true); !wants {
		t.Errorf("a user's start is refused: %s", why)
	}
}

// A monitor that does not answer is told of, and changes nothing.
func TestSilentMonitor(t *testing.T) {
	d, _ := runs(t)
	d.see(MachineMonitor{VM: guest, Silent: true, Detail: "libvirtd does not answer"})
	if len(d.events("machine-silent")) != 1 || d.machine(guest).phase != phaseRun {
		t.Errorf("the machine is %s", d.machine(guest).phase)
	}
	d.see(MachineMonitor{VM: guest})
	if len(d.events("machine-answers")) != 1 {
		t.Error("the event is missing")
	}
}
