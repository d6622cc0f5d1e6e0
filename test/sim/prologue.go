package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"storebeat/agent/core"
)

// prologue brings the cluster up and to rest, with every machine where the scenario
// wants it. Nobody can tell the master where to start a machine; so the hosts
// offer memory one after the other, and the master finds only one that has any.
func (p *player) prologue() error {
	i := p.setup.Timing.Interval
	for _, h := range p.hosts {
		if h.ppm = int64(p.between(0, 19_900)) - 9_950; p.setup.HostSpecs[h.index].Drift != nil {
			h.ppm = int64(*p.setup.HostSpecs[h.index].Drift * 1e6)
		}
		delay := p.between(0, 2*i)
		if p.scene.Master != "" && h.name != p.scene.Master {
			delay += 6 * i
		}
		p.after(delay, h.powerOn)
	}
	if err := p.wait("the hosts find each other", 60*i, p.united); err != nil {
		return err
	}
	if err := p.place(); err != nil {
		return err
	}
	if err := p.wait("the cluster is at rest", 60*i, func() []string { return p.Unsettled() }); err != nil {
		return err
	}
	p.Run(p.setup.Timing.Takeover + 3*i + p.between(0, i))
	if m := p.leader(); p.scene.Master != "" && m != nil && m.name != p.scene.Master {
		return fmt.Errorf("%s is master: it accesses more datastores than %s", m.name, p.scene.Master)
	}
	return nil
}

// wait lets time pass until nothing is missing any more.
func (p *player) wait(what string, limit time.Duration, missing func() []string) error {
	for until := p.now + limit; len(missing()) > 0; p.Run(50 * time.Millisecond) {
		if p.now >= until {
			return fmt.Errorf("%s: not within %v: %s", what, limit, list(missing()))
		}
	}
	if v := p.Violations(); len(v) > 0 {
		return fmt.Errorf("an invariant of docs/safety.md is broken: %s", v[0])
	}
	return nil
}

// united says what is missing until every agent follows one master and has
// opened the datastores that its host accesses.
func (p *player) united() (missing []string) {
	m := p.leader()
	for _, h := range p.hosts {
		switch {
		case !h.works():
			return append(missing, h.name+" has no agent yet")
		case m == nil || h.agent.core.Master() != m.id:
			return append(missing, h.name+" does not follow the master yet")
		}
		for i, s := range p.stores {
			if !h.agent.opened[i] && !h.paths[i].absent {
				missing = append(missing, h.name+" has not opened "+s.name())
			}
		}
	}
	return missing
}

// place has every machine protected, and started where the scenario wants it.
func (p *player) place() error {
	begun := map[string]bool{}
	for _, h := range p.hosts {
		var here []int
		for i, m := range p.scene.Machines {
			if m.Host == h.name && !m.Stopped {
				here = append(here, i+1)
			}
		}
		if len(here) == 0 {
			continue
		}
		begun[h.name] = true
		p.offer(h)
		p.Run(2 * p.setup.Timing.Interval)
		for _, i := range here {
			p.protectNew(i)
		}
		if err := p.wait("the machines of "+h.name+" start", 30*p.setup.Timing.Interval, func() []string { return p.elsewhere(h, here) }); err != nil {
			return fmt.Errorf("%w: %s", err, p.whyWaiting(here))
		}
	}
	p.offer(nil)
	if len(begun) > 0 {
		p.Run(2 * p.setup.Timing.Interval)
	}
	for i, m := range p.scene.Machines {
		if m.Host == "" || m.Stopped {
			p.protectNew(i + 1)
		}
	}
	if err := p.wait("commands are answered", 30*p.setup.Timing.Interval, func() (missing []string) {
		if len(p.replies) < int(p.commands) {
			missing = append(missing, "not every machine is protected")
		}
		return missing
	}); err != nil {
		return err
	}
	return p.refused()
}

// refused returns the first command that was refused.
func (p *player) refused() error {
	for id := range p.commands {
		if text := p.replies[id+1]; strings.HasPrefix(text, "refused") {
			return fmt.Errorf("a machine could not be protected: %s", text)
		}
	}
	return nil
}

// offer lets one host have memory for machines, or with nil each what it has.
func (p *player) offer(only *host) {
	for _, h := range p.hosts {
		total := h.memory
		if only != nil && h != only {
			total = 0
		}
		h.agent.observe(core.MemoryState{Total: total})
	}
}

func (p *player) protectNew(i int) {
	m := p.leader()
	if m == nil {
		m = p.hosts[0]
	}
	p.protect(m, i, p.storeNamed(p.scene.Machines[i-1].Home))
}

// elsewhere says which of some machines do not run on a host yet.
func (p *player) elsewhere(h *host, machines []int) (missing []string) {
	for _, i := range machines {
		vm := p.vms[i-1]
		if on := p.executing(vm); len(on) == 1 && on[0] == h {
			continue
		}
		missing = append(missing, p.nameOf(vm)+" does not run on "+h.name)
	}
	return missing
}

// whyWaiting says what the master says of machines that wait.
func (p *player) whyWaiting(machines []int) string {
	m := p.leader()
	if m == nil {
		return "no host is master"
	}
	var why []string
	for _, v := range m.view().Machines {
		if v.State != "running" && slices.ContainsFunc(machines, func(i int) bool { return p.vms[i-1] == v.VM }) {
			why = append(why, v.Name+": "+v.Why)
			why = append(why, v.Refusals...)
		}
	}
	return list(why)
}

// leader returns the first host that is master by its own word, or nil.
func (w *World) leader() *host {
	for _, h := range w.hosts {
		if h.leads() {
			return h
		}
	}
	return nil
}

func (h *host) leads() bool { return h.works() && h.agent.core.Leading() }

// works reports whether the host has an agent that has begun.
func (h *host) works() bool { return h.powered && h.agent != nil && h.agent.core != nil }

// view is what `storebeat status` would show on the host.
func (h *host) view() core.View { return h.agent.core.View(h.now()) }

func list(all []string) string { return strings.Join(all, "; ") }
