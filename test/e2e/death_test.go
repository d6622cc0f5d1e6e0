package e2e

import (
	"fmt"
	"testing"

	"storebeat/agent/core"
	"storebeat/agent/demo/cluster"
)

// TestHostDeath kills hosts as a power failure would. Every machine of theirs
// runs again elsewhere, once; nobody else's is touched; and the hosts come back
// without taking anything with them.
func TestHostDeath(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		hosts  int
		choose func(master *cluster.Host, others []*cluster.Host) []*cluster.Host
	}{
		{"host", 3, func(_ *cluster.Host, others []*cluster.Host) []*cluster.Host { return others[:1] }},
		{"master", 3, func(master *cluster.Host, _ []*cluster.Host) []*cluster.Host { return []*cluster.Host{master} }},
		{"master and host", 4, func(master *cluster.Host, others []*cluster.Host) []*cluster.Host {
			return []*cluster.Host{master, others[0]}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, cluster.Options{Hosts: c.hosts})
			l.protect(6, driver(t))
			l.killAndExpectRestarts(c.choose(l.master()))
		})
	}
}

func (l *lab) killAndExpectRestarts(victims []*cluster.Host) {
	l.Helper()
	want, before := l.runs(), l.view()
	for _, m := range before.Machines {
		for _, v := range victims {
			if m.Host == v.ID {
				want[m.Name]++
			}
		}
	}
	for _, v := range victims {
		if _, err := v.Kill(l.ctx); err != nil {
			l.Fatal(err)
		}
	}
	l.awaitRuns(want)
	l.awaitSettled()
	for _, v := range victims {
		if err := v.Start(); err != nil {
			l.Fatal(err)
		}
	}
	l.awaitSettled()
	l.awaitTicks(3, l.machines...)
	l.expectRuns(want)
	l.expectGenerations(before, want)
}

// awaitRuns waits until each machine was started so many times.
func (l *lab) awaitRuns(want map[string]int) {
	l.Helper()
	for _, m := range l.machines {
		l.await(m.Name+" to run", func() (bool, string) {
			newest, runs := m.Console.Newest()
			return runs >= want[m.Name] && newest.Count > 0, m.Name + " is silent"
		})
	}
}

// expectRuns fails the test unless each machine was started exactly so many times.
func (l *lab) expectRuns(want map[string]int) {
	l.Helper()
	for name, runs := range l.runs() {
		if runs != want[name] {
			l.Errorf("%s was started %d times, not %d times", name, runs, want[name])
		}
	}
}

// expectGenerations fails the test unless exactly the machines that were started
// again since then have a new generation.
func (l *lab) expectGenerations(before core.View, runs map[string]int) {
	l.Helper()
	l.await("the master to know under which generations the machines run", func() (bool, string) {
		now := l.view()
		for _, m := range l.machines {
			was, is := viewOf(before, m).Generation, viewOf(now, m).Generation
			if restarted := runs[m.Name] > 1; (is > was) != restarted || is == 0 {
				return false, fmt.Sprintf("%s: generation %d became %d, started again: %t", m.Name, was, is, restarted)
			}
		}
		return true, ""
	})
}
