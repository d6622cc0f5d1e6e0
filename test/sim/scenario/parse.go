package scenario

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"time"

	"storebeat/agent/config"
	"storebeat/datastorehb"
	"storebeat/poweron"
)

// MaxSize is how long a file may be, in bytes.
const MaxSize = 1 << 20

// maxErrors is how many errors of one file are worth reading.
const maxErrors = 20

// parser goes through a file twice: settings first, so that names may be used
// above the line that declares them.
type parser struct {
	Scenario
	file   string
	names  names
	errors []*Error
	seen   map[*Form]Pos // settings that stand once
	given  bool          // the end
	named  []mention
	groups []string
	lines  [][]token
}

// Parse reads a scenario. The error joins one *Error for each line that makes no sense.
func Parse(file string, content []byte) (*Scenario, error) {
	p := &parser{file: file, seen: map[*Form]Pos{}}
	p.File, p.Timing, p.Settle = file, config.Normal.Timing(), time.Minute
	if len(content) > MaxSize {
		p.fail(&Error{Pos: Pos{1, 1}, Text: "the file is larger than 1 MiB: no scenario is"})
		return nil, p.joined()
	}
	p.split(string(content))
	p.settings()
	p.complete()
	p.happenings()
	p.judge()
	if len(p.errors) > 0 {
		return nil, p.joined()
	}
	return &p.Scenario, nil
}

// joined returns the errors in the order of the lines, and no more than are worth reading.
func (p *parser) joined() error {
	slices.SortStableFunc(p.errors, func(a, b *Error) int { return cmp.Compare(a.Line, b.Line) })
	var all []error
	for _, e := range p.errors[:min(len(p.errors), maxErrors)] {
		all = append(all, e)
	}
	return errors.Join(all...)
}

func (p *parser) fail(e *Error) {
	e.File = p.file
	p.errors = append(p.errors, e)
}

func (p *parser) failAt(at Pos, text string) { p.fail(&Error{Pos: at, Text: text}) }

func (p *parser) split(content string) {
	number := 0
	for line := range strings.Lines(content) {
		number++
		line = strings.TrimRight(line, "\r\n")
		tokens, err := split(line, number)
		if err != nil {
			p.fail(err)
		} else if len(tokens) > 0 {
			last := tokens[len(tokens)-1]
			tokens = append(tokens, token{kind: end, Pos: Pos{number, last.Col + len([]rune(last.text))}})
			p.lines = append(p.lines, tokens)
		}
	}
}

// passOf returns when a setting is read: after those whose names it may refer to.
func passOf(f *Form) int {
	switch f {
	case Address, Datastore:
		return 0
	case Host:
		return 1
	}
	return 2
}

func (p *parser) settings() {
	for pass := range 3 {
		for _, tokens := range p.lines {
			if f := settingOf(tokens); f != nil && passOf(f) == pass {
				p.setting(tokens)
			}
		}
	}
}

// settingOf returns the setting that a line begins as, or nil.
func settingOf(tokens []token) *Form {
	for _, f := range Settings {
		if tokens[0].kind == word && tokens[0].text == f.parts[0].words[0] {
			return f
		}
	}
	return nil
}

// setting reads one line that sets something up.
func (p *parser) setting(tokens []token) {
	r := &reader{tokens: tokens, names: &p.names}
	phrase, _ := r.phrase(Settings, 0, end)
	if phrase == nil {
		p.fail(r.mistake())
		return
	}
	if f := phrase.Form; f != Datastore && f != Host && f != Machine && f != Address {
		if first, again := p.seen[f]; again {
			p.failAt(phrase.Pos, "this stands in line "+itoa(first.Line)+" already: take one of them out")
			return
		}
		p.seen[f] = phrase.Pos
	}
	p.set(phrase)
}

func (p *parser) set(s *Phrase) {
	switch s.Form {
	case Title:
		p.Title = s.Word("TEXT")
	case Profile:
		p.Timing = config.Profile(s.Word("PROFILE")).Timing()
	case Timing:
		p.setTiming(s)
	case Address:
		p.names.addresses = append(p.names.addresses, s.Names("ADDRESSES")...)
		p.Addresses = p.names.addresses
	case Datastore:
		p.addDatastores(s)
	case Host:
		p.addHosts(s)
	case Machine:
		p.addMachines(s)
	case MasterAt:
		if p.Master = p.one(s, "HOSTS"); p.Master == Master || p.Master == Others {
			p.failAt(s.Pos, "name the host that shall be master at the start")
		}
	case LockLease:
		l, _ := s.Span("LENGTH")
		p.LockLease = l.Most
	case End:
		t, _ := s.Span("TIME")
		p.End, p.given = t.Most, true
	case Convergence:
		l, _ := s.Span("LENGTH")
		p.Settle = l.Most
	case NoConverge:
		p.Settle = 0
	}
}

// one returns the name in a slot that takes just one here.
func (p *parser) one(s *Phrase, slot string) string {
	if n := s.Names(slot); len(n) == 1 {
		return n[0]
	}
	p.failAt(s.Pos, "name one here, not several")
	return ""
}

func (p *parser) setTiming(s *Phrase) {
	fixed := func(slot string) time.Duration { v, _ := s.Span(slot); return v.Least }
	p.Timing.Interval, p.Timing.Lease, p.Timing.Freeze, p.Timing.Takeover = fixed("INTERVAL"), fixed("LEASE"), fixed("FREEZE"), fixed("TAKEOVER")
	if err := p.Timing.Validate(); err != nil {
		p.failAt(s.Pos, err.Error())
	}
	if first, both := p.seen[Profile]; both {
		p.failAt(s.Pos, "line "+itoa(first.Line)+" names a profile: take one of them out")
	}
}

func (p *parser) addDatastores(s *Phrase) {
	for _, name := range s.Names("NAMES") {
		d := DatastoreSpec{Name: name, Device: s.Word("WORD"), Type: s.Word("WORD2"), Preferred: s.Has("preferred"), Excluded: s.Has("excluded")}
		_ = d.Barrier.UnmarshalText([]byte(s.Word("BARRIER"))) // none if left out
		p.Datastores = append(p.Datastores, d)
		p.names.datastores = append(p.names.datastores, name)
	}
}

func (p *parser) addHosts(s *Phrase) {
	for _, name := range s.Names("NAMES") {
		h := HostSpec{Name: name, Memory: 64 << 30, Datastores: p.names.datastores, Watchdog: s.Has("watchdog")}
		if s.Has("SIZE") {
			h.Memory = uint64(s.Number("SIZE"))
		}
		if s.Has("DATASTORES") {
			h.Datastores = s.Names("DATASTORES")
		}
		if s.Has("DRIFT") {
			drift := s.Number("DRIFT")
			h.Drift = &drift
		}
		if h.Silent = s.Has("silent"); s.Has("THINGS") || h.Silent {
			h.Has = append([]string{}, s.Names("THINGS")...)
		}
		p.Hosts = append(p.Hosts, h)
		p.names.hosts = append(p.names.hosts, name)
	}
}

func (p *parser) addMachines(s *Phrase) {
	homes, hosts := s.Names("DATASTORES"), s.Names("HOSTS")
	for i, name := range s.Names("NAMES") {
		m := MachineSpec{Name: name, Home: homes[i%len(homes)], Memory: 1 << 30, Policy: policyOf(s), Stopped: s.Has("stopped")}
		if s.Has("SIZE") {
			m.Memory = uint64(s.Number("SIZE"))
		}
		m.Rules, m.Needs = p.rulesOf(s, name), s.Names("THINGS")
		if len(hosts) > 0 {
			m.Host = hosts[i%len(hosts)]
			p.checkPlace(s, m)
		}
		p.Machines = append(p.Machines, m)
		p.names.machines = append(p.names.machines, name)
	}
}

// rulesOf returns the rules of one of the machines of a line.
func (p *parser) rulesOf(s *Phrase, name string) poweron.Rules {
	r := poweron.Rules{Groups: s.Names("GROUPS")}
	p.groups = append(p.groups, r.Groups...)
	r.Must = p.affinityOf(s, name, "APART", "TOGETHER", "PLACES")
	r.Prefer = p.affinityOf(s, name, "RATHER_APART", "RATHER_TOGETHER", "RATHER_PLACES")
	return r
}

func (p *parser) affinityOf(s *Phrase, name, apart, together, places string) (a poweron.Affinity) {
	others := func(slot string) []string {
		return slices.DeleteFunc(slices.Clone(s.Names(slot)), func(n string) bool { return n == name })
	}
	a.Apart, a.Together = others(apart), others(together)
	p.named = append(p.named, mention{s.Pos, slices.Concat(a.Apart, a.Together)})
	for _, h := range s.Names(places) {
		a.Hosts = append(a.Hosts, datastorehb.HostID(slices.Index(p.names.hosts, h)+1))
	}
	return a
}

// mention is machines and groups that a rule names.
type mention struct {
	at    Pos
	names []string
}

// checkRules asks that rules name machines and groups that there are.
func (p *parser) checkRules() {
	for _, m := range p.named {
		for _, name := range m.names {
			if !slices.Contains(p.names.machines, name) && !slices.Contains(p.groups, name) {
				p.failAt(m.at, "a rule names "+name+", which is no machine and no group of this scenario")
				return
			}
		}
	}
}

func (p *parser) checkPlace(s *Phrase, m MachineSpec) {
	if m.Host == Master || m.Host == Others {
		p.failAt(s.Pos, "name the hosts on which the machines run at the start")
		return
	}
	for _, h := range p.Hosts {
		for _, d := range h.Datastores {
			if h.Name == m.Host && d == m.Home {
				return
			}
		}
	}
	p.failAt(s.Pos, m.Name+" can't run on "+m.Host+", which does not access its home datastore "+m.Home)
}

func policyOf(s *Phrase) poweron.Policy {
	policy := poweron.DefaultPolicy()
	if s.Has("PRIORITY") {
		policy.Priority = int(s.Number("PRIORITY"))
	}
	if s.Has("RESPONSE") {
		policy.Isolation = poweron.IsolationResponse(strings.ReplaceAll(s.Word("RESPONSE"), "-", " "))
	}
	if s.Has("YESNO") {
		policy.Restart = s.Word("YESNO") == "yes"
	}
	if s.Has("ATTEMPTS") {
		policy.Attempts = int(s.Number("ATTEMPTS"))
	}
	if s.Has("LIMIT") {
		policy.Limit = int(s.Number("LIMIT"))
	}
	if w, ok := s.Span("WINDOW"); ok {
		policy.Window = w.Least
	}
	if t, ok := s.Span("STOPTIME"); ok {
		policy.StopTime = t.Least
	}
	if s.Has("GUEST") {
		policy.OnGuestShutDown = poweron.GuestShutDownResponse(strings.ReplaceAll(s.Word("GUEST"), "-", " "))
	}
	if s.Has("SHUTDOWN") {
		policy.OnHostShutdown = poweron.HostShutdownResponse(strings.ReplaceAll(s.Word("SHUTDOWN"), "-", " "))
	}
	if t, ok := s.Span("REBOOT"); ok {
		policy.RebootWait = t.Least
	}
	return policy
}
