package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/core"
	clusterrecord "storebeat/agent/core/cluster"
	"storebeat/datastorehb"
	"storebeat/poweron"
)

// observer sees what hypervisors execute and what datastores hold, and nothing else.
type observer struct {
	bars       []func(h *host, vm uuid.UUID) (why string) // what forbids machines on hosts, beside their datastores (I3)
	violations []string
	starts     map[uuid.UUID]int  // processes that were let go for the first time
	log        []start            // the same, one by one
	counts     map[string]int     // events of the journals
	recorded   map[repeated]burst // the same, of late
	covered    map[string]int     // meetings, see Coverage
	startedAt  map[uuid.UUID]time.Duration
	counted    map[uint64]*clusterrecord.Record // revisions of the cluster record that came to count
	countedAt  map[uint64]time.Duration         // when they did, for the first time
	forced     bool                             // a user gave a datastore up for a change of the record
}

func (o *observer) init() {
	o.counted, o.countedAt = map[uint64]*clusterrecord.Record{}, map[uint64]time.Duration{}
	o.recorded = map[repeated]burst{}
	o.starts, o.counts, o.covered, o.startedAt = map[uuid.UUID]int{}, map[string]int{}, map[string]int{}, map[uuid.UUID]time.Duration{}
}

// repeated is what events that follow each other too fast have in common.
type repeated struct {
	by        int
	kind      core.Kind
	host      datastorehb.HostID
	datastore uuid.UUID
	vm        uuid.UUID
}

// burst is how often something came within the second that began at since.
type burst struct {
	since time.Duration
	times int
}

// storm is how often a host may record the same within a second.
const storm = 40

// seeStorm fails when a host does the same over and over.
func (w *World) seeStorm(h *host, e *core.Event) {
	k := repeated{h.index, e.Kind, e.Host, e.Datastore, e.VM}
	b := w.recorded[k]
	if w.now-b.since > time.Second {
		b = burst{since: w.now}
	}
	b.times++
	w.recorded[k] = b
	if b.times == storm {
		w.fail("storm", "%s recorded %s %d times within a second: %s", h.name, e.Kind, storm, e.Text)
	}
}

func (o *observer) count(what string) { o.counts[what]++ }

// headway counts how often somebody asks for a turn at one instant.
type headway struct {
	at    time.Duration
	turns int
}

// none reports whether somebody asks for turns without end at one instant, and
// then brings the world to a halt: that is a verdict too.
func (y *headway) none(w *World, who func() string) bool {
	if y.at != w.now {
		y.at, y.turns = w.now, 0
	}
	if y.turns++; y.turns <= 10_000 {
		return false
	}
	if !w.halted {
		w.halted = true
		w.fail("headway", "%s asks for turns without end", who())
	}
	return true
}

// Violations returns what went against the invariants.
func (w *World) Violations() []string { return w.violations }

func (w *World) fail(invariant, format string, args ...any) {
	text := fmt.Sprintf("%s %s: %s", w.stamp(w.now), invariant, fmt.Sprintf(format, args...))
	w.note("OBSERVER", "%s: %s", invariant, fmt.Sprintf(format, args...))
	w.violations = append(w.violations, text)
}

// start says that a machine's process was let go for the first time.
type start struct {
	vm uuid.UUID
	h  *host
	at time.Duration
}

// seeExecution checks I1: no machine executes twice.
func (w *World) seeExecution() {
	w.changes++
	for _, vm := range w.vms {
		var first *process
		for _, h := range w.hosts {
			for _, p := range h.processes {
				if p.vm != vm || !p.executes() {
					continue
				}
				if first != nil {
					w.fail("I1", "%s executes on %s (generation %d) and on %s (generation %d)", w.nameOf(vm), first.h.name, first.generation, h.name, p.generation)
				}
				first = p
			}
		}
	}
}

// startGrace is how long before a start the user's last word may have come and not
// be heeded: the last look at the entry, the creation of the process and the
// guard lie between them.
const startGrace = 5 * time.Second

// seeStart checks I5 and I3 when a process executes for the first time.
func (w *World) seeStart(p *process) {
	w.seeSuccession(p)
	w.seePlace(p)
	w.starts[p.vm]++
	w.log = append(w.log, start{p.vm, p.h, w.now})
	w.startedAt[p.vm] = w.now
	es := p.home.entries[p.vm]
	since := time.Duration(-1)
	for i := len(es) - 1; i >= 0 && (!es[i].entry.Protected || es[i].entry.Desired != poweron.Running); i-- {
		since = es[i].at
	}
	// What the next agent finds frozen can't be told from what ran before: if it was there before the user's
	// word, it goes on, and is stopped in good order if that is what the user wants.
	inherited := p.found != 0 && p.born < since
	if since >= 0 && w.now-since > startGrace && !inherited {
		w.fail("I5", "%s starts on %s though its user wants it stopped since %s", w.nameOf(p.vm), p.h.name, w.stamp(since))
	}
	w.seeRules(p)
	w.seeMaintenance(p)
	w.seeOutcast(p)
}

// seeRight checks, whenever a machine is let go, that what the datastore says allows
// it (R3): the newest generation is held by the host, in this boot, and its chain
// is unbroken. What an incarnation found frozen needs a generation of its own (R8).
func (w *World) seeRight(p *process) {
	gs := p.home.gens[p.vm]
	if p.home.tampered {
		return
	}
	if len(gs) == 0 {
		w.fail("I8", "%s is let go on %s without a generation", w.nameOf(p.vm), p.h.name)
		return
	}
	g, by := gs[len(gs)-1].gen, gs[len(gs)-1].by
	if !g.Names(p.h.id) || p.home.partEnded(int(p.h.id), g.TermOf(p.h.id)) {
		w.fail("R3", "%s is let go on %s, but generation %d (%s, host %d, term %d, shared with host %d, term %d) is the newest",
			w.nameOf(p.vm), p.h.name, g.Number, g.Kind, g.Owner, g.Term, g.Receiver.Writer.Host, g.Receiver.Term)
	}
	if by = g.PartyOf(p.h.id, by); by.Boot != p.h.boot {
		w.fail("R3", "%s is let go on %s, but generation %d was won in another boot", w.nameOf(p.vm), p.h.name, g.Number)
	}
	if p.found != 0 && !slices.ContainsFunc(gs, func(r genRecord) bool { return r.by.Incarnation == p.found }) {
		w.fail("R8", "%s was found frozen on %s and is let go without a claim of its own, under generation %d", w.nameOf(p.vm), p.h.name, g.Number)
	}
}

// seeLateWrite checks I9: after a takeover no write of the former instance reaches the
// disk. Where there is no barrier, nobody promises that. Nor does anybody where
// a machine has ended by itself with a write under way: R12 is about ends by force.
func (w *World) seeLateWrite(p *process) {
	switch {
	case p.state == gone:
		w.met(writeCrashed)
	case p.home.spec.Barrier == datastorehb.BarrierNone:
		w.met(writeLate)
	default:
		w.fail("I9", "a write of the former instance of %s on %s, generation %d, reaches the disk", w.nameOf(p.vm), p.h.name, p.generation)
	}
}

// seeKill checks R12: a machine is ended by force only once its writes have returned.
func (w *World) seeKill(p *process) {
	if p.writing > 0 || p.executes() {
		w.fail("R12", "%s is killed on %s while it executes (%t) or has writes under way (%d)", w.nameOf(p.vm), p.h.name, p.executes(), p.writing)
	}
}

// seeNamed checks R10 when a process comes into being: its host's power-on list
// names the machine, with the generation that it is started under.
func (w *World) seeNamed(p *process) {
	named := func(l poweron.Listed) bool { return l.VM == p.vm && l.Generation == p.generation }
	if !p.home.tampered && !slices.ContainsFunc(p.home.lists[p.h.id].Machines, named) {
		w.fail("R10", "%s is started on %s before the power-on list names generation %d", w.nameOf(p.vm), p.h.name, p.generation)
	}
}

// ended judges, by the observer's own reading of R8 and with every record that
// ever was, whether a generation is over.
func (s *store) ended(g poweron.Generation) (ended bool, why string) {
	if g.Kind != poweron.Run {
		return true, "it was released"
	}
	terms := s.terms[g.Owner]
	if g.Term == 0 || g.Term > uint64(len(terms)) {
		return false, fmt.Sprintf("term %d of its owner does not exist", g.Term)
	}
	if r := g.Receiver; r.Writer.Host != 0 && !s.partEnded(int(r.Writer.Host), r.Term) {
		return false, fmt.Sprintf("host %d shares it, whose chain is unbroken", r.Writer.Host)
	}
	for _, r := range terms[g.Term:] {
		if r.term.Closed || r.term.First > g.Term {
			return true, fmt.Sprintf("term %d broke its chain", r.term.Number)
		}
	}
	if terms[g.Term-1].term.Closed {
		return true, "the term that it names is closed"
	}
	return false, "its chain is unbroken"
}

// seeSlot checks R1: no late write puts an older slot back.
func (w *World) seeSlot(s *store, slot *datastorehb.Slot) {
	if old := s.slots[slot.Host]; old.State == datastorehb.Valid && slot.Sequence <= old.Slot.Sequence && !s.tampered && !w.twins[slot.Host] {
		w.fail("R1", "the slot of host %d on %s goes back from sequence %d to %d", slot.Host, s.name(), old.Slot.Sequence, slot.Sequence)
	}
}

// seeTerm checks I8 when a term comes into being.
func (w *World) seeTerm(s *store, t datastorehb.Term, by datastorehb.Writer, newest uint64) {
	verb := "opens"
	if t.Closed {
		verb = "closes"
	}
	w.note(s.name(), "host %d %s term %d of host %d (chain from %d): %s", by.Host, verb, t.Number, t.Host, t.First, t.Reason)
	if t.Number != newest+1 {
		w.fail("I8", "term of host %d on %s jumps from %d to %d", t.Host, s.name(), newest, t.Number)
	}
	if t.Closed == (by.Host == t.Host) {
		w.fail("I8", "host %d %s term %d of host %d", by.Host, verb, t.Number, t.Host)
	}
	w.seeFrozen(s, t, by)
	for _, h := range w.hosts {
		if t.Closed && h.id == t.Host && h.powered {
			w.met(aliveClosed)
		}
	}
	if old, ok := s.newestTerm(t.Host); ok && !t.Closed && t.First != t.Number && (old.term.Closed || old.term.First != t.First) {
		w.fail("I8", "term %d of host %d on %s claims a chain from %d that is broken", t.Number, t.Host, s.name(), t.First)
	}
}

// seeFrozen checks R5 and R7: a host's next term begins, by its own claim or by
// another's, only while nothing of it executes.
func (w *World) seeFrozen(s *store, t datastorehb.Term, by datastorehb.Writer) {
	for _, h := range w.hosts {
		for _, p := range h.processes {
			if h.id != t.Host || p.home != s || !p.executes() {
				continue
			}
			if h.machine == by.Machine {
				w.fail("R5", "%s claims term %d on %s while %s executes", h.name, t.Number, s.name(), w.nameOf(p.vm))
			} else if by.Host == t.Host {
				w.fail("R1", "another computer with the id of %s claims term %d on %s while %s executes", h.name, t.Number, s.name(), w.nameOf(p.vm))
			} else if t.Closed && !s.tampered {
				w.fail("R7", "host %d closes term %d of %s on %s while %s executes", by.Host, t.Number, h.name, s.name(), w.nameOf(p.vm))
			}
		}
	}
}

// seeGeneration checks I8 when a generation comes into being.
func (w *World) seeGeneration(s *store, g poweron.Generation, by datastorehb.Writer, newest uint64) {
	w.note(s.name(), "host %d claims generation %d of %s: %s %s, term %d %s", by.Host, g.Number, w.nameOf(g.VM), g.Kind, g.Reason, g.Term, g.Detail)
	if g.Number != newest+1 {
		w.fail("I8", "generation of %s on %s jumps from %d to %d", w.nameOf(g.VM), s.name(), newest, g.Number)
		return
	}
	if newest > 0 && w.seeSharing(s, genRecord{gen: g, by: by}, s.gens[g.VM][newest-1]) {
		return
	}
	if g.Owner != by.Host {
		w.fail("I8", "host %d claims generation %d of %s for host %d", by.Host, g.Number, w.nameOf(g.VM), g.Owner)
	}
	if newest == 0 {
		return
	}
	for _, h := range w.hosts {
		if p := h.process(g.VM); p != nil && h.id != g.Owner && p.state == frozen && p.ran && h.powered {
			w.met(frozenTaken)
		}
	}
	old := s.gens[g.VM][newest-1].gen
	w.seeWill(s, g, old)
	w.seeKept(s, g, newest)
	if ended, why := s.ended(old); !ended && old.Owner != g.Owner {
		w.fail("I8", "host %d claims generation %d of %s, but of the one before, %s", by.Host, g.Number, w.nameOf(g.VM), why)
	}
}

// executing returns the hosts on which a machine executes.
func (w *World) executing(vm uuid.UUID) (on []*host) {
	for _, h := range w.hosts {
		if p := h.process(vm); p != nil && p.executes() {
			on = append(on, h)
		}
	}
	return on
}

// wanted reports whether a machine shall run, by what its datastore says.
func (w *World) wanted(vm uuid.UUID) bool {
	for _, s := range w.stores {
		es := s.entries[vm]
		if len(es) == 0 {
			continue
		}
		e := es[len(es)-1].entry
		gs := s.gens[vm]
		var g *poweron.Generation
		if len(gs) > 0 {
			g = &gs[len(gs)-1].gen
		}
		over := true
		if g != nil {
			over, _ = s.ended(*g) // else its holder runs it, whatever its policy says of restarts
		}
		wants, _ := poweron.Wants(e, uint64(len(es)), g, over)
		if host, long := poweron.Kept(e, g); host != 0 && long == poweron.ForGood && !w.hosts[host-1].powered {
			return false
		}
		return wants
	}
	return false
}

// Unsettled says what keeps the cluster from being at rest, or nothing.
func (w *World) Unsettled() (why []string) {
	master := datastorehb.HostID(0)
	for _, h := range w.hosts {
		if h.powered && h.stopping {
			why = append(why, h.name+" has no agent for a while")
		}
		if !h.powered || h.agent == nil || h.agent.core == nil {
			continue
		}
		if out := h.agent.core.Outcast(); out != "" || !w.member(h) {
			if (out != "") == w.member(h) {
				why = append(why, fmt.Sprintf("%s says of its membership %q, and is one: %v", h.name, out, w.member(h)))
			}
			continue
		}
		follows := h.agent.core.Master()
		if follows == 0 || master != 0 && follows != master {
			why = append(why, fmt.Sprintf("%s follows host %d, another follows %d", h.name, follows, master))
		}
		master = follows
	}
	for _, vm := range w.vms {
		why = append(why, w.unsettled(vm)...)
	}
	if len(why) > 0 {
		return why
	}
	for _, h := range w.hosts {
		if !w.member(h) {
			continue
		}
		why = append(why, h.stuck()...)
	}
	return why
}

// stuck says on which datastores that work a host can't do what it should, by its own word.
func (h *host) stuck() (why []string) {
	if !h.powered || h.agent == nil || h.agent.core == nil {
		return nil
	}
	for _, d := range h.agent.core.View(h.now()).Datastores {
		s := h.w.storeOf(d.ID)
		if way := h.paths[s.index]; way.absent || way.ill() || s.hung || s.tampered {
			continue
		}
		if d.State != "available" || d.Heartbeat && d.Phase != "held" {
			why = append(why, fmt.Sprintf("on %s, %s is %s, its own term %d there %s", h.name, s.name(), d.State, d.Term, d.Phase))
		}
	}
	return why
}

func (w *World) unsettled(vm uuid.UUID) (why []string) {
	on := w.executing(vm)
	wanted := w.wanted(vm)
	switch {
	case wanted && len(on) != 1:
		why = append(why, fmt.Sprintf("%s is wanted and runs on %d hosts", w.nameOf(vm), len(on)))
	case !wanted && len(on) > 0 && w.protected(vm):
		why = append(why, fmt.Sprintf("%s is not wanted and runs on %s", w.nameOf(vm), on[0].name))
	}
	for _, h := range w.hosts {
		if p := h.process(vm); p != nil && !p.executes() {
			why = append(why, fmt.Sprintf("%s has a process on %s that does not execute", w.nameOf(vm), h.name))
		}
	}
	return why
}

// protected reports whether a machine's newest entry protects it.
func (w *World) protected(vm uuid.UUID) bool {
	for _, s := range w.stores {
		if es := s.entries[vm]; len(es) > 0 {
			return es[len(es)-1].entry.Protected
		}
	}
	return false
}
