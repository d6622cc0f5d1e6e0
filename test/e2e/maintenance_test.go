package e2e

import (
	"os/exec"
	"strings"
	"testing"

	"storebeat/agent/demo/cluster"
	"storebeat/test/program"
)

// cli runs a command of the program against a host's agent, and returns what it says.
func (l *lab) cli(h *cluster.Host, args ...string) (string, error) {
	out, err := exec.CommandContext(l.ctx, program.Path, append(args, "--config", h.Config)...).CombinedOutput()
	return string(out), err
}

// TestMaintenance empties a host by command, as often as it loses its master on
// the way, and brings its machines back.
func TestMaintenance(t *testing.T) {
	l := newLab(t, cluster.Options{})
	l.protect(6, "process")
	l.awaitRevision(1)
	h := l.Hosts[1]
	were := len(l.on(h))
	if out, err := l.cli(l.Hosts[0], "host", "maintenance", "on", h.Name, "--move"); err != nil || !strings.Contains(out, "no machine is left to be moved") {
		t.Fatalf("%v: %s", err, out)
	}
	if on := l.on(h); len(on) > 0 {
		t.Fatalf("%s is said to be empty and runs %v", h.Name, on)
	}
	l.awaitTicks(2, l.machines...)
	if out, err := l.cli(l.Hosts[2], "host", "show", h.Name); err != nil || !strings.Contains(out, "maintenance") {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := l.cli(h, "host", "maintenance", "off", "--return"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if on := l.on(h); len(on) != were {
		t.Errorf("%s ran %d machines before, and runs %v", h.Name, were, on)
	}
	l.awaitSettled()
	l.awaitTicks(2, l.machines...)
}

// on returns the names of the machines that have a process on a host.
func (l *lab) on(h *cluster.Host) (names []string) {
	l.Helper()
	found, err := h.Machines(l.ctx)
	if err != nil {
		l.Fatal(err)
	}
	for _, f := range found {
		for _, m := range l.machines {
			if m.VM == f.VM {
				names = append(names, m.Name)
			}
		}
	}
	return names
}
