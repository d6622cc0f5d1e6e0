package e2e

import (
	"fmt"
	"slices"
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
	l := newLab(t, cluster.Options{Datastores: 2})
	l.protect(4, driver(t))
	_, others := l.master()
	h := others[0]
	own, runs, before := l.machinesOn(h), l.runs(), l.view()
	if len(own) == 0 {
		t.Fatalf("%s runs nothing", h.Name)
	}
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
	l.awaitTicks(150, own...) // 15 s, seven times T
	for _, m := range l.view().Machines {
		if m.HostName == h.Name && m.State != core.InCustody {
			t.Errorf("%s on %s is shown as %s: %s", m.Name, m.HostName, m.State, m.Why)
		}
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
	_, others := l.master()
	h := others[0]
	lost, runs, want := l.machinesOn(h), l.runs(), l.runs()
	rest := slices.DeleteFunc(slices.Clone(l.machines), func(m *cluster.Machine) bool { return slices.Contains(lost, m) })
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
	word := core.ConfirmDead{Host: h.ID, AnswersPings: true} // loopback answers for every host
	for _, d := range l.view().Datastores {
		for _, w := range d.Hosts {
			if w.Host == h.ID && w.Term > 0 && !w.Closed {
				word.Terms = append(word.Terms, core.ReadTerm{Datastore: d.ID, Number: w.Term})
			}
		}
	}
	var done agent.CommandResult
	if err := others[1].Client.Call(l.ctx, agent.MethodConfirmDead, word, &done); err != nil {
		t.Fatal(err)
	}
	l.awaitRuns(want)
	l.expectRuns(want)
}
