package e2e

import (
	"fmt"
	"testing"
	"time"

	"storebeat/agent"
	"storebeat/agent/core"
	"storebeat/agent/demo/cluster"
	"storebeat/datastorehb"
)

// TestAgentStoppedForLong stops an agent in good order for many times the takeover
// time: no machine may notice, then or when it is back. Meanwhile the master says
// who stopped it and what is unprotected.
func TestAgentStoppedForLong(t *testing.T) {
	t.Parallel()
	l := newLab(t, cluster.Options{Profile: "default"})
	l.protect(4, driver(t))
	h, own, _ := l.subordinate()
	runs, before := l.runs(), l.view()
	from := time.Now()
	if err := h.StopAgent(l.ctx); err != nil {
		t.Fatal(err)
	}
	l.await("the master to show the custody", func() (bool, string) {
		for _, v := range l.view().Hosts {
			if v.Name == h.Name {
				return v.State == "agent-down" && len(v.Custody) > 0 && v.Leave.By == datastorehb.LeftBySignal && v.Machines == len(own), fmt.Sprintf("%+v", v)
			}
		}
		return false, "it is not shown"
	})
	l.awaitTicks(200, own...) // 20 s, four times T
	for _, m := range own {
		l.awaitState(m, core.InCustody)
	}
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	l.awaitAnswer(h)
	l.awaitEvent(h, from, "custody-ended")
	l.awaitEvent(h, from, "machine-adopted")
	l.awaitSettled()
	l.awaitTicks(50, l.machines...)
	for _, h := range l.Hosts {
		l.refuse(h, from, disturbances...)
	}
	l.expectRuns(runs)
	l.expectGenerations(before, runs)
}

// TestHostLostInCustody: a host whose agent was stopped is lost. Its machines stay
// down, whatever time passes, until an operator confirms that it is off.
func TestHostLostInCustody(t *testing.T) {
	t.Parallel()
	l := newLab(t, cluster.Options{})
	l.protect(3, "process")
	h, lost, rest := l.subordinate()
	runs, want := l.runs(), l.runs()
	for _, m := range lost {
		want[m.Name]++
	}
	if err := h.StopAgent(l.ctx); err != nil {
		t.Fatal(err)
	}
	if err := h.End(l.ctx); err != nil {
		t.Fatal(err)
	}
	l.await("the master to show the custody", func() (bool, string) {
		for _, v := range l.view().Hosts {
			if v.Name == h.Name {
				return len(v.Custody) > 0, fmt.Sprintf("%+v", v)
			}
		}
		return false, "it is not shown"
	})
	l.awaitTicks(100, rest...) // ten seconds, several times T
	l.expectRuns(runs)
	l.confirmDead(h)
	l.awaitRuns(want)
	l.expectRuns(want)
}

// confirmDead says that a host is off, as an operator would, until its terms are closed: again
// where there is no master just now, or one that has not read all of them yet.
func (l *lab) confirmDead(h *cluster.Host) {
	l.Helper()
	l.await("the terms of "+h.Name+" to be closed", func() (bool, string) {
		closed, word := 0, core.ConfirmDead{Host: h.ID, AnswersPings: true} // loopback answers for every host
		for _, d := range l.view().Datastores {
			for _, w := range d.Hosts {
				switch {
				case w.Host != h.ID || w.Term == 0:
				case w.Closed:
					closed++
				default:
					word.Terms = append(word.Terms, core.ReadTerm{Datastore: d.ID, Number: w.Term})
				}
			}
		}
		if len(word.Terms) == 0 {
			return closed == len(l.Datastores), fmt.Sprintf("%d of its terms are", closed)
		}
		var done agent.CommandResult
		err := l.Up()[0].Client.Call(l.ctx, agent.MethodConfirmDead, word, &done)
		return false, fmt.Sprintf("%d are open; %s, %v", len(word.Terms), done.Text, err)
	})
}
