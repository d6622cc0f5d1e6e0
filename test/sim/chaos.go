package sim

import (
	"fmt"
	"slices"
	"time"

	"storebeat/agent/core"
	clusterrecord "storebeat/agent/core/cluster"
	"storebeat/datastorehb"
	"storebeat/poweron"
)

// mischief is one kind of fault, and how it is done to the world. It returns
// what ends it, or nil if it ends by itself.
type mischief struct {
	name string
	do   func(x *Chaos, h *host, s *store) (end func())
}

// mischiefs are all kinds of faults that random schedules mix.
var mischiefs = []mischief{
	{"power", func(x *Chaos, h *host, _ *store) func() { h.powerOff(); return h.powerOn }},
	{"blink", func(x *Chaos, h *host, _ *store) func() { h.powerOff(); h.powerOn(); return nil }},
	{"standstill", func(x *Chaos, h *host, _ *store) func() { h.stop(); return h.goOn }},
	{"agent killed", func(x *Chaos, h *host, _ *store) func() { h.killAgent(); return func() { h.at(h.startAgent)() } }},
	{"agent restarted", func(x *Chaos, h *host, _ *store) func() { x.w.restartAgent(h, x.w.between(0, time.Second)); return nil }},
	{"agent stopped", func(x *Chaos, h *host, _ *store) func() {
		h.stopAgent(x.w.between(time.Millisecond, 30*time.Second))
		return nil
	}},
	{"agent paused", func(x *Chaos, h *host, _ *store) func() { a := h.agent; a.pause(); return a.resume }},
	{"guard killed", func(x *Chaos, h *host, _ *store) func() { h.killGuard(); return nil }},
	{"cut off", func(x *Chaos, h *host, _ *store) func() {
		x.w.part([]*host{h}, x.but(h))
		h.reachable = x.w.chance(0.5)
		return x.w.join
	}},
	{"one way", func(x *Chaos, h *host, _ *store) func() {
		if x.w.chance(0.5) {
			x.w.cut([]*host{h}, x.but(h))
		} else {
			x.w.cut(x.but(h), []*host{h})
		}
		return x.w.join
	}},
	{"one link", func(x *Chaos, h *host, _ *store) func() {
		x.w.part([]*host{h}, x.but(h)[:1])
		return x.w.join
	}},
	{"no network", func(x *Chaos, h *host, _ *store) func() {
		for _, o := range x.w.hosts {
			x.w.cut([]*host{o}, x.but(o))
			o.reachable = x.w.chance(0.3)
		}
		return x.w.join
	}},
	{"bad network", func(x *Chaos, h *host, _ *store) func() {
		for i := range x.w.network.links {
			for j := range x.w.network.links[i] {
				x.w.network.links[i][j] = link{loss: 0.4 * x.w.rng.Float64(), double: 0.3 * x.w.rng.Float64(), delay: x.w.between(0, 300*time.Millisecond), jitter: x.w.between(0, time.Second)}
			}
		}
		return x.w.join
	}},
	{"path hangs", func(x *Chaos, h *host, s *store) func() { x.w.hang(s, h); return func() { x.w.mend(s, h) } }},
	{"path broken", func(x *Chaos, h *host, s *store) func() { x.w.sever(s, h); return func() { x.w.mend(s, h) } }},
	{"all paths hang", func(x *Chaos, h *host, _ *store) func() {
		for _, s := range x.w.stores {
			x.w.hang(s, h)
		}
		return func() {
			for _, s := range x.w.stores {
				x.w.mend(s, h)
			}
		}
	}},
	{"lost at once", func(x *Chaos, h *host, _ *store) func() { return x.lose(h, 0) }},
	{"lost one by one", func(x *Chaos, h *host, _ *store) func() { return x.lose(h, x.w.between(0, 12*time.Second)) }},
	{"datastore hangs", func(x *Chaos, _ *host, s *store) func() { x.w.hang(s); return func() { x.w.mend(s) } }},
	{"datastore broken", func(x *Chaos, _ *host, s *store) func() {
		x.w.sever(s, x.w.hosts...)
		return func() { x.w.mend(s, x.w.hosts...) }
	}},
	{"slow", func(x *Chaos, h *host, s *store) func() {
		h.paths[s.index].slow = x.w.between(0, 3*time.Second)
		return func() { x.w.mend(s, h) }
	}},
	{"errors", func(x *Chaos, h *host, s *store) func() {
		h.paths[s.index].errors = x.w.rng.Float64() / 2
		return func() { x.w.mend(s, h) }
	}},
	{"lost replies", func(x *Chaos, h *host, s *store) func() {
		h.paths[s.index].lost = x.w.rng.Float64()
		return func() { x.w.mend(s, h) }
	}},
	{"late claims", func(x *Chaos, h *host, s *store) func() {
		p := h.paths[s.index]
		p.late, p.lateness = x.w.rng.Float64(), x.w.between(0, time.Minute)
		if x.w.chance(0.02) { // seldom: such an hour takes as long to simulate as thirty schedules
			p.lateness = time.Hour
		}
		return func() { x.w.mend(s, h) }
	}},
	{"missed names", func(x *Chaos, h *host, s *store) func() {
		h.paths[s.index].stale = x.w.between(0, time.Minute)
		return func() { x.w.mend(s, h) }
	}},
	{"one kind", func(x *Chaos, h *host, s *store) func() { return x.fated(h, s) }},
	{"hesitant", func(x *Chaos, h *host, _ *store) func() {
		h.hesitant = 0.05 * x.w.rng.Float64()
		return func() { h.hesitant = 0 }
	}},
	{"torn heartbeats", func(x *Chaos, h *host, s *store) func() {
		h.paths[s.index].torn = x.w.rng.Float64()
		return func() { x.w.mend(s, h) }
	}},
	{"half a slot", func(x *Chaos, h *host, s *store) func() { s.scratch(h.id, false); return nil }},
	{"full", func(x *Chaos, _ *host, s *store) func() { s.fill(true); return func() { s.fill(false) } }},
	{"echo", func(x *Chaos, h *host, _ *store) func() {
		h.echo(true)
		h.powerOff()
		return func() { h.echo(false); h.powerOn() }
	}},
	{"exchanged", func(x *Chaos, h *host, _ *store) func() {
		if h.inCustody() {
			return nil // Whoever exchanges a host first confirms that the old one is off, or nothing comes to rest.
		}
		if slices.ContainsFunc(x.w.hosts, func(o *host) bool { return o != h && !x.w.member(o) }) {
			return nil // Somebody who is a member must be there to admit the new one.
		}
		h.exchange()
		return h.powerOn
	}},
	{"wall clock", func(x *Chaos, h *host, _ *store) func() {
		h.jump(x.w.between(-1000*time.Hour, 1000*time.Hour))
		return nil
	}},
	{"start hangs", func(x *Chaos, h *host, _ *store) func() { h.startHangs = true; return func() { h.startHangs = false } }},
	{"stop hangs", func(x *Chaos, h *host, _ *store) func() { h.stopHangs = true; return func() { h.stopHangs = false } }},
	{"torn slot", func(x *Chaos, h *host, s *store) func() { s.tear(h.id); return nil }},
	{"moved behind", func(x *Chaos, h *host, _ *store) func() {
		to := x.w.hosts[x.w.rng.IntN(len(x.w.hosts))]
		if len(h.processes) == 0 || to == h {
			return nil
		}
		h.moveBehind(h.processes[x.w.rng.IntN(len(h.processes))].vm, to)
		return to.endBehind
	}},
	{"migrated", func(x *Chaos, h *host, _ *store) func() { return x.migrated(h) }},
	{"started behind", func(x *Chaos, h *host, s *store) func() {
		if vms := s.machinesOn(); len(vms) > 0 {
			h.startBehind(vms[x.w.rng.IntN(len(vms))], s)
		}
		return h.endBehind
	}},
	{"crash", func(x *Chaos, h *host, _ *store) func() {
		if len(h.processes) > 0 && !h.still {
			h.processes[x.w.rng.IntN(len(h.processes))].end(core.EndedByCrash, "crashed")
		}
		return nil
	}},
	{"crashes in a hang", func(x *Chaos, h *host, s *store) func() {
		x.w.part([]*host{h}, x.but(h))
		x.w.hang(s, h)
		x.later(x.w.between(0, x.w.setup.Timing.Lease), h.at(func() {
			for _, p := range slices.Clone(h.processes) {
				p.end(core.EndedByCrash, "crashed")
			}
		}))
		return x.cure(s)
	}},
	{"bad start", func(x *Chaos, h *host, _ *store) func() {
		h.badStart = x.w.chance(0.5)
		h.slowStart = x.w.between(0, 8*time.Second)
		return func() { h.badStart, h.slowStart = false, 0 }
	}},
	{"power lost in custody", func(x *Chaos, h *host, _ *store) func() {
		h.stopAgent(x.w.between(time.Minute, 2*time.Minute))
		x.later(x.w.between(0, 10*time.Second), h.powerOff)
		return h.powerOn
	}},
	{"shutdown", func(x *Chaos, h *host, _ *store) func() {
		h.shutDown(x.w.between(time.Second, 30*time.Second))
		return h.powerOn
	}},
	{"guard upgraded", func(x *Chaos, h *host, _ *store) func() {
		h.upgradeGuard(x.w.between(0, 200*time.Millisecond))
		return nil
	}},
	{"operator", func(x *Chaos, h *host, _ *store) func() {
		if k := x.master(); k != nil && k != h {
			x.w.confirmDead(k, h, x.w.between(0, 2*time.Second), x.w.between(0, 2*time.Second))
		}
		return nil
	}},
	{"host removed", func(x *Chaos, h *host, _ *store) func() { return x.removeHost(h) }},
	{"datastore removed", func(x *Chaos, _ *host, s *store) func() { return x.removeDatastore(s) }},
	{"user", func(x *Chaos, h *host, s *store) func() { x.user(h); return nil }},
	{"operator", func(x *Chaos, h *host, s *store) func() { return x.operator(h) }},
}

// Chaos is a random schedule of faults: each seed picks its own kinds, how often
// they come and how long they last.
type Chaos struct {
	w     *World
	kinds []mischief
	gap   time.Duration
	least time.Duration
	most  time.Duration
	Done  map[string]int
	ends  []*end
}

// end ends a fault that is under way.
type end struct {
	do   func()
	done bool
}

func (e *end) now() {
	if !e.done {
		e.done = true
		e.do()
	}
}

// allMischief returns every kind of fault there is.
func allMischief() []mischief { return slices.Concat(mischiefs, plots) }

// NewChaos picks faults for a cluster.
func NewChaos(w *World) *Chaos {
	x := &Chaos{w: w, Done: map[string]int{}}
	for len(x.kinds) == 0 {
		p := w.rng.Float64()
		for _, m := range mischiefs {
			if w.chance(p * p) {
				x.kinds = append(x.kinds, m)
			}
		}
		for _, m := range plots {
			if w.chance(p) {
				x.kinds = append(x.kinds, m)
			}
		}
	}
	x.gap = w.between(500*time.Millisecond, 15*time.Second)
	x.least = w.between(0, 4*time.Second)
	x.most = x.least + w.between(time.Second, 20*time.Second)
	return x
}

// RandomSetup returns a cluster of random size, profile and policy.
func RandomSetup(seed uint64) Setup {
	s := Default()
	s.Seed = seed
	w := New(s)
	if w.chance(0.3) {
		s = Fast()
		s.Seed = seed
	}
	s.Hosts = 2 + w.rng.IntN(3)
	s.Datastores = 1 + w.rng.IntN(3)
	s.Machines = 1 + w.rng.IntN(6)
	s.Policy.Isolation = []poweron.IsolationResponse{poweron.Leave, poweron.ShutDown, poweron.PowerOff}[w.rng.IntN(3)]
	s.Policy.Limit = 100
	if w.chance(0.5) {
		s.Barrier, s.LockLease = datastorehb.BarrierLock, w.between(0, 10*time.Second)
	}
	if w.chance(0.5) {
		s.Timing.Takeover = s.Timing.LeastTakeover()
	}
	if w.chance(0.5) {
		s.FreezeTime = w.between(0, s.Timing.Freeze*9/10)
	}
	if w.chance(0.5) {
		s.StartTime = w.between(time.Millisecond, 50*time.Millisecond)
	}
	if w.chance(0.3) {
		s.MailTime = w.between(0, 20*time.Millisecond)
	}
	s.Abandon = time.Duration(seed%60) * time.Second
	s.Policy.StopTime = w.between(0, 5*time.Second)
	if w.chance(0.5) {
		s.Isolation = []string{"gateway"}
	}
	if w.chance(0.3) {
		s.Rules = map[string]poweron.Rules{
			"vm1": {Groups: []string{"pair"}, Must: poweron.Affinity{Apart: []string{"pair"}}},
			"vm2": {Groups: []string{"pair"}},
			"vm3": {Must: poweron.Affinity{Hosts: []datastorehb.HostID{1, 2}}},
			"vm4": {Must: poweron.Affinity{Together: []string{"vm5"}}},
		}
	}
	s.Policy.OnHostShutdown = []poweron.HostShutdownResponse{poweron.RestartElsewhere, poweron.WaitForReboot, poweron.LeaveOff}[w.rng.IntN(3)]
	s.Policy.RebootWait = w.between(time.Second, 30*time.Second)
	s.Watchdog = time.Duration(w.rng.IntN(2)) * 8 * time.Second
	return s
}

// later makes something happen, unless everything has healed by then.
func (x *Chaos) later(d time.Duration, do func()) { x.w.after(d, x.unlessHealed(do)) }

// unlessHealed returns do for as long as nothing heals everything.
func (x *Chaos) unlessHealed(do func()) func() {
	heals := x.w.heals
	return func() {
		if x.w.heals == heals {
			do()
		}
	}
}

func (x *Chaos) but(not *host) (others []*host) {
	for _, h := range x.w.hosts {
		if h != not {
			others = append(others, h)
		}
	}
	return others
}

// Rage does mischief for a time.
func (x *Chaos) Rage(d time.Duration) {
	until := x.w.now + d
	for x.w.now < until {
		x.one()
		x.w.Run(x.w.between(0, 2*x.gap))
	}
}

// lose takes every datastore from a host, and later the network: so long it is
// kept in by the vouches of others.
func (x *Chaos) lose(h *host, later time.Duration) (end func()) {
	slowly := x.w.chance(0.3)
	for _, s := range x.w.stores {
		if slowly {
			h.paths[s.index].slow = x.w.between(0, 3*x.w.setup.Timing.Lease)
		} else {
			x.w.hang(s, h)
		}
	}
	ended := false
	x.later(later, func() {
		if !ended {
			others := x.but(h)
			x.w.part([]*host{h}, others[:1+x.w.rng.IntN(len(others))])
		}
	})
	return func() {
		ended = true
		x.w.join()
		for _, s := range x.w.stores {
			x.w.mend(s, h)
		}
	}
}

func (x *Chaos) one() {
	w := x.w
	m := x.kinds[w.rng.IntN(len(x.kinds))]
	h, s := w.hosts[w.rng.IntN(len(w.hosts))], w.stores[w.rng.IntN(len(w.stores))]
	w.note("chaos", "%s, %s, %s", m.name, h.name, s.name())
	x.Done[m.name]++
	w.meetMasters()
	if isPlot(m) && w.chance(0.7) {
		x.stage(m, h, s)
	} else if do := m.do(x, h, s); do != nil {
		e := &end{do: do}
		x.ends = append(x.ends, e)
		w.after(w.between(x.least, x.most), e.now)
	}
}

// askAll has the cluster record changed by way of every host.
func (x *Chaos) askAll(c core.ClusterCommand) {
	for _, by := range x.w.hosts {
		x.w.order(by, c)
	}
}

// operator changes the cluster record: by way of every host, of which the masters do it.
func (x *Chaos) operator(h *host) (end func()) {
	w, ask := x.w, x.askAll
	if w.chance(0.4) {
		ask(core.ClusterCommand{Verb: core.ClusterSet, Set: []clusterrecord.Assignment{{Setting: "machine_defaults.limit", Value: fmt.Sprint(1 + w.rng.IntN(1000))}}})
		return nil
	}
	if w.chance(0.3) {
		ask(core.ClusterCommand{Verb: core.ClusterPause, For: w.between(5*time.Second, time.Minute), Why: "work"})
		return func() { ask(core.ClusterCommand{Verb: core.ClusterResume}) }
	}
	ask(core.ClusterCommand{Verb: core.ClusterMaintenance, Host: h.name, On: true, Move: w.chance(0.7)})
	back := w.chance(0.5)
	return func() { ask(core.ClusterCommand{Verb: core.ClusterMaintenance, Host: h.name, Return: back}) }
}

func (x *Chaos) user(h *host) {
	w := x.w
	verb := []core.Verb{core.Start, core.Stop, core.Start, core.Unprotect, core.Protect}[w.rng.IntN(5)]
	i := w.rng.IntN(len(w.vms))
	c := core.Command{Verb: verb, VM: w.vms[i].String()}
	if verb == core.Protect {
		c.Datastore, c.Entry = w.stores[i%len(w.stores)].id, w.entryOf(w.vms[i])
	}
	w.command(h, c)
	if w.chance(0.3) { // and somebody else says the same, or the opposite, on another host
		c.Verb = []core.Verb{c.Verb, core.Start, core.Stop}[w.rng.IntN(3)]
		w.command(w.hosts[w.rng.IntN(len(w.hosts))], c)
	}
}

// PowerOn gives every host power and puts every machine on the protected list.
func (w *World) PowerOn() {
	for _, h := range w.hosts {
		if h.ppm = int64(w.between(0, 19_900)) - 9_950; w.chance(0.3) {
			h.ppm = 9_950 * int64(1-2*w.rng.IntN(2))
		}
		w.after(w.between(0, 2*time.Second), h.powerOn)
	}
	w.Run(8 * time.Second)
	for i := range w.vms {
		w.protect(w.hosts[i%len(w.hosts)], i+1, w.stores[i%len(w.stores)])
		w.Run(50 * time.Millisecond)
	}
}
