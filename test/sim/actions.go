package sim

import (
	"fmt"
	"slices"
	"time"

	"storebeat/agent/core"
	"storebeat/test/sim/scenario"
)

// action carries out one form of event. It returns what ends it early, nil where
// there is nothing to end.
type action func(p *player, a *scenario.Phrase) (undo func(), err error)

// actions are all that scenarios know.
var actions map[*scenario.Form]action

func init() {
	actions = map[*scenario.Form]action{
		scenario.PowerOff:     eachHost((*host).powerOff, (*host).powerOn),
		scenario.PowerOn:      eachHost((*host).powerOn, nil),
		scenario.ShutDown:     (*player).shutDown,
		scenario.PowerCycle:   eachHost(func(h *host) { h.powerOff(); h.powerOn() }, nil),
		scenario.Suspend:      eachHost((*host).stop, (*host).goOn),
		scenario.Resume:       eachHost((*host).goOn, nil),
		scenario.KillAgent:    eachHost((*host).killAgent, (*host).bringAgent),
		scenario.StopAgent:    (*player).stopAgents,
		scenario.StartAgent:   eachHost((*host).bringAgent, nil),
		scenario.PauseAgent:   eachHost(func(h *host) { h.agent.pause() }, func(h *host) { h.agent.resume() }),
		scenario.ResumeAgent:  eachHost(func(h *host) { h.agent.resume() }, nil),
		scenario.KillGuard:    eachHost((*host).killGuard, nil),
		scenario.KillBoth:     (*player).killBoth,
		scenario.InstallNext:  eachHost(func(h *host) { h.install(h.levels.Highest + 1) }, nil),
		scenario.UpgradeGuard: (*player).upgradeGuards,
		scenario.ReplaceHost:  eachHost(func(h *host) { h.exchange(); h.powerOn() }, nil),
		scenario.TwinHost:     eachHost(func(h *host) { h.w.twin(h).powerOn() }, nil),

		scenario.SetForward: setClock(1),
		scenario.SetBack:    setClock(-1),

		scenario.Cut:          func(p *player, a *scenario.Phrase) (func(), error) { return p.cutApart(a, true) },
		scenario.CutOneWay:    func(p *player, a *scenario.Phrase) (func(), error) { return p.cutApart(a, false) },
		scenario.CutNetwork:   (*player).cutNetwork,
		scenario.Isolate:      (*player).isolateHosts,
		scenario.Reconnect:    (*player).reconnect,
		scenario.ReconnectAll: func(p *player, _ *scenario.Phrase) (func(), error) { p.join(); return nil, nil },
		scenario.Degrade:      (*player).degrade,
		scenario.DegradeLink:  (*player).degrade,
		scenario.FakePings:    eachHost(func(h *host) { h.echo(true) }, func(h *host) { h.echo(false) }),

		scenario.Hang:       eachPath(hangPath, func(_ *host, p *path) { p.hung = false }, func(s *store, on bool) { s.hung = on }),
		scenario.Break:      eachPath(breakPath, func(_ *host, p *path) { p.broken = false }, nil),
		scenario.Slow:       (*player).slow,
		scenario.HangOps:    governed(func(time.Duration) fate { return fate{held: true} }),
		scenario.FailOps:    governed(func(time.Duration) fate { return fate{fails: true} }),
		scenario.DelayOps:   governed(func(d time.Duration) fate { return fate{out: d} }),
		scenario.DelayReply: governed(func(d time.Duration) fate { return fate{back: d} }),
		scenario.LoseReply:  governed(func(time.Duration) fate { return fate{fails: true, lands: 1} }),
		scenario.LandLate:   governed(func(d time.Duration) fate { return fate{fails: true, lands: d} }),
		scenario.Mend:       (*player).mendPaths,
		scenario.Tear:       (*player).tearSlots,
		scenario.FailShare:  (*player).failShare,
		scenario.TearWrites: eachPath(func(_ *host, p *path) { p.torn = 1 }, func(_ *host, p *path) { p.torn = 0 }, nil),
		scenario.Forget:     (*player).forgetHeartbeats,
		scenario.Stale:      (*player).staleReads,
		scenario.Fill:       eachPath(nil, nil, (*store).fill),
		scenario.Replace:    eachStore(func(p *player, s *store) error { s.replace(); return nil }),
		scenario.Snapshot:   eachStore(func(p *player, s *store) error { p.snapshots[s] = s.snapshot(); return nil }),
		scenario.Restore:    eachStore((*player).restore),

		scenario.Crash:       endMachines(core.EndedByCrash, "crashed"),
		scenario.GuestOff:    endMachines(core.EndedByGuest, "shut down"),
		scenario.TakeAway:    eachHostsThings((*host).take, (*host).give),
		scenario.Give:        eachHostsThings((*host).give, nil),
		scenario.FailStarts:  eachHost(func(h *host) { h.badStart = true }, func(h *host) { h.badStart = false }),
		scenario.SlowStarts:  delayed(func(h *host, d time.Duration) { h.slowStart = d }, func(h *host) { h.slowStart = 0 }),
		scenario.HangStarts:  eachHost(func(h *host) { h.startHangs = true }, func(h *host) { h.startHangs = false }),
		scenario.LateStarts:  delayed(func(h *host, d time.Duration) { h.badStart, h.lateStart = true, d }, func(h *host) { h.badStart, h.lateStart = false, 0 }),
		scenario.StartBehind: (*player).startBehind,
		scenario.MoveBehind:  (*player).moveBehind,
		scenario.Migrate:     (*player).migrations,
		scenario.Strand:      eachTransfer(func(t *transfer) { t.stuck, t.lingers = true, true }),
		scenario.GiveUp:      eachTransfer(func(t *transfer) { t.abort("somebody cancels it") }),
		scenario.EndBehind:   eachHost((*host).endBehind, nil),
		scenario.HangStops:   eachHost(func(h *host) { h.stopHangs = true }, func(h *host) { h.stopHangs = false }),
		scenario.Stop:        userAsks(core.Stop),
		scenario.Start:       userAsks(core.Start),
		scenario.Protect:     userAsks(core.Protect),
		scenario.Unprotect:   userAsks(core.Unprotect),
		scenario.Maintain: hostChange(func(h *host) core.ClusterCommand {
			return core.ClusterCommand{Verb: core.ClusterMaintenance, Host: h.name, On: true, Move: true}
		}),
		scenario.Unmaintain: func(p *player, a *scenario.Phrase) (func(), error) {
			return hostChange(func(h *host) core.ClusterCommand {
				return core.ClusterCommand{Verb: core.ClusterMaintenance, Host: h.name, Return: a.Has("returning")}
			})(p, a)
		},
		scenario.PauseAll:   (*player).pauseCluster,
		scenario.EndPause:   clusterChange(core.ClusterCommand{Verb: core.ClusterResume}),
		scenario.RaiseLevel: clusterChange(core.ClusterCommand{Verb: core.ClusterUpgrade}),
		scenario.RemoveHost: hostChange(func(h *host) core.ClusterCommand {
			return core.ClusterCommand{Verb: core.ClusterHostRemove, Host: h.name}
		}),
		scenario.AddHost: hostChange(func(h *host) core.ClusterCommand {
			return core.ClusterCommand{Verb: core.ClusterHostAdd, Member: h.asMember()}
		}),
		scenario.RemoveStore: storeChange(func(s *store) core.ClusterCommand {
			return core.ClusterCommand{Verb: core.ClusterDatastoreRemove, Host: s.name()}
		}),
		scenario.AddStore: storeChange(func(s *store) core.ClusterCommand {
			return core.ClusterCommand{Verb: core.ClusterDatastoreAdd, Datastore: s.asked()}
		}),
		scenario.ConfirmDead: (*player).confirm,
		scenario.Heal:        func(p *player, _ *scenario.Phrase) (func(), error) { p.heal(); return nil, nil },
	}
}

// eachHostsThings does something to each of HOSTS with THINGS.
func eachHostsThings(do, undo func(h *host, names []string)) action {
	return func(p *player, a *scenario.Phrase) (func(), error) {
		hosts, err := p.hostsIn(a, "HOSTS", nil)
		for _, h := range hosts {
			if err == nil && !h.things.declared {
				err = fmt.Errorf("%s has everything: declare it with `has`", h.name)
			}
		}
		if err != nil {
			return nil, err
		}
		with := func(do func(*host, []string)) func(*host) {
			return func(h *host) { do(h, a.Names("THINGS")) }
		}
		if undo == nil {
			return eachHost(with(do), nil)(p, a)
		}
		return eachHost(with(do), with(undo))(p, a)
	}
}

// eachHost does something to each of HOSTS.
func eachHost(do, undo func(h *host)) action {
	return func(p *player, a *scenario.Phrase) (func(), error) {
		hosts, err := p.hostsIn(a, "HOSTS", nil)
		if err != nil {
			return nil, err
		}
		for _, h := range hosts {
			do(h)
		}
		return func() {
			for _, h := range hosts {
				undo(h)
			}
		}, nil
	}
}

// bringAgent starts the agent of a host that has power and none.
func (h *host) bringAgent() { h.at(h.startAgent)() }

// shutDown shuts hosts down in good order.
func (p *player) shutDown(a *scenario.Phrase) (func(), error) {
	l, _ := a.Span("LENGTH")
	within := p.draw(l)
	_, err := eachHost(func(h *host) { h.shutDown(within) }, nil)(p, a)
	return nil, err
}

func (p *player) upgradeGuards(a *scenario.Phrase) (func(), error) {
	l, _ := a.Span("LENGTH")
	pause := p.draw(l)
	_, err := eachHost(func(h *host) { h.upgradeGuard(pause) }, nil)(p, a)
	return nil, err
}

// stopAgents stops agents in good order. They are started again after a while, if one is given.
func (p *player) stopAgents(a *scenario.Phrase) (func(), error) {
	l, _ := a.Span("LENGTH")
	away := p.draw(l)
	_, err := eachHost(func(h *host) { h.stopAgent(away) }, nil)(p, a)
	return nil, err
}

// confirm has an operator look at the status, see that hosts are off, and say so to the master.
func (p *player) confirm(a *scenario.Phrase) (func(), error) {
	m := p.leader()
	if m == nil {
		return nil, fmt.Errorf("no host is master")
	}
	_, err := eachHost(func(h *host) { p.confirmDead(m, h, 0, 0) }, nil)(p, a)
	return nil, err
}

// hostsIn returns the hosts that a slot names at this instant.
func (p *player) hostsIn(a *scenario.Phrase, slot string, besides []*host) (hosts []*host, err error) {
	for _, name := range a.Names(slot) {
		switch name {
		case scenario.Master:
			m := p.leader()
			if m == nil {
				return nil, fmt.Errorf("no host is master")
			}
			hosts = append(hosts, m)
		case scenario.Others:
			for _, h := range p.hosts {
				if !slices.Contains(besides, h) {
					hosts = append(hosts, h)
				}
			}
		default:
			if h := p.hostNamed(name); h != nil {
				hosts = append(hosts, h)
			}
		}
	}
	return hosts, nil
}

func (p *player) hostNamed(name string) *host {
	for _, h := range p.hosts {
		if h.name == name {
			return h
		}
	}
	return nil // an isolation address
}

func (p *player) storeNamed(name string) *store {
	for _, s := range p.stores {
		if s.name() == name {
			return s
		}
	}
	return nil
}

func (p *player) storesIn(a *scenario.Phrase) (stores []*store) {
	for _, name := range a.Names("DATASTORES") {
		stores = append(stores, p.storeNamed(name))
	}
	return stores
}

// eachStore does something to each of DATASTORES.
func eachStore(do func(p *player, s *store) error) action {
	return func(p *player, a *scenario.Phrase) (func(), error) {
		for _, s := range p.storesIn(a) {
			if err := do(p, s); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}
}

func (p *player) restore(s *store) error {
	old, ok := p.snapshots[s]
	if !ok {
		return fmt.Errorf("no snapshot of %s was taken before", s.name())
	}
	s.restore(old)
	return nil
}

// endMachines ends the processes of MACHINES, wherever they are.
func endMachines(ending core.Ending, detail string) action {
	return func(p *player, a *scenario.Phrase) (func(), error) {
		for _, vm := range p.machinesIn(a) {
			for _, h := range p.hosts {
				if m := h.process(vm); m != nil && !h.still {
					m.end(ending, detail)
				}
			}
		}
		return nil, nil
	}
}

func (p *player) startBehind(a *scenario.Phrase) (func(), error) {
	hosts, err := p.hostsIn(a, "HOSTS", nil)
	for _, vm := range p.machinesIn(a) {
		for _, h := range hosts {
			h.startBehind(vm, p.storeNamed(p.specOf(vm).Home))
		}
	}
	return nil, err
}

func (p *player) moveBehind(a *scenario.Phrase) (func(), error) {
	hosts, err := p.hostsIn(a, "HOSTS", nil)
	for _, vm := range p.machinesIn(a) {
		for _, from := range p.executing(vm) {
			for _, to := range hosts {
				from.moveBehind(vm, to)
			}
		}
	}
	return nil, err
}

// migrations has hypervisors move machines from where they execute.
func (p *player) migrations(a *scenario.Phrase) (func(), error) {
	hosts, err := p.hostsIn(a, "HOSTS", nil)
	d, _ := a.Span("DELAY")
	for _, vm := range p.machinesIn(a) {
		for _, from := range p.executing(vm) {
			for _, to := range hosts {
				from.migrate(vm, to, p.draw(d))
			}
		}
	}
	return nil, err
}

// eachTransfer does something to every migration of MACHINES.
func eachTransfer(do func(t *transfer)) action {
	return func(p *player, a *scenario.Phrase) (func(), error) {
		vms := p.machinesIn(a)
		for _, t := range slices.Clone(p.transfers) {
			if slices.Contains(vms, t.from.vm) {
				do(t)
			}
		}
		return nil, nil
	}
}

// delayed is eachHost with a time.
func delayed(do func(h *host, d time.Duration), undo func(h *host)) action {
	return func(p *player, a *scenario.Phrase) (func(), error) {
		d, _ := a.Span("DELAY")
		delay := p.draw(d)
		return eachHost(func(h *host) { do(h, delay) }, undo)(p, a)
	}
}

// setClock makes wall clocks jump, forward or back.
func setClock(sign time.Duration) action {
	return delayed(func(h *host, d time.Duration) { h.jump(sign * d) }, nil)
}

// userAsks gives a command to the agent of a host, or of the master, or of any.
func userAsks(verb core.Verb) action {
	return func(p *player, a *scenario.Phrase) (func(), error) {
		through, err := p.hostsIn(a, "HOSTS", nil)
		if err != nil {
			return nil, err
		}
		if m := p.leader(); m != nil {
			through = append(through, m)
		}
		through = append(through, p.hosts...)
		for _, vm := range p.machinesIn(a) {
			c := core.Command{Verb: verb, VM: p.nameOf(vm)}
			if verb == core.Protect {
				c.Datastore, c.Entry = p.storeNamed(p.specOf(vm).Home).id, p.entryOf(vm)
			}
			p.askFirst(through, a.Has("HOSTS"), c)
		}
		return nil, nil
	}
}

// clusterChange has the cluster record changed.
func clusterChange(wish core.ClusterCommand) action {
	return func(p *player, _ *scenario.Phrase) (func(), error) {
		p.askMaster(wish)
		return nil, nil
	}
}

// pauseCluster begins a pause, which knows by itself when it ends.
func (p *player) pauseCluster(a *scenario.Phrase) (func(), error) {
	l, _ := a.Span("LENGTH")
	p.askMaster(core.ClusterCommand{Verb: core.ClusterPause, For: p.draw(l), Why: "planned work"})
	return nil, nil
}

// hostChange has the cluster record changed about each of HOSTS.
func hostChange(wish func(h *host) core.ClusterCommand) action {
	return func(p *player, a *scenario.Phrase) (func(), error) {
		hosts, err := p.hostsIn(a, "HOSTS", nil)
		for _, h := range hosts {
			p.askMaster(wish(h))
		}
		return nil, err
	}
}

// storeChange has the cluster record changed about each of DATASTORES.
func storeChange(wish func(s *store) core.ClusterCommand) action {
	return eachStore(func(p *player, s *store) error { p.askMaster(wish(s)); return nil })
}

// askMaster asks the master, or else any host, which then refuses.
func (p *player) askMaster(c core.ClusterCommand) {
	h := p.leader()
	for i := 0; h == nil && i < len(p.hosts); i++ {
		if o := p.hosts[i]; o.works() && !o.still {
			h = o
		}
	}
	if h != nil {
		p.asked = p.order(h, c)
	}
}

// askFirst asks the first host that can listen, or only the first when it was named.
func (p *player) askFirst(hosts []*host, named bool, c core.Command) {
	for _, h := range hosts {
		if h.works() && !h.still {
			p.asked = p.command(h, c)
			return
		}
		if named {
			break
		}
	}
	p.commands++
	p.asked = p.commands
	p.replies[p.asked] = "refused: no agent is running"
}
