package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"storebeat/agent/core"
	"storebeat/test/sim/scenario"
)

// Result is what one run of a scenario came to. Times are counted from the start of
// the scenario's clock.
type Result struct {
	Seed     uint64         `json:"seed"`
	Passed   bool           `json:"passed"`
	Wrong    []Wrong        `json:"wrong"` // what went wrong, in the order of time
	Expected []Expected     `json:"expected"`
	Machines []Fate         `json:"machines"`
	Timeline []Happening    `json:"timeline,omitempty"`
	Trace    []string       `json:"trace,omitempty"`
	Events   map[string]int `json:"-"` // in the journals, by kind
	Virtual  time.Duration  `json:"-"` // how much time passed, the preparations included
}

// Wrong is one thing that went wrong: an expectation that failed, something in
// the file that never came to pass, or an invariant that was broken.
type Wrong struct {
	Line  int           `json:"line,omitempty"` // of the file, 0 for what holds in every scenario
	Text  string        `json:"text"`           // what was expected, as the file has it
	At    time.Duration `json:"at"`
	Why   string        `json:"why"`
	Trace []string      `json:"trace,omitempty"` // the last that was seen of those concerned
}

// String returns all of it, in lines.
func (w Wrong) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "at %s: ", short(w.At))
	if w.Line > 0 {
		fmt.Fprintf(&b, "line %d, ", w.Line)
	}
	fmt.Fprintf(&b, "%s\n  %s", w.Text, w.Why)
	if len(w.Trace) > 0 {
		b.WriteString("\n  The last that was seen of those concerned:")
	}
	for _, line := range w.Trace {
		b.WriteString("\n  " + line)
	}
	return b.String()
}

// Expected is one expectation that was met.
type Expected struct {
	Line int            `json:"line"`
	Text string         `json:"text"`
	At   *time.Duration `json:"at,omitempty"` // when it came true, for one that had time for it
}

// Fate is what became of one machine.
type Fate struct {
	Name    string        `json:"name"`
	State   string        `json:"state"` // running, frozen or off
	Hosts   []string      `json:"hosts,omitempty"`
	Started int           `json:"started"`
	Away    time.Duration `json:"away"` // the longest time for which it was wanted and did not execute
	Total   time.Duration `json:"total_away"`
}

// Detail says how much of a run is kept.
type Detail uint8

// What is kept of a run, each with what stands above it.
const (
	Verdict  Detail = iota // whether it passed, and the figures
	Timeline               // what happened
	Evidence               // the traces behind what went wrong
	Full                   // the whole trace
)

// player plays one scenario in a world.
type player struct {
	*World
	scene     *scenario.Scenario
	detail    Detail
	dice      *rand.Rand // for what the file leaves to the seed
	checks    []*check
	triggers  []*trigger
	lives     []*life
	journal   []entry
	started   int // length of the observer's log when the clock started
	snapshots map[*store]contents
	writes    map[meeting]int // late writes of guests before the clock started
	asked     uint64          // the newest command of a user
	timeline  []Happening
	wrong     []Wrong
	final     []Fate // of the machines, when the scenario ended
	objected  int    // violations that were reported
	over      bool
}

// entry is one event of a journal.
type entry struct {
	by    *host
	at    time.Duration
	event core.Event
}

// Play runs a scenario with a seed. The same scenario, seed and version of the program give
// the same run. To keep traces costs time, so a run that fails is run again for its evidence.
func Play(s *scenario.Scenario, seed uint64, detail Detail) *Result {
	r := play(s, seed, detail)
	if !r.Passed && detail < Evidence {
		return play(s, seed, Evidence)
	}
	return r
}

func play(s *scenario.Scenario, seed uint64, detail Detail) *Result {
	p := &player{World: New(setupOf(s, seed, detail)), scene: s, detail: detail, snapshots: map[*store]contents{},
		dice: rand.New(rand.NewPCG(seed, 0x5ce4a))}
	if err := p.prologue(); err != nil {
		p.wrong = append(p.wrong, Wrong{Text: "the cluster stands as the file says before the clock starts", At: p.now, Why: err.Error(), Trace: p.trace.last(20)})
		return p.result()
	}
	p.begin()
	p.Run(s.End)
	p.end()
	p.converge()
	return p.result()
}

func setupOf(s *scenario.Scenario, seed uint64, detail Detail) Setup {
	setup := Default()
	setup.Seed, setup.Timing, setup.Isolation, setup.Quiet = seed, s.Timing, s.Addresses, detail < Evidence
	setup.HostSpecs, setup.DatastoreSpecs, setup.MachineSpecs = s.Hosts, s.Datastores, s.Machines
	setup.Machines, setup.LockLease = 0, s.LockLease
	if setup.MachineSpecs == nil {
		setup.MachineSpecs = []scenario.MachineSpec{}
	}
	return setup
}

// draw picks a time out of a span.
func (p *player) draw(s scenario.Span) time.Duration {
	if s.Most <= s.Least {
		return s.Least
	}
	return s.Least + time.Duration(p.dice.Int64N(int64(s.Most-s.Least)+1))
}

// time returns the present instant as the scenario counts it.
func (p *player) time() time.Duration { return p.now - p.zero }

// at plans something at a time of the scenario.
func (p *player) at(t time.Duration, do func()) {
	p.schedule.add(max(p.now, p.zero+t), func() {
		p.changes++
		do()
	})
}

// begin starts the scenario's clock.
func (p *player) begin() {
	p.zero, p.started, p.objected = p.now, len(p.log), len(p.Violations())
	p.trace.lines = nil
	p.writes = map[meeting]int{writeRefused: p.covered[string(writeRefused)], writeLate: p.covered[string(writeLate)]}
	p.watch = p
	p.beginLives()
	for i := range p.scene.Events {
		e := &p.scene.Events[i]
		p.expectEvent(e)
	}
	for i := range p.scene.Expected {
		p.expect(&p.scene.Expected[i])
	}
	p.poll()
	p.changed()
}

// trigger is an event that waits for a condition.
type trigger struct {
	event *scenario.Event
	delay time.Duration
	fired bool
}

func (p *player) expectEvent(e *scenario.Event) {
	delay := p.draw(e.When.Time)
	if e.When.Form == scenario.At {
		p.at(delay, func() { p.do(e) })
		return
	}
	p.triggers = append(p.triggers, &trigger{event: e, delay: delay})
}

// do carries an event of the scenario out, and plans its end.
func (p *player) do(e *scenario.Event) {
	p.note("scenario", "%s", e.Do.Text)
	p.tell("scenario", "", "%s", e.Do.Text)
	undo, err := actions[e.Do.Form](p, &e.Do)
	if err != nil {
		p.goWrong(e.Pos, e.Text, fmt.Sprintf("it can't be done: %v", err), p.concerned(&e.Do))
		return
	}
	p.changes++
	if length, ok := e.Do.Span("LENGTH"); ok && undo != nil {
		p.at(p.time()+p.draw(length), func() {
			p.note("scenario", "the end of: %s", e.Do.Text)
			p.tell("scenario", "", "the end of: %s", e.Do.Text)
			undo()
		})
	}
}

// pollInterval is how often conditions are looked at that may change without an
// event that the simulator sees, such as a host's verdict about another.
const pollInterval = 50 * time.Millisecond

func (p *player) poll() {
	if !p.polled() {
		return
	}
	var again func()
	again = func() {
		p.changes++
		if !p.over {
			p.after(pollInterval, again)
		}
	}
	p.after(pollInterval, again)
}

// changed looks at everything that waits for something. It is called between the
// events of the world.
func (p *player) changed() {
	if p.over {
		return
	}
	p.live()
	p.object()
	for _, t := range p.triggers {
		if t.fired {
			continue
		}
		if holds, _ := p.holds(t.event.When.Condition); holds {
			t.fired = true
			p.at(p.time()+t.delay, func() { p.do(t.event) })
		}
	}
	for _, c := range p.checks {
		c.look(p)
	}
}

// object takes over what the observer found.
func (p *player) object() {
	for ; p.objected < len(p.Violations()); p.objected++ {
		if len(p.wrong) < 10 {
			v := p.Violations()[p.objected]
			p.wrong = append(p.wrong, Wrong{Text: "no invariant of docs/safety.md is broken", At: p.time(), Why: v, Trace: p.trace.about(p.mentioned(v), evidenceLines)})
		}
	}
}

// evidenceLines is how much of the trace goes with what went wrong.
const evidenceLines = 15

func (p *player) goWrong(at scenario.Pos, text, why string, concerned []string) {
	p.wrong = append(p.wrong, Wrong{Line: at.Line, Text: text, At: p.time(), Why: why, Trace: p.trace.about(concerned, evidenceLines)})
}

// end closes the scenario: what has not come true by now has failed.
func (p *player) end() {
	p.changed()
	for _, c := range p.checks {
		c.end(p)
	}
	for _, t := range p.triggers {
		if !t.fired {
			c := t.event.When.Condition
			_, why := p.holds(c)
			p.goWrong(t.event.Pos, t.event.Text, "its condition never held: "+why, p.concerned(c))
		}
	}
	p.endLives()
	p.final = p.fates()
	p.over = true
}

// converge heals everything and asks that the cluster comes to rest.
func (p *player) converge() {
	if p.scene.Settle > 0 && !p.halted {
		begin := p.time()
		p.heal()
		if p.wait("rest", p.scene.Settle, p.Unsettled) != nil && len(p.Unsettled()) > 0 {
			p.wrong = append(p.wrong, Wrong{Text: fmt.Sprintf("convergence within %v", p.scene.Settle), At: p.time(),
				Why: fmt.Sprintf("everything was healed at %v, and %s", short(begin), list(p.Unsettled())), Trace: p.trace.last(evidenceLines)})
		}
	}
	p.object()
}

func (p *player) result() *Result {
	r := &Result{Seed: p.setup.Seed, Passed: len(p.wrong) == 0, Wrong: p.wrong, Expected: p.met(), Machines: p.final, Events: p.counts, Virtual: p.now}
	if p.detail >= Timeline {
		r.Timeline = p.timeline
	}
	if p.detail >= Full {
		r.Trace = p.trace.lines
	}
	return r
}
