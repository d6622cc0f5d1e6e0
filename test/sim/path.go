package sim

import (
	"slices"
	"strings"
	"time"

	"storebeat/datastorehb"
)

// path is one host's way to one datastore.
type path struct {
	absent   bool                    // this host does not access the datastore, ever
	hung     bool                    // operations wait until it heals
	hungAt   time.Duration           // since when it hangs or is broken
	broken   bool                    // operations fail at once
	slow     time.Duration           // added to every operation, half on each way
	errors   float64                 // part of the operations that fail before they take effect
	lost     float64                 // part of the writes and claims that take effect and are reported as failed
	late     float64                 // part of the claims that are reported as failed and take effect later
	lateness time.Duration           // how much later
	torn     float64                 // part of the heartbeats that are written in part and reported as failed
	forgets  bool                    // heartbeats are acknowledged and never take effect (R14)
	fate     func(o *operation) fate // what becomes of single operations, nil when nothing special does
	ordained int                     // counts the changes of fate
	rules    []*rule                 // what becomes of kinds of operations, the newest first
	parked   []func()                // what goes on when it heals
	stale    time.Duration           // names that others have made less than this ago may be missed
	old      time.Duration           // listings are this old, up to
	listings map[register]listing
	trouble  trouble  // of the past
	busy     int      // operations of a dead agent that have not returned (R1)
	freed    []func() // what waits for their end
}

// fate is what becomes of one operation, beyond what its path does to all.
type fate struct {
	out    time.Duration // so much longer does it take on its way to the datastore
	back   time.Duration // and the reply
	held   bool          // it waits until its path is mended, or something else is ordained
	fails  bool          // it is reported as failed and takes no effect,
	lands  time.Duration // or takes it so much later
	landed func()        // called when it has taken effect
	rule   *rule         // which this is by
}

// rule gives every operation of some kinds one fate, as long as it lasts.
type rule struct {
	kinds []string // with which operations begin
	fate  fate
	ended bool
}

func (f *fate) over() bool { return f.rule != nil && f.rule.ended }

// govern begins a rule.
func (p *path) govern(kinds []string, f fate) *rule {
	r := &rule{kinds: kinds, fate: f}
	r.fate.rule = r
	p.rules = append([]*rule{r}, p.rules...)
	return r
}

// operation is one call on a datastore, as a thread of the agent makes it.
type operation struct {
	what    string
	writes  bool
	claims  bool
	outcome *datastorehb.Outcome // of a claim, once it has taken effect
	prepare func()               // the earlier of two looks of a read, may be nil
	effect  func()               // at the datastore
	tear    func()               // takes effect in part, nil for what can't
	refuse  func() string        // why the datastore does not take it, may be nil
	reply   func(err string)
	stale   func() bool // it must not take effect any more (R1), may be nil
	holds   func() bool // it is held up by its fate
}

// lose notes since when the path does not work.
func (p *path) lose(now time.Duration) {
	if !p.hung && !p.broken {
		p.hungAt = now
	}
}

// ill reports whether anything is wrong with the path.
func (p *path) ill() bool {
	return p.hung || p.broken || p.slow > 0 || p.errors > 0 || p.lost > 0 || p.late > 0 || p.torn > 0 || p.forgets || p.old > 0 || p.fate != nil ||
		slices.ContainsFunc(p.rules, func(r *rule) bool { return !r.ended })
}

// submit carries an operation out on its way there and back. It lives on when
// the agent that issued it is killed, as a thread in the kernel does, and ends
// with the host.
func (h *host) submit(s *store, o operation) {
	p, boot := h.paths[s.index], h.boots
	alive := func() bool { return h.boots == boot && h.powered }
	f := p.fateOf(&o)
	ordained := p.ordained
	o.holds = func() bool { return f.held && p.ordained == ordained && !f.over() }
	answer := func(err string) {
		h.returned(s, f.back, func() { o.reply(err) }, alive)
	}
	h.w.after(h.w.latency()+p.slow/2+f.out, func() {
		h.reach(s, &o, alive, func() { h.land(s, &o, f, alive, answer) })
	})
}

// fateOf decides what becomes of an operation that is issued now.
func (p *path) fateOf(o *operation) fate {
	if p.fate != nil {
		return p.fate(o)
	}
	for _, r := range p.rules {
		if !r.ended && slices.ContainsFunc(r.kinds, func(kind string) bool { return strings.HasPrefix(o.what, kind) }) {
			return r.fate
		}
	}
	return fate{}
}

// reach goes on once path and datastore do not hang, and hold the operation up no more.
func (h *host) reach(s *store, o *operation, alive func() bool, then func()) {
	p := h.paths[s.index]
	switch {
	case p.hung || s.hung || o.holds():
		p.parked = append(p.parked, func() { h.reach(s, o, alive, then) })
	case alive():
		then()
	case !h.powered:
		h.outlive(s, o)
	}
}

// outlive may let an operation that was under way when its host lost power take
// effect after all, whole or in part, as long as the host has not booted again.
func (h *host) outlive(s *store, o *operation) {
	w := h.w
	if !o.writes && !o.claims || !w.chance(0.3) || o.refuse != nil && o.refuse() != "" {
		return
	}
	w.note(h.name, "%s on %s lands though its host has no power", o.what, s.name())
	if o.tear != nil && w.chance(0.3) {
		o.tear()
	} else {
		o.effect()
	}
}

// land is an operation's arrival at the datastore.
func (h *host) land(s *store, o *operation, f fate, alive func() bool, answer func(string)) {
	p, w := h.paths[s.index], h.w
	switch {
	case f.fails:
		if f.lands > 0 {
			h.landLate(s, o, f)
		}
		answer("timed out")
		return
	case p.absent:
		answer("no such file or directory: " + s.name() + " is not mounted here")
		return
	case p.broken:
		answer("input/output error: no path to " + s.name())
		return
	case w.chance(p.errors):
		answer("input/output error")
		return
	case o.claims && w.chance(p.late):
		f.lands = w.between(0, p.lateness)
		h.landLate(s, o, f)
		answer("timed out")
		return
	}
	if o.refuse != nil {
		if why := o.refuse(); why != "" {
			answer(why)
			return
		}
	}
	if o.tear != nil && w.chance(p.torn) {
		o.tear()
		answer("input/output error")
		return
	}
	if o.tear != nil && p.forgets {
		answer("")
		return
	}
	if o.prepare != nil {
		o.prepare()
		w.after(w.latency(), func() { h.reach(s, o, alive, func() { o.take(f); answer("") }) })
		return
	}
	o.take(f)
	if (o.writes || o.claims) && w.chance(p.lost) {
		w.note(h.name, "the reply to %s on %s is lost", o.what, s.name())
		if o.won() {
			w.met(wonUnknown)
		}
		answer("the reply was lost")
		return
	}
	answer("")
}

// landLate lets an operation that is reported as failed take effect later.
func (h *host) landLate(s *store, o *operation, f fate) {
	h.w.note(h.name, "%s on %s will land late", o.what, s.name())
	h.w.lateUntil = max(h.w.lateUntil, h.w.now+f.lands)
	h.w.after(f.lands, func() {
		if (o.stale == nil || !o.stale()) && (o.refuse == nil || o.refuse() == "") {
			o.take(f)
			h.w.landed = h.w.now
			if o.won() {
				h.w.met(lateWon)
			}
		}
	})
}

// won reports whether the operation is a claim that was won.
func (o *operation) won() bool { return o.outcome != nil && *o.outcome == datastorehb.ClaimWon }

// take makes the operation take effect.
func (o *operation) take(f fate) {
	o.effect()
	if f.landed != nil {
		f.landed()
	}
}

// returned brings a reply back to the host.
func (h *host) returned(s *store, longer time.Duration, deliver func(), alive func() bool) {
	p := h.paths[s.index]
	h.w.after(h.w.latency()+p.slow/2+longer, func() {
		if p.hung || s.hung {
			p.parked = append(p.parked, func() { h.returned(s, 0, deliver, alive) })
		} else if alive() {
			deliver()
		}
	})
}

// release lets what is parked go on.
func (h *host) release(s *store) {
	p := h.paths[s.index]
	parked := p.parked
	p.parked = nil
	for _, go_ := range parked {
		h.w.after(h.w.latency(), go_)
	}
}
