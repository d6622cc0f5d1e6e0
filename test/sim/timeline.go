package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"storebeat/agent/core"
)

// Happening is one line of what an operator wants to know of a run.
type Happening struct {
	At   time.Duration `json:"at"`
	Who  string        `json:"who"`            // a host, or "scenario" for what the file brings about
	Kind string        `json:"kind,omitempty"` // of the journal's event
	Text string        `json:"text"`
}

// tell adds a line to the timeline.
func (p *player) tell(who, kind, format string, args ...any) {
	if p.detail >= Timeline && !p.over {
		p.timeline = append(p.timeline, Happening{p.time(), who, kind, fmt.Sprintf(format, args...)})
	}
}

// untold are events that the timeline shows in its own words.
var untold = []core.Kind{"machine-started", "machine-thawed", "machines-frozen", "machine-reclaimed", "machine-adopted", "heartbeat-datastore"}

// journaled keeps an event of a host's journal, and tells those that matter to an operator.
// What several hosts record of one incident is told once, by a host that leads.
func (p *player) journaled(h *host, e *core.Event) {
	if p.over {
		return
	}
	p.journal = append(p.journal, entry{h, p.time(), *e})
	about, _ := core.AboutKind(e.Kind)
	if p.detail < Timeline || about.Severity == core.Info || slices.Contains(untold, e.Kind) || about.Shared && !h.leads() {
		return
	}
	p.tell(h.name, string(e.Kind), "%s", e.Text)
}

func (p *player) beginLives() {
	for _, vm := range p.vms {
		p.lives = append(p.lives, &life{vm: vm, on: p.executing(vm)})
	}
}

// live follows every machine from one instant to the next.
func (p *player) live() {
	for _, l := range p.lives {
		on := p.executing(l.vm)
		away := len(on) == 0 && p.wanted(l.vm)
		gone := l.present(p.time())
		switch {
		case away && !l.away:
			l.away, l.since = true, p.time()
		case l.away && !away:
			l.away, l.longest, l.total = false, max(l.longest, gone), l.total+gone
		}
		if !slices.Equal(on, l.on) {
			p.tellMove(l, on, gone)
			l.on = on
		}
		if len(on) > 0 {
			l.last = on[0]
		}
	}
}

// tellMove says where a machine has begun or ceased to execute.
func (p *player) tellMove(l *life, on []*host, gone time.Duration) {
	name := p.nameOf(l.vm)
	for _, h := range on {
		if !slices.Contains(l.on, h) {
			text := "running"
			if gone > 0 {
				text = "running after " + short(gone)
			}
			p.tellTogether(h.name, name, text)
		}
	}
	for _, h := range l.on {
		if slices.Contains(on, h) {
			continue
		}
		text := "gone"
		if h.process(l.vm) != nil {
			text = "frozen"
		}
		p.tellTogether(h.name, name, text)
	}
}

// tellTogether adds a machine to the line above if that says the same of others.
func (p *player) tellTogether(who, machine, text string) {
	if n := len(p.timeline); n > 0 {
		if t := &p.timeline[n-1]; t.Who == who && t.Kind == "" && p.time()-t.At < 50*time.Millisecond {
			if names, ok := strings.CutSuffix(t.Text, ": "+text); ok {
				t.Text = names + ", " + machine + ": " + text
				return
			}
		}
	}
	p.tell(who, "", "%s: %s", machine, text)
}

func (p *player) endLives() {
	for _, l := range p.lives {
		gone := l.present(p.time())
		l.longest, l.total = max(l.longest, gone), l.total+gone
	}
}

// fates returns what became of every machine when the scenario ended.
func (p *player) fates() (all []Fate) {
	for _, l := range p.lives {
		f := Fate{Name: p.nameOf(l.vm), State: "off", Away: l.longest, Total: l.total}
		for _, h := range p.hosts {
			m := h.process(l.vm)
			switch {
			case m == nil:
				continue
			case m.executes():
				f.State = "running"
			case f.State == "off":
				f.State = "frozen"
			}
			f.Hosts = append(f.Hosts, h.name)
		}
		for _, s := range p.log[p.started:] {
			if s.vm == l.vm {
				f.Started++
			}
		}
		all = append(all, f)
	}
	return all
}
