package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"storebeat/agent/core"
	"storebeat/agent/demo/cluster"
	"storebeat/agent/journal"
)

// TestPause pauses a cluster for work on its storage. What stands still meanwhile, and
// every agent that is killed, touches no machine; what is lost stays lost until its
// host is back; nobody can overlook that it is so; and after it all is as before.
func TestPause(t *testing.T) {
	t.Parallel()
	l := newFaultyLab(t, cluster.Options{})
	l.protect(6, "process")
	l.awaitRevision(1)
	from := time.Now()
	if out, err := l.cli(l.Hosts[0], "cluster", "pause", "--for", "1h", "--why", "new switch"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l.awaitToldOfPause(from)
	l.showsPause(true)
	p := &paused{l, l.runs(), l.view(), from}
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"all storage stands still", p.stall},
		{"the master's agent is killed", p.killMaster},
		{"an agent is killed while storage stands still", p.killInStall},
	} {
		step.do()
		p.untouched(step.name)
		l.showsPause(true)
	}
	p.reboot()
	l.showsPause(true)
	p.resume()
}

// paused is a cluster during its pause.
type paused struct {
	*faultyLab
	were   map[string]int // runs
	before core.View
	from   time.Time
}

// long is 4 s in ticks of a machine, more than lease and takeover time of the fast
// profile together.
const long = 40

// stall lets all storage stand still.
func (p *paused) stall() {
	for _, m := range p.mounts {
		m.Hang()
	}
	p.awaitTicks(long, p.machines...)
	p.heal()
}

// killMaster has the others elect another one, who tells of the pause in its turn.
func (p *paused) killMaster() {
	old, _ := p.master()
	at := time.Now()
	old.KillAgent()
	p.awaitTicks(long, p.machines...)
	p.awaitToldOfPause(at)
	p.starts(old)
}

// awaitToldOfPause waits until whoever is master has told of the pause since then.
func (l *lab) awaitToldOfPause(since time.Time) {
	l.Helper()
	l.await("the master to tell of the pause", func() (bool, string) {
		master, _ := l.master()
		told := slices.ContainsFunc(l.since(master, since), func(e journal.Entry) bool { return e.Kind == "cluster-paused" })
		return told, master.Name + " has not"
	})
}

// killInStall ends an agent that waits for its datastores. It can't end before they
// answer, whatever becomes of this test.
func (p *paused) killInStall() {
	h, _ := p.master()
	for _, d := range p.Datastores {
		p.mount(h, d).Hang()
	}
	p.awaitTicks(long, p.machines...)
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		h.KillAgent()
	}()
	p.awaitTicks(long, p.machines...)
	p.heal()
	select {
	case <-killed:
	case <-time.After(patience):
		p.Fatalf("the agent of %s does not end", h.Name)
	}
	p.starts(h)
}

func (p *paused) starts(h *cluster.Host) {
	p.Helper()
	p.do(h.Start())
	p.awaitAnswer(h)
}

// untouched fails the test unless every machine has run on as it was.
func (p *paused) untouched(after string) {
	p.Helper()
	p.awaitSettled()
	p.awaitTicks(10, p.machines...)
	p.expectRuns(p.were)
	p.expectGenerations(p.before, p.were)
	for _, h := range p.Hosts {
		p.refuse(h, p.from, disturbances...)
	}
	if p.Failed() {
		p.Fatal(after)
	}
}

// reboot: a host is lost. Its machines stay down, and run again once it is back.
func (p *paused) reboot() {
	h, lost, rest := p.subordinate()
	want := p.runs()
	for _, m := range lost {
		want[m.Name]++
	}
	p.do(h.End(p.ctx))
	p.awaitTicks(long, rest...)
	p.expectRuns(p.were)
	at := time.Now()
	p.starts(h)
	p.awaitRuns(want)
	p.awaitEvent(h, at, "custody-begun")
	p.were = want
}

// resume ends the pause: what is lost is taken over again.
func (p *paused) resume() {
	from := time.Now()
	if out, err := p.cli(p.Hosts[1], "cluster", "resume"); err != nil {
		p.Fatalf("%v: %s", err, out)
	}
	p.showsPause(false)
	for _, h := range p.Hosts {
		if len(p.shownOn(h)) > 0 {
			p.awaitEvent(h, from, "custody-ended")
		}
	}
	p.awaitSettled()
	p.expectRuns(p.were)
	h, lost, _ := p.subordinate()
	for _, m := range lost {
		p.were[m.Name]++
	}
	p.do(h.End(p.ctx))
	p.awaitRuns(p.were)
	p.expectRuns(p.were)
}

// showsPause waits until status says on every host whether the cluster is paused, and why.
func (l *lab) showsPause(paused bool) {
	l.Helper()
	for _, h := range l.Up() {
		l.await("status on "+h.Name, func() (bool, string) {
			out, err := l.cli(h, "status")
			return err == nil && strings.Contains(out, "new switch") == paused, fmt.Sprint(out, err)
		})
	}
}
