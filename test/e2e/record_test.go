package e2e

import (
	"fmt"
	"testing"
	"time"

	"storebeat/agent"
	"storebeat/agent/core"
	clusterrecord "storebeat/agent/core/cluster"
	"storebeat/agent/demo/cluster"
)

// order gives a wish about the cluster to a host's agent, which need not be the master's.
func (l *lab) order(by *cluster.Host, c core.ClusterCommand) string {
	l.Helper()
	var r agent.CommandResult
	if err := by.Client.Call(l.ctx, agent.MethodCluster, c, &r); err != nil {
		l.Fatalf("cluster %s by way of %s: %v", c.Verb, by.Name, err)
	}
	return r.Text
}

// awaitRevision waits until every host acts on a revision of the cluster record.
func (l *lab) awaitRevision(revision uint64) {
	l.Helper()
	for _, h := range l.Hosts {
		l.await(fmt.Sprintf("%s to act on revision %d", h.Name, revision), func() (bool, string) {
			v, err := h.View(l.ctx, true)
			if err != nil || v.Cluster.Record == nil {
				return false, fmt.Sprintf("it knows none: %v %s", err, v.Cluster.Missing)
			}
			return v.Cluster.Record.Revision == revision, fmt.Sprintf("it acts on revision %d", v.Cluster.Record.Revision)
		})
	}
}

// TestClusterRecord changes the cluster's timing by way of every host, and starts
// the agents again, which then go by it whatever their files say.
func TestClusterRecord(t *testing.T) {
	l := newLab(t, cluster.Options{})
	l.protect(2, "process")
	l.awaitRevision(1)
	for i, h := range l.Hosts {
		l.order(h, core.ClusterCommand{Verb: core.ClusterSet, Set: []clusterrecord.Assignment{{Setting: "timing.takeover", Value: fmt.Sprintf("%ds", 4+i)}}})
		l.awaitRevision(uint64(2 + i))
	}
	for _, h := range l.Hosts {
		h.KillAgent()
		if err := h.Start(); err != nil {
			t.Fatal(err)
		}
		l.awaitSettled()
		l.await(h.Name+" to go by the record", func() (bool, string) {
			v, err := h.View(l.ctx, true)
			return err == nil && v.Timing.Takeover == 6*time.Second && len(v.Cluster.Differences) == 1,
				fmt.Sprintf("%v, takeover %v, differences %q", err, v.Timing.Takeover, v.Cluster.Differences)
		})
	}
	l.awaitRevision(4)
}
