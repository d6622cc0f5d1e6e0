package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"storebeat/test/sim/scenario"
)

// condition judges one form of condition at the present instant, and says what is
// the case.
type condition struct {
	holds  func(p *player, c *scenario.Phrase) (holds bool, why string)
	polled bool // it may change without an event that the simulator sees
}

// conditions are all that scenarios know.
var conditions map[*scenario.Form]condition

func init() {
	conditions = map[*scenario.Form]condition{
		scenario.Runs:          {(*player).run, false},
		scenario.DoesNotRun:    {(*player).doNotRun, false},
		scenario.Frozen:        {(*player).areFrozen, false},
		scenario.Off:           {(*player).areOff, false},
		scenario.Started:       {(*player).wereStarted, false},
		scenario.Away:          {(*player).wereAway, true},
		scenario.Shown:         {(*player).areShown, true},
		scenario.IsState:       {(*player).inState, true},
		scenario.IsMaster:      {(*player).areMaster, true},
		scenario.OneMaster:     {(*player).oneMaster, true},
		scenario.StoreIs:       {(*player).storesAre, true},
		scenario.EventSeen:     {(*player).eventSeen, false},
		scenario.EventCount:    {(*player).eventSeen, false},
		scenario.LastSucceeded: {(*player).lastSucceeded, false},
		scenario.LastRefused:   {(*player).lastRefused, false},
		scenario.WriteRefused:  {lateWrite(writeRefused), true},
		scenario.WriteLanded:   {lateWrite(writeLate), true},
		scenario.AtRest:        {(*player).atRest, true},
	}
}

func (p *player) holds(c *scenario.Phrase) (bool, string) { return conditions[c.Form].holds(p, c) }

func (p *player) machinesIn(c *scenario.Phrase) (vms []uuid.UUID) {
	for _, vm := range p.vms {
		if slices.Contains(c.Names("MACHINES"), p.nameOf(vm)) {
			vms = append(vms, vm)
		}
	}
	return vms
}

// eachMachine asks that something holds for every one of MACHINES.
func (p *player) eachMachine(c *scenario.Phrase, holds func(vm uuid.UUID) bool) (bool, string) {
	all := true
	var why []string
	for _, vm := range p.machinesIn(c) {
		if !holds(vm) {
			all = false
			why = append(why, p.whereabouts(vm))
		}
	}
	if all {
		for _, vm := range p.machinesIn(c) {
			why = append(why, p.whereabouts(vm))
		}
	}
	return all, list(why)
}

// whereabouts says where a machine is.
func (p *player) whereabouts(vm uuid.UUID) string {
	name := p.nameOf(vm)
	if on := p.executing(vm); len(on) > 0 {
		return name + " runs on " + hostNames(on, " and ")
	}
	for _, h := range p.hosts {
		if h.process(vm) != nil {
			return name + " is frozen on " + h.name
		}
	}
	return name + " has no process anywhere"
}

func hostNames(hosts []*host, between string) string {
	var names []string
	for _, h := range hosts {
		names = append(names, h.name)
	}
	return strings.Join(names, between)
}

// among reports whether a host is one of those in a slot, or the slot is left out.
func (p *player) among(c *scenario.Phrase, slot string, h *host) bool {
	if !c.Has(slot) {
		return true
	}
	hosts, err := p.hostsIn(c, slot, nil)
	return err == nil && slices.Contains(hosts, h)
}

func (p *player) run(c *scenario.Phrase) (bool, string) {
	return p.eachMachine(c, func(vm uuid.UUID) bool {
		on := p.executing(vm)
		return len(on) == 1 && p.among(c, "HOSTS", on[0])
	})
}

func (p *player) doNotRun(c *scenario.Phrase) (bool, string) {
	return p.eachMachine(c, func(vm uuid.UUID) bool {
		return !slices.ContainsFunc(p.executing(vm), func(h *host) bool { return p.among(c, "HOSTS", h) })
	})
}

func (p *player) areFrozen(c *scenario.Phrase) (bool, string) {
	return p.eachMachine(c, func(vm uuid.UUID) bool {
		is := slices.ContainsFunc(p.hosts, func(h *host) bool {
			m := h.process(vm)
			return m != nil && !m.executes() && p.among(c, "HOSTS", h)
		})
		return is != c.Has("not")
	})
}

func (p *player) areOff(c *scenario.Phrase) (bool, string) {
	return p.eachMachine(c, func(vm uuid.UUID) bool {
		is := !slices.ContainsFunc(p.hosts, func(h *host) bool { return h.process(vm) != nil })
		return is != c.Has("not")
	})
}

func (p *player) wereStarted(c *scenario.Phrase) (bool, string) {
	want, _ := c.Count("COUNT")
	all := true
	var why []string
	for _, vm := range p.machinesIn(c) {
		n := 0
		for _, s := range p.log[p.started:] {
			if s.vm == vm && p.among(c, "HOSTS", s.h) {
				n++
			}
		}
		all = all && want.Holds(n)
		why = append(why, fmt.Sprintf("%s was started %d times", p.nameOf(vm), n))
	}
	return all, list(why)
}

func (p *player) wereAway(c *scenario.Phrase) (bool, string) {
	most, _ := c.Span("LENGTH")
	all := true
	var why []string
	for _, l := range p.lives {
		if !slices.Contains(c.Names("MACHINES"), p.nameOf(l.vm)) {
			continue
		}
		away := max(l.longest, l.present(p.time()))
		all = all && away <= most.Most
		why = append(why, p.nameOf(l.vm)+" was away for "+short(away))
	}
	return all, list(why)
}

// witnesses are the hosts whose word is asked: those in a slot, else those that lead.
func (p *player) witnesses(c *scenario.Phrase, slot string) (hosts []*host, all bool) {
	if c.Has(slot) {
		named, _ := p.hostsIn(c, slot, nil)
		return slices.DeleteFunc(named, func(h *host) bool { return !h.works() }), len(named) > 0
	}
	for _, h := range p.hosts {
		if h.leads() {
			hosts = append(hosts, h)
		}
	}
	return hosts, false
}

// agreed asks what witnesses say about everything in question: of the hosts that
// lead one is enough, and "not" denies it of all; of hosts that are named, all count.
func (p *player) agreed(c *scenario.Phrase, slot string, about []string, want string, says func(h *host, name string) string) (bool, string) {
	hosts, named := p.witnesses(c, slot)
	if len(hosts) == 0 {
		return false, "no host is there to say so"
	}
	all := true
	var why []string
	for _, name := range about {
		yes := 0
		for _, h := range hosts {
			state := says(h, name)
			if state == want {
				yes++
			}
			why = append(why, fmt.Sprintf("to %s, %s is %s", h.name, name, state))
		}
		holds := yes > 0
		if named && !c.Has("not") {
			holds = yes == len(hosts)
		}
		all = all && holds != c.Has("not")
	}
	return all, list(why)
}

func (p *player) areShown(c *scenario.Phrase) (bool, string) {
	return p.agreed(c, "HOSTS", c.Names("MACHINES"), c.Word("STATUS"), func(h *host, name string) string {
		for _, m := range h.view().Machines {
			if m.Name == name {
				return strings.ReplaceAll(m.State, " ", "-")
			}
		}
		return "unknown"
	})
}

func (p *player) inState(c *scenario.Phrase) (bool, string) {
	about, err := p.hostsIn(c, "HOSTS", nil)
	if err != nil {
		return false, err.Error()
	}
	var names []string
	for _, h := range about {
		names = append(names, h.name)
	}
	return p.agreed(c, "OTHERS", names, c.Word("STATE"), func(h *host, name string) string {
		return h.agent.core.StateOf(p.hostNamed(name).id).String()
	})
}

func (p *player) storesAre(c *scenario.Phrase) (bool, string) {
	return p.agreed(c, "HOSTS", c.Names("DATASTORES"), c.Word("DSTATE"), func(h *host, name string) string {
		for _, d := range h.view().Datastores {
			if d.Name == name {
				return d.State
			}
		}
		return "unknown"
	})
}

func (p *player) areMaster(c *scenario.Phrase) (bool, string) {
	all := true
	var why []string
	for _, name := range c.Names("HOSTS") {
		h := p.hostNamed(name)
		if h == nil {
			h = p.leader()
		}
		is := h != nil && h.leads()
		if is && c.Has("OTHERS") {
			followers, _ := p.hostsIn(c, "OTHERS", []*host{h})
			is = !slices.ContainsFunc(followers, func(f *host) bool { return !f.works() || f.agent.core.Master() != h.id })
		}
		all = all && is != c.Has("not")
		why = append(why, name+map[bool]string{true: " is master", false: " is not master"}[is])
	}
	return all, list(why)
}

func (p *player) oneMaster(*scenario.Phrase) (bool, string) {
	var leading []*host
	for _, h := range p.hosts {
		if h.leads() {
			leading = append(leading, h)
		}
	}
	if len(leading) != 1 {
		return false, fmt.Sprintf("%d hosts are master: %s", len(leading), hostNames(leading, ", "))
	}
	for _, h := range p.hosts {
		if h.works() && h.agent.core.Master() != leading[0].id {
			return false, fmt.Sprintf("%s does not follow %s", h.name, leading[0].name)
		}
	}
	return true, leading[0].name + " is master"
}

// eventSeen counts events of a kind, by some hosts, about some hosts, datastores or machines.
func (p *player) eventSeen(c *scenario.Phrase) (bool, string) {
	want := scenario.Count{Least: 1, Most: 1 << 30}
	if n, ok := c.Count("COUNT"); ok {
		want = n
	}
	n := 0
	last := ""
	for i := range p.journal {
		e := &p.journal[i]
		if string(e.event.Kind) != c.Word("KIND") || !p.among(c, "HOSTS", e.by) || c.Has("ABOUT") && !p.concerns(e, c) {
			continue
		}
		n++
		last = fmt.Sprintf(", the last at %s by %s: %s", short(e.at), e.by.name, e.event.Text)
	}
	return want.Holds(n), fmt.Sprintf("there were %d%s", n, last)
}

// concerns reports whether an event is about one of ABOUT.
func (p *player) concerns(e *entry, c *scenario.Phrase) bool {
	hosts, _ := p.hostsIn(c, "ABOUT", nil)
	names := c.Names("ABOUT")
	about := e.event.Host
	if about == 0 {
		about = e.by.id
	}
	return slices.ContainsFunc(hosts, func(h *host) bool { return h.id == about }) ||
		slices.ContainsFunc(p.stores, func(s *store) bool { return s.id == e.event.Datastore && slices.Contains(names, s.name()) }) ||
		slices.ContainsFunc(p.vms, func(vm uuid.UUID) bool { return vm == e.event.VM && slices.Contains(names, p.nameOf(vm)) })
}

func (p *player) lastSucceeded(*scenario.Phrase) (bool, string) {
	text, ok := p.replies[p.asked]
	return ok && !strings.HasPrefix(text, "refused: "), p.lastReply(text, ok)
}

func (p *player) lastRefused(c *scenario.Phrase) (bool, string) {
	text, ok := p.replies[p.asked]
	return ok && strings.HasPrefix(text, "refused: ") && strings.Contains(text, c.Word("TEXT")), p.lastReply(text, ok)
}

func (p *player) lastReply(text string, ok bool) string {
	switch {
	case p.asked == 0:
		return "no user has asked for anything"
	case !ok:
		return "the last command was not answered"
	}
	return "the answer to the last command was: " + text
}

func (p *player) atRest(*scenario.Phrase) (bool, string) {
	why := p.Unsettled()
	return len(why) == 0, list(why)
}

// lateWrite asks whether late writes of guests came to an end of one kind.
func lateWrite(end meeting) func(p *player, c *scenario.Phrase) (bool, string) {
	return func(p *player, _ *scenario.Phrase) (bool, string) {
		n := p.covered[string(end)] - p.writes[end]
		return n > 0, fmt.Sprintf("there were %d such writes", n)
	}
}

// life is what a machine goes through.
type life struct {
	vm      uuid.UUID
	away    bool          // it is wanted and does not execute
	since   time.Duration // when it went away
	longest time.Duration
	total   time.Duration
	on      []*host // where it executes
	last    *host   // where it did last
}

// present returns for how long the machine has been away by now.
func (l *life) present(now time.Duration) time.Duration {
	if !l.away {
		return 0
	}
	return now - l.since
}
