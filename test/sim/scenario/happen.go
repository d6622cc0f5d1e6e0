package scenario

import (
	"strconv"
	"time"
)

// Bounds of a scenario, beyond which a run would take minutes.
const (
	maxHosts      = 64
	maxDatastores = 16
)

func itoa(n int) string { return strconv.Itoa(n) }

// complete judges the cluster as a whole.
func (p *parser) complete() {
	at := Pos{1, 1}
	if len(p.errors) > 0 {
		return
	}
	switch {
	case len(p.Hosts) == 0:
		p.failAt(at, `the scenario has no host: write "host h1..h3"`)
	case len(p.Datastores) == 0:
		p.failAt(at, `the scenario has no datastore: write "datastore ds1"`)
	case len(p.Hosts) > maxHosts:
		p.failAt(at, "the scenario has more than "+itoa(maxHosts)+" hosts")
	case len(p.Datastores) > maxDatastores:
		p.failAt(at, "the scenario has more than "+itoa(maxDatastores)+" datastores")
	case len(p.Machines) > maxNames:
		p.failAt(at, "the scenario has more than "+itoa(maxNames)+" machines")
	}
	p.checkRules()
	for _, m := range p.Machines {
		if err := m.Policy.Validate(); err != nil {
			p.failAt(at, m.Name+": "+err.Error())
		}
	}
}

// happenings reads the lines that are no settings.
func (p *parser) happenings() {
	broken := len(p.errors) > 0
	for _, tokens := range p.lines {
		if settingOf(tokens) != nil {
			continue
		}
		r := &reader{tokens: tokens, names: &p.names}
		ok := false
		if r.isWord(0, []string{"expect"}) {
			ok = p.expectation(r)
		} else {
			ok = p.event(r)
		}
		// A name that a wrong line was to declare is no mistake of this one.
		if !ok && !(broken && r.nameless) {
			p.fail(r.mistake())
		}
	}
}

func (p *parser) event(r *reader) bool {
	m, i, ok := r.moment()
	if !ok {
		for _, f := range Settings {
			r.wantWords(0, f.parts[0].words)
		}
		r.wantWords(0, []string{"expect"})
		return false
	}
	do, _ := r.phrase(Actions, i+1, end)
	if do == nil {
		return false
	}
	p.Events = append(p.Events, Event{Pos: r.at(0).Pos, Text: r.line(), When: m, Do: *do})
	return true
}

func (r *reader) line() string { return r.text(0, len(r.tokens)-1) }

// moment reads what stands before the colon of an action.
func (r *reader) moment() (m Moment, next int, ok bool) {
	if at, i := r.phrase([]*Form{At}, 0, colon); at != nil {
		m.Form = At
		m.Time, _ = at.Span("TIME")
		return m, i, true
	}
	for _, f := range []*Form{When, After} {
		have := map[string]Value{}
		i, ok := r.match(f.parts, 0, have)
		if !ok {
			continue
		}
		m.Form, m.Time = f, have["LENGTH"].Span
		m.Condition, i = r.phrase(Conditions, i, colon)
		return m, i, m.Condition != nil
	}
	return m, 0, false
}

func (p *parser) expectation(r *reader) bool {
	e := Expectation{Pos: r.at(0).Pos, Text: r.line()}
	when, i := r.phrase(Expecting, 0, colon)
	if when == nil {
		have := map[string]Value{}
		n, ok := r.match(ExpectWithin.parts, 0, have)
		if !ok {
			return false
		}
		when = &Phrase{Form: ExpectWithin, Pos: r.at(0).Pos, Text: r.text(0, n), have: have}
		if e.After, i = r.phrase(Conditions, n, colon); e.After == nil {
			return false
		}
	}
	if when.Form == ExpectWithin && e.After == nil {
		r.want(i, "a condition")
		return false
	}
	what, _ := r.phrase(Conditions, i+1, end)
	if what == nil {
		return false
	}
	e.When, e.What = when, *what
	p.Expected = append(p.Expected, e)
	return true
}

// judge looks at the times of the whole.
func (p *parser) judge() {
	last := time.Duration(0)
	reach := func(at Pos, t time.Duration) {
		if p.given && t > p.End {
			p.failAt(at, t.String()+" lies after the end, which is at "+p.End.String())
		}
		last = max(last, t)
	}
	for _, e := range p.Events {
		length, _ := e.Do.Span("LENGTH")
		if e.When.Form == At {
			reach(e.Pos, e.When.Time.Most)
		}
		last = max(last, e.When.Time.Most+length.Most)
	}
	for _, e := range p.Expected {
		for _, slot := range []string{"TIME", "FROM", "TO"} {
			if t, ok := e.When.Span(slot); ok {
				reach(e.Pos, t.Most)
			}
		}
	}
	if !p.given {
		p.End = last + 20*time.Second
	}
	if len(p.Expected) == 0 && len(p.errors) == 0 {
		p.failAt(Pos{1, 1}, `the scenario expects nothing: write a line such as "expect at end: cluster at rest"`)
	}
}
