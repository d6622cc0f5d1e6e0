package e2e

import (
	"path/filepath"
	"testing"
	"time"

	"storebeat/agent/demo/cluster"
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
