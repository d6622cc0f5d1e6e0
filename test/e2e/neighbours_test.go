package e2e

import (
	"path/filepath"
	"testing"

	"storebeat/agent/demo/cluster"
)

// TestTwoClusters runs two clusters on the same datastores. What happens to one
// is nothing to the other, though host ids and datastore names are the same.
func TestTwoClusters(t *testing.T) {
	t.Parallel()
	export := shortDir(t)
	o := cluster.Options{Hosts: 2, Directory: func(name string) string { return filepath.Join(export, name) }}
	a, b := newLab(t, o), newLab(t, o)
	b.prefix = "neighbour"
	a.protect(4, "process")
	b.protect(4, "process")
	runs, marks, before := b.runs(), b.marks(), b.view()
	_, others := a.master()
	a.killAndExpectRestarts(others[:1])
	for _, h := range b.Hosts {
		b.refuse(h, marks[h.ID], disturbances...)
	}
	b.expectRuns(runs)
	b.expectGenerations(before, runs)
}
