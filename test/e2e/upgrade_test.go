package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"storebeat/agent"
	"storebeat/agent/core"
	"storebeat/agent/demo/cluster"
	"storebeat/datastorehb"
	"storebeat/test/program"
)

// nextProgram builds the program that the next version would be: it knows one
// feature level more.
func nextProgram(t *testing.T) string {
	t.Helper()
	next := filepath.Join(t.TempDir(), "storebeat-next")
	if err := program.Build(next, "-tags", "nextlevel"); err != nil {
		t.Fatal(err)
	}
	return next
}

// TestRollingUpgrade puts the next program on one host after the other under
// running machines, raises the feature level, and loses a host after that. The
// program from before does not start any more.
func TestRollingUpgrade(t *testing.T) {
	next := nextProgram(t)
	l := newLab(t, cluster.Options{Profile: "default"})
	l.protect(3, "process")
	l.awaitRevision(1)
	for _, h := range l.Hosts {
		if err := l.tryUpgrade(l.Hosts[0]); err == nil {
			t.Fatalf("raised while %s runs the old program", h.Name)
		}
		h.KillAgent()
		h.Binary = next
		if err := h.Start(); err != nil {
			t.Fatal(err)
		}
		l.awaitLevels(h, datastorehb.FeatureLevel+1)
		l.awaitSettled()
	}
	l.await("the feature level to be raised", func() (bool, string) { // the last agent may not be heard yet
		err := l.tryUpgrade(l.Hosts[2])
		return err == nil, fmt.Sprint(err)
	})
	l.awaitRevision(2)
	l.awaitSettled()
	l.awaitTicks(2, l.machines...)

	old := l.Hosts[1]
	if _, err := old.Kill(l.ctx); err != nil {
		t.Fatal(err)
	}
	l.awaitTicks(2, l.machines...)
	old.Binary = ""
	if err := old.Start(); err != nil {
		t.Fatal(err)
	}
	<-old.Ended()
	if log, _ := os.ReadFile(old.Log()); !strings.Contains(string(log), fmt.Sprintf("of a newer version: %d, and this program reads up to %d: install the version", datastorehb.FeatureLevel+1, datastorehb.FeatureLevel)) {
		t.Errorf("the old program ended without saying why:\n%s", log)
	}
	old.KillAgent()
	old.Binary = next
	if err := old.Start(); err != nil {
		t.Fatal(err)
	}
	l.awaitSettled()
}

func (l *lab) tryUpgrade(by *cluster.Host) error {
	return by.Client.Call(l.ctx, agent.MethodCluster, core.ClusterCommand{Verb: core.ClusterUpgrade}, &agent.CommandResult{})
}

// awaitLevels waits until the master has heard which levels a host knows.
func (l *lab) awaitLevels(h *cluster.Host, highest uint16) {
	l.Helper()
	l.await(fmt.Sprintf("%s to say that it knows level %d", h.Name, highest), func() (bool, string) {
		v, err := h.View(l.ctx, false)
		if err != nil {
			return false, err.Error()
		}
		for _, seen := range v.Hosts {
			if seen.ID == h.ID {
				return seen.Levels.Highest == highest, seen.Levels.String()
			}
		}
		return false, "it is not in the view"
	})
}
