package e2e

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/core"
	"storebeat/agent/demo/cluster"
	"storebeat/poweron"
)

// TestTwoClusters runs two clusters on the same datastores. What happens to one
// is nothing to the other, though host ids and datastore names are the same.
func TestTwoClusters(t *testing.T) {
	t.Parallel()
	export := shortDir(t)
	o := cluster.Options{Hosts: 2, Directory: func(name string) string { return filepath.Join(export, name) }}
	a := newLab(t, o)
	o.Profile = "default"
	b := newLab(t, o)
	b.prefix = "neighbour"
	a.protect(4, "process")
	b.protect(4, "process")
	runs, from, before := b.runs(), time.Now(), b.view()
	_, others := a.master()
	a.killAndExpectRestarts(others[:1])
	for _, h := range b.Hosts {
		b.refuse(h, from, disturbances...)
	}
	b.expectRuns(runs)
	b.expectGenerations(before, runs)
}

// TestMachineOfANeighbour asks a cluster to protect what another one on the same datastore protects.
func TestMachineOfANeighbour(t *testing.T) {
	t.Parallel()
	export := shortDir(t)
	o := cluster.Options{Hosts: 1, Datastores: 1, Directory: func(name string) string { return filepath.Join(export, name) }}
	a, b := newLab(t, o), newLab(t, o)
	a.protect(1, driver(t))
	b.awaitMaster()
	m := a.machines[0]
	wish := core.Command{Verb: core.Protect, Datastore: b.Datastores[0].ID, Entry: poweron.Entry{VM: m.VM, Name: "mine", Protected: true,
		Desired: poweron.Stopped, Policy: m.Policy, Driver: "process", Definition: []byte(`{"command": ["/bin/true"]}`), Memory: 1 << 20}}
	asks := func(want ...string) {
		t.Helper()
		_, err := b.Hosts[0].Command(b.ctx, wish)
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("answered %v, want a refusal that says %q", err, w)
			}
		}
		if len(want) == 0 && err != nil {
			t.Error(err)
		}
	}
	asks("cluster "+a.ID.String(), m.Name, "would run twice")
	if m.Driver == "qemu" {
		wish.Entry.VM, wish.Entry.Driver = uuid.New(), "qemu"
		wish.Entry.Definition = []byte(`{"memory_mib": 1, "disks": [{"path": "other/../` + m.Name + `.img"}]}`)
		asks(m.Name+".img of mine belongs to "+m.Name, "two machines would write to it")
	}
	a.wish(a.Hosts[0], core.Unprotect, m)
	asks()
}
