package sim

import (
	"fmt"
	"slices"
	"time"

	"storebeat/test/sim/scenario"
)

// check is an expectation of the scenario while it is played.
type check struct {
	*scenario.Expectation
	from, to time.Duration // when it is looked at
	settled  bool          // it has come true, or failed
	failed   bool
	at       time.Duration // when it came true
	timed    bool          // it had time to come true
	waiting  bool          // for its After to hold
}

// expect begins to look after an expectation.
func (p *player) expect(e *scenario.Expectation) {
	c := &check{Expectation: e, to: p.scene.End}
	span := func(slot string, otherwise time.Duration) time.Duration {
		if s, ok := e.When.Span(slot); ok {
			return p.draw(s)
		}
		return otherwise
	}
	switch e.When.Form {
	case scenario.ExpectAt:
		c.from = span("TIME", 0)
		c.to = c.from
	case scenario.ExpectAtEnd:
		c.from = c.to
	case scenario.ExpectBy:
		c.to, c.timed = span("TIME", 0), true
	case scenario.ExpectEver:
		c.timed = true
	case scenario.ExpectWithin:
		c.timed, c.waiting = true, true
	case scenario.ExpectAlways, scenario.ExpectNever:
		c.from, c.to = span("FROM", 0), span("TO", c.to)
		p.at(c.from, func() {}) // it is looked at when something changes; this makes something change
	}
	p.checks = append(p.checks, c)
	if c.to < p.scene.End {
		p.at(c.to, func() { c.due(p) })
	}
}

// look looks at an expectation when something has changed.
func (c *check) look(p *player) {
	now := p.time()
	if c.settled || now < c.from || now > c.to {
		return
	}
	if c.waiting {
		c.begin(p)
		return
	}
	switch c.When.Form {
	case scenario.ExpectBy, scenario.ExpectEver, scenario.ExpectWithin:
		if holds, _ := p.holds(&c.What); holds {
			c.settled, c.at = true, now-c.from
			if c.When.Form != scenario.ExpectWithin {
				c.at = now
			}
		}
	case scenario.ExpectAlways:
		if holds, why := p.holds(&c.What); !holds {
			c.fail(p, why)
		}
	case scenario.ExpectNever:
		if holds, why := p.holds(&c.What); holds {
			c.fail(p, why)
		}
	}
}

// begin starts the time of an expectation once its condition holds.
func (c *check) begin(p *player) {
	if holds, _ := p.holds(c.After); !holds {
		return
	}
	length, _ := c.When.Span("LENGTH")
	c.waiting, c.from = false, p.time()
	c.to = c.from + p.draw(length)
	if c.to < p.scene.End {
		p.at(c.to, func() { c.due(p) })
	}
	c.look(p)
}

// due judges an expectation whose time is over.
func (c *check) due(p *player) {
	if c.settled || c.waiting {
		return
	}
	c.look(p)
	if c.settled {
		return
	}
	holds, why := p.holds(&c.What)
	switch {
	case c.When.Form == scenario.ExpectNever || c.When.Form == scenario.ExpectAlways || holds:
		c.settled, c.at = true, p.time()
	default:
		c.fail(p, why)
	}
}

// end judges an expectation when the scenario ends.
func (c *check) end(p *player) {
	if c.waiting {
		_, why := p.holds(c.After)
		c.fail(p, "its condition never held: "+why)
	}
	c.due(p)
}

func (c *check) fail(p *player, why string) {
	c.settled, c.failed = true, true
	p.goWrong(c.Pos, c.Text, why, p.concerned(&c.What))
}

// met returns the expectations that were met.
func (p *player) met() (met []Expected) {
	for _, c := range p.checks {
		if c.settled && !c.failed {
			e := Expected{Line: c.Pos.Line, Text: c.Text}
			if c.timed {
				e.At = &c.at
			}
			met = append(met, e)
		}
	}
	return met
}

// polled reports whether something waits for what only looking can tell.
func (p *player) polled() bool {
	var all []*scenario.Phrase
	for i := range p.scene.Events {
		if c := p.scene.Events[i].When.Condition; c != nil {
			all = append(all, c)
		}
	}
	for i := range p.scene.Expected {
		e := &p.scene.Expected[i]
		if all = append(all, &e.What); e.After != nil {
			all = append(all, e.After)
		}
	}
	return slices.ContainsFunc(all, func(c *scenario.Phrase) bool { return conditions[c.Form].polled })
}

// concerned returns the names of everybody whom a phrase is about: those that it
// names, and the hosts on which its machines ran last.
func (p *player) concerned(c *scenario.Phrase) (names []string) {
	for _, slot := range []string{"HOSTS", "OTHERS", "NODES", "MACHINES", "DATASTORES", "ABOUT"} {
		for _, name := range c.Names(slot) {
			if name == scenario.Master || name == scenario.Others {
				if m := p.leader(); m != nil {
					name = m.name
				}
			}
			names = append(names, name)
		}
	}
	for _, l := range p.lives {
		if slices.Contains(names, p.nameOf(l.vm)) && l.last != nil {
			names = append(names, l.last.name)
		}
	}
	return names
}

// mentioned returns the hosts, datastores and machines that a text names.
func (p *player) mentioned(text string) (names []string) {
	for _, h := range p.hosts {
		names = append(names, h.name)
	}
	for _, s := range p.stores {
		names = append(names, s.name())
	}
	for _, vm := range p.vms {
		names = append(names, p.nameOf(vm))
	}
	return slices.DeleteFunc(names, func(name string) bool { return !mentions(text, name) })
}

// short rounds a time to what a person reads.
func short(d time.Duration) string {
	if d >= 10*time.Millisecond {
		return fmt.Sprint(d.Round(time.Millisecond))
	}
	return fmt.Sprint(d.Round(time.Microsecond))
}
