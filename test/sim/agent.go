package sim

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/core"
	"storebeat/agent/freeze"
	"storebeat/datastorehb"
)

// agent is one run of a host's agent: the core, and a shell that carries its
// effects out.
type agent struct {
	h         *host
	core      *core.Core
	self      datastorehb.Writer
	alive     bool
	level     uint16 // at which it writes
	paused    bool
	overslept bool // a tick has come while it was paused
	later     []func()
	queues    map[queueKey]*queue
	opened    []bool
	wanted    []bool              // datastores that the core wants open
	busy      []int               // operations under way, by datastore
	alarm     datastorehb.Instant // when the next tick is planned, 0 for never
	slots     []slotWriter
	ready     []int // prepared files, by datastore
	headway   headway
}

// queueKey names a queue: a datastore, and a purpose on it.
type queueKey struct {
	store   int
	purpose string
}

// startAgent starts a new incarnation. If there is no guard, it starts one
// first, with every machine frozen.
func (h *host) startAgent() {
	if h.agent != nil {
		return
	}
	if h.refuses() {
		h.w.note(h.name, "the agent refuses to start: the cluster's feature level is newer")
		h.w.count("refused-to-start")
		return
	}
	w := h.w
	a := &agent{h: h, alive: true, queues: map[queueKey]*queue{}, opened: make([]bool, len(w.stores)), wanted: make([]bool, len(w.stores)), busy: make([]int, len(w.stores)),
		slots: make([]slotWriter, len(w.stores)), ready: make([]int, len(w.stores)),
		self: datastorehb.Writer{Host: h.id, Machine: h.machine, Boot: h.boot, Incarnation: w.rng.Uint64() | 1}}
	h.agent, h.stopping, h.shutting = a, false, false
	w.note(h.name, "agent starts, incarnation %x", a.self.Incarnation)
	h.trouble.note(w.now)
	if h.guard != nil {
		a.begin()
		return
	}
	h.guard = h.newGuard()
	h.freezeAll(nil)
	a.whenFrozen(nil, func() {
		if h.guard == nil {
			h.guard = h.newGuard()
		}
		for _, p := range h.processes {
			h.guard.register(p)
		}
		a.begin()
	})
}

// begin makes the core, from what the guard and the hypervisor know.
func (a *agent) begin() {
	h, w := a.h, a.h.w
	cfg := core.Config{Cluster: w.cluster, Self: a.self, Levels: h.levels, Timing: h.timing, Heartbeats: datastorehb.DefaultRankOptions(), Isolation: w.isolation(), Parallel: 4}
	for i := range w.setup.Hosts - h.unaware {
		id := datastorehb.HostID(i + 1)
		cfg.Hosts = append(cfg.Hosts, core.Member{ID: id, Name: w.hosts[i].name, Address: fmt.Sprintf("10.0.0.%d", id)})
	}
	for _, s := range w.stores {
		cfg.Datastores = append(cfg.Datastores, core.Datastore{ID: s.id, Name: s.name(), Preferred: s.spec.Preferred, Excluded: s.spec.Excluded})
	}
	h.recall(&cfg)
	h.guard.keeper.AgentCame()
	cfg.Ended = h.guard.abandoned()
	for _, l := range h.guard.keeper.Inventory(h.now()).Leases {
		if l.Valid {
			cfg.Leases = append(cfg.Leases, core.Inherited{Datastore: l.Datastore, Term: l.Term, Length: l.Length, Deadline: l.Deadline, Custody: l.Custody})
		}
	}
	for _, p := range h.processes {
		h.guard.register(p)
		if p.found = 0; p.state != running {
			p.found = a.self.Incarnation
			w.met(foundFrozen)
		} else {
			w.met(foundRunning)
		}
		cfg.Found = append(cfg.Found, core.FoundMachine{VM: p.vm, Generation: p.generation, Datastore: p.home.id, Frozen: p.state != running, Receiving: p.receiving, Halted: p.halt.noted})
	}
	if !w.member(h) {
		w.met(outcastBegan)
	}
	a.core = core.New(cfg, h.now())
	a.observe(core.MemoryState{Total: h.memory})
	a.sayWhatItHas()
	a.tellTime()
}

// open opens a datastore once its forerunner's operations there have ended (R1).
func (a *agent) open(s *store) {
	if !a.wanted[s.index] {
		return
	}
	p := a.h.paths[s.index]
	if p.busy > 0 {
		p.freed = append(p.freed, a.at(func() { a.open(s) }))
		return
	}
	var replaced bool
	a.call(s, "identity", operation{what: "open", effect: func() { replaced = s.identity != s.id }, reply: func(err string) {
		o := core.DatastoreState{Datastore: s.id, Available: err == "", Why: err}
		if err == "" && replaced {
			o.Available, o.Replaced, o.Why = false, true, "another datastore is mounted there"
		}
		o.Device = s.device()
		if a.opened[s.index] = err == ""; err == "" {
			a.prepare(s)
		}
		a.observe(o)
		if err != "" {
			a.h.w.after(2*time.Second, a.at(func() { a.open(s) }))
		}
	}})
}

// kill ends the agent. Its operations in the kernel go on to their end, and
// keep its successor away from the datastore.
func (h *host) killAgent() {
	a := h.agent
	if a == nil || h.still {
		return
	}
	h.meetLoss()
	h.agentEnded("is killed")
}

// stopAgent asks the agent to stop in good order. It is started again when it has
// been away for so long; 0 leaves it stopped.
func (h *host) stopAgent(away time.Duration) {
	a := h.agent
	if a == nil || a.core == nil {
		return
	}
	h.w.note(h.name, "the agent is asked to stop")
	h.stopping, h.away = away > 0, away
	a.at(func() { a.observe(core.Leave{Why: datastorehb.Leave{By: datastorehb.LeftBySystemd}}) })()
}

// shutDown shuts the host down, as its operator does: it is announced, and goes on once
// the agent lets it, or after the login manager's time. Or nobody announces it. Then the agent
// is asked to stop, and once it has, or after a while all the same, the power goes.
func (h *host) shutDown(atMost time.Duration) {
	a := h.agent
	if a == nil || a.core == nil {
		h.powerOff()
		return
	}
	h.w.note(h.name, "shuts down")
	h.stopping, h.shutting = false, true
	if h.announced = h.w.chance(0.5); h.announced {
		a.at(func() { a.observe(core.HostPrepares{Shutdown: true}) })()
		h.w.after(h.w.between(0, atMost), h.at(h.endShutDown))
	} else {
		a.at(a.stopForShutDown)()
	}
	h.w.after(atMost, h.at(func() {
		if h.shutting {
			h.powerOff()
		}
	}))
}

// endShutDown is when the host waits no longer with a shutdown that was announced.
func (h *host) endShutDown() {
	if a := h.agent; h.shutting && h.announced && a != nil {
		h.announced = false
		a.at(a.stopForShutDown)()
	}
}

func (a *agent) stopForShutDown() {
	a.observe(core.Leave{Why: datastorehb.Leave{By: datastorehb.LeftByShutdown}})
}

// seeAwake checks that a host may be suspended only when none of its agent's machines executes.
func (h *host) seeAwake(on bool) {
	for _, p := range h.processes {
		if !on && p.executes() && p.generation > 0 {
			h.w.fail("awake", "%s may be suspended while %s executes", h.name, h.w.nameOf(p.vm))
		}
	}
}

// agentLeft is the end of an orderly stop.
func (h *host) agentLeft() {
	h.agentEnded("has stopped in good order")
	if h.shutting {
		h.powerOff()
		return
	}
	if h.stopping {
		h.w.after(h.away, h.at(h.startAgent))
	}
}

func (h *host) agentEnded(how string) {
	a := h.agent
	h.w.note(h.name, "the agent %s", how)
	a.alive, h.agent = false, nil
	if h.guard != nil {
		h.guard.keeper.AgentLeft(h.now())
	}
	for i, p := range h.paths {
		if p.busy += a.busy[i]; a.busy[i] > 0 {
			h.w.met(diedWorking)
		}
	}
}

// pause makes the agent, and nothing else, stand still.
func (a *agent) pause() {
	if a != nil && !a.paused {
		a.h.w.note(a.h.name, "the agent is paused")
		a.paused = true
	}
}

func (a *agent) resume() {
	if a == nil || !a.alive || !a.paused {
		return
	}
	a.h.w.note(a.h.name, "the agent goes on")
	a.h.trouble.note(a.h.w.now)
	a.paused = false
	later := a.later
	a.later = nil
	if tick := a.at(func() { a.observe(core.Tick{}) }); a.overslept && a.h.w.chance(0.5) {
		later = append([]func(){tick}, later...) // a timer and a result that wait are seen in any order
	} else if a.overslept {
		later = append(later, tick)
	}
	a.overslept = false
	for _, do := range later {
		a.h.w.after(0, do)
	}
}

// at makes something happen only while the agent is alive and not paused.
func (a *agent) at(do func()) func() {
	var run func()
	run = a.h.at(func() {
		switch {
		case !a.alive:
		case a.paused:
			a.later = append(a.later, run)
		default:
			do()
		}
	})
	return run
}

// soon makes something happen in the agent a moment later, as the answer of
// another process does.
func (a *agent) soon(do func()) { a.h.w.after(100*time.Microsecond, a.at(do)) }

// observe steps the core and carries its effects out.
func (a *agent) observe(o core.Observation) {
	if !a.alive || a.core == nil {
		return
	}
	if a.headway.none(a.h.w, func() string { return fmt.Sprintf("the core of %s, at %T,", a.h.name, o) }) {
		return
	}
	effects := a.core.Step(a.h.now(), o)
	a.planWake()
	a.carryOutAll(effects)
}

// planWake makes sure of a tick when the core wants one. An alarm that is set for an
// earlier instant does: it plans anew when it goes off.
func (a *agent) planWake() {
	wake := a.core.Wake()
	if a.alarm != 0 && a.alarm <= wake {
		return
	}
	a.alarm = wake
	a.h.w.schedule.add(max(a.h.w.now, a.h.clock.when(wake)), a.h.at(func() {
		if a.alarm == wake {
			a.alarm = 0
			a.awake()
		}
	}))
}

// awake is what an alarm does.
func (a *agent) awake() {
	switch {
	case !a.alive:
	case a.core.Wake() > a.h.now():
		a.planWake()
	case a.paused:
		a.overslept = true
	default:
		a.observe(core.Tick{})
	}
}

// carryOutAll carries effects out in their order. The agent may be paused between any two.
func (a *agent) carryOutAll(effects []core.Effect) {
	w := a.h.w
	for i, e := range effects {
		if w.chance(a.h.hesitant) {
			a.pause()
			w.after(w.between(0, 2*w.setup.Timing.Takeover), a.resume)
		}
		if a.paused {
			a.later = append(a.later, a.at(func() { a.carryOutAll(effects[i:]) }))
			return
		}
		a.carryOut(e)
	}
}

// call puts an operation on a datastore into its queue.
func (a *agent) call(s *store, purpose string, o operation) {
	key := queueKey{s.index, purpose}
	q := a.queues[key]
	if q == nil {
		q = &queue{}
		a.queues[key] = q
	}
	q.add(func(done func()) {
		if !a.alive {
			return
		}
		a.busy[s.index]++
		a.h.submit(s, a.finished(s, o, done))
	})
}

// finished counts the end of an operation, for the agent or for its successor,
// and delivers the reply to a living agent alone.
func (a *agent) finished(s *store, o operation, done func()) operation {
	reply := o.reply
	p := a.h.paths[s.index]
	o.reply = func(err string) {
		if !a.alive {
			p.ended()
			return
		}
		a.busy[s.index]--
		a.at(func() { reply(err); done() })()
	}
	return o
}

// ended counts the end of an operation of a dead agent.
func (p *path) ended() {
	p.busy--
	if p.busy > 0 {
		return
	}
	freed := p.freed
	p.freed = nil
	for _, open := range freed {
		open()
	}
}

// letAgentFreeze freezes a datastore's machines from the agent, and tells the
// guard, whose word is asked for before the next term.
func (a *agent) freezeMachines(id uuid.UUID) {
	h, s := a.h, a.h.w.storeOf(id)
	for _, p := range h.processes {
		if p.home == s && h.guard != nil {
			_ = h.guard.keeper.Freeze(h.now(), p.vm)
		}
	}
	h.freezeAll(s)
	if h.guard != nil {
		h.guard.turn()
	}
	a.whenFrozen(s, func() {
		for _, p := range h.processes {
			if p.home == s && h.guard != nil {
				h.guard.keeper.Confirm(h.now(), p.vm, freeze.Frozen)
			}
		}
		a.observe(core.GuardFrozen{Datastore: id})
	})
}
