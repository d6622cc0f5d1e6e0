package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"storebeat/agent/core"
	"storebeat/agent/demo/cluster"
)

// TestPause pauses a cluster for work on its storage. What stands still meanwhile, and
// every agent that is stopped, killed or started anew, touches no machine; what is lost
// stays lost until its host is back; and nobody can overlook that it is so.
func TestPause(t *testing.T) {
	l := newFaultyLab(t, cluster.Options{})
	l.protect(6, "process")
	l.awaitRevision(1)
	if out, err := l.cli(l.Hosts[0], "cluster", "pause", "--for", "1h", "--why", "new switch"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l.showsPause(true)
	p := &paused{l, l.runs(), l.view(), time.Now()}
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"all storage stands still", p.stall},
		{"every agent is stopped", func() { p.restart(func(h *cluster.Host) error { return h.StopAgent(l.ctx) }) }},
		{"every agent is killed", func() { p.restart(func(h *cluster.Host) error { h.KillAgent(); return nil }) }},
		{"agents are killed while storage stands still", p.killInStall},
	} {
		step.do()
		p.untouched(step.name)
		l.showsPause(true)
	}
	p.reboot()
	l.showsPause(true)
	p.resume()
}

type paused struct {
	*faultyLab
	were   map[string]int // runs
	before core.View
	from   time.Time
}

// long is many times the takeover time of the fast profile, in ticks of a machine.
const long = 100

func (p *paused) stall() {
	for _, m := range p.mounts {
		m.Hang()
	}
	p.awaitTicks(long, p.machines...)
	p.heal()
}

func (p *paused) restart(end func(*cluster.Host) error) {
	p.Helper()
	for _, h := range p.Hosts {
		if err := end(h); err != nil {
			p.Fatal(err)
		}
	}
	p.awaitTicks(long, p.machines...)
	p.starts(p.Hosts...)
}

func (p *paused) starts(hosts ...*cluster.Host) {
	p.Helper()
	for _, h := range hosts {
		if err := h.Start(); err != nil {
			p.Fatal(err)
		}
	}
	for _, h := range hosts {
		p.awaitAnswer(h)
	}
}

// killInStall has agents end that can't reach a datastore, one after the other.
func (p *paused) killInStall() {
	for _, h := range p.Hosts {
		for _, d := range p.Datastores {
			p.mount(h, d).Hang()
		}
		p.awaitTicks(10, p.machines...)
		h.KillAgent()
		p.awaitTicks(30, p.machines...)
		p.heal()
		p.starts(h)
	}
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
	_, others := p.master()
	h := others[0]
	lost, want := p.machinesOn(h), p.runs()
	rest := slices.DeleteFunc(slices.Clone(p.machines), func(m *cluster.Machine) bool { return slices.Contains(lost, m) })
	if len(lost) == 0 {
		p.Fatalf("%s runs nothing", h.Name)
	}
	for _, m := range lost {
		want[m.Name]++
	}
	if err := h.End(p.ctx); err != nil {
		p.Fatal(err)
	}
	p.awaitTicks(long, rest...)
	p.expectRuns(p.were)
	p.starts(h)
	p.awaitRuns(want)
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
		if len(p.machinesOn(h)) > 0 {
			p.awaitEvent(h, from, "custody-ended")
		}
	}
	p.awaitSettled()
	p.expectRuns(p.were)
	_, others := p.master()
	h := others[0]
	for _, m := range p.machinesOn(h) {
		p.were[m.Name]++
	}
	if err := h.End(p.ctx); err != nil {
		p.Fatal(err)
	}
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
