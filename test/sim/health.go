package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/core"
	"storebeat/datastorehb"
	"storebeat/poweron"
)

// What has been well for a while, and what a machine may be disturbed for (I6).

// aftermath is for how long a fault excuses what happens to machines after its end: a
// host has to find its lease lost, freeze, win its next term, look at what it
// runs, and wait for others who do the same.
func (w *World) aftermath() time.Duration { return 3*w.setup.Timing.Takeover + 2*time.Second }

// trouble is when something was last found not to be well, for what comes and goes.
type trouble struct {
	ever bool
	at   time.Duration
}

func (t *trouble) note(now time.Duration) { t.ever, t.at = true, now }

// since reports whether there was any trouble for a while.
func (t *trouble) since(from time.Duration) bool { return t.ever && t.at >= from }

// ails says what is, or was until lately, wrong with a host itself.
func (h *host) ails(from time.Duration) string {
	switch a := h.agent; {
	case !h.powered || h.still:
		return "the host does not run"
	case h.shutting:
		return "the host shuts down"
	case a == nil || a.core == nil || a.paused || h.hesitant > 0:
		return "its agent does not run"
	case h.guard == nil:
		return "its guard does not run"
	case h.trouble.since(from):
		return "the host was not well lately"
	}
	return ""
}

// ails says what is, or was until lately, wrong with a host's way to a datastore.
func (p *path) ails(s *store, from time.Duration) string {
	switch {
	case p.absent || p.ill() || p.trouble.since(from):
		return "its path is not well, or was not lately"
	case s.hung || s.trouble.since(from) || s.tampered:
		return "the datastore is not well, or was not lately"
	}
	return ""
}

// lonely reports whether a host has trouble with its network, or had lately, or
// nobody else was well enough to be heard by it.
func (h *host) lonely(from time.Duration) bool {
	if !h.reachable || len(h.deaf) > 0 || h.alone.since(from) {
		return true
	}
	company := false
	for _, o := range h.w.hosts {
		links := h.w.network.links
		if o != h && (links[o.index][h.index] != link{} || links[h.index][o.index] != link{}) {
			return true
		}
		company = company || o != h && o.ails(from) == ""
	}
	return !company
}

// excuse says why a machine that executes may be frozen or ended, "" if nothing is
// the matter. A network that fails is none, unless the machine is to be given
// up by its isolation response.
func (w *World) excuse(p *process) string {
	from := w.now - w.aftermath()
	if why := p.h.ails(from); why != "" {
		return why
	}
	if why := p.h.paths[p.home.index].ails(p.home, from); why != "" {
		return why
	}
	es := p.home.entries[p.vm]
	if len(es) == 0 || unwanted(es, from-w.setup.Policy.StopTime) {
		return "its user wants it stopped, or did lately"
	}
	if es[len(es)-1].entry.Policy.Isolation != poweron.Leave && p.h.lonely(w.now-time.Minute) {
		return "its host may be isolated"
	}
	if len(w.twins) > 0 {
		return "two computers have one host id"
	}
	if w.leaves(p) {
		return "the cluster record moves it"
	}
	return ""
}

// unwanted reports whether the user of a machine wants it stopped, or did since an instant.
func unwanted(es []entryRecord, since time.Duration) bool {
	for i := len(es) - 1; i >= 0 && (i == len(es)-1 || es[i+1].at >= since); i-- {
		if es[i].entry.Desired != poweron.Running {
			return true
		}
	}
	return false
}

// seeDisturbed checks I6: what is healthy is left alone.
func (w *World) seeDisturbed(p *process, what string) {
	if !p.executes() {
		return
	}
	if why := w.excuse(p); why == "" {
		w.fail("I6", "%s is %s on %s, where all has been well for %v", w.nameOf(p.vm), what, p.h.name, w.aftermath())
	}
}

// seeOrder checks I3 when a host is ordered to start a machine: it was alive, and
// had the machine's datastore, as far as could be known for a while.
func (w *World) seeOrder(by, to *host, s *store) {
	known := w.now - w.setup.Timing.Takeover - 2*w.setup.Timing.Interval
	way := to.paths[s.index]
	if w.twins[to.id] || by.trouble.since(known) || to.trouble.since(known) {
		return // Who has been asleep can't know, until it has listened, or tried, for a while.
	}
	switch {
	case !to.powered && to.lostAt < known:
		w.fail("I3", "%s orders a start on %s, which lost power %v ago", by.name, to.name, w.now-to.lostAt)
	case (way.hung || way.broken) && way.hungAt < known:
		w.fail("I3", "%s orders a start on %s, whose path to %s has not worked for %v", by.name, to.name, s.name(), w.now-way.hungAt)
	}
	if l := w.network.links[to.index][by.index]; l.cut && l.cutAt < known {
		w.fail("I3", "%s orders a start on %s, which it has not heard for %v", by.name, to.name, w.now-l.cutAt)
	}
}

// seePlace checks I3 when a machine begins to execute: its host has had its
// datastore a lease ago at the latest, and nothing bars it from there.
func (w *World) seePlace(p *process) {
	way := p.h.paths[p.home.index]
	known := w.now - w.setup.Timing.Lease - w.setup.Timing.Freeze
	if (way.hung || way.broken) && way.hungAt < known || way.absent {
		w.fail("I3", "%s starts on %s, whose path to %s has not worked for %v", w.nameOf(p.vm), p.h.name, p.home.name(), w.now-way.hungAt)
	}
	for _, bar := range w.bars {
		if why := bar(p.h, p.vm); why != "" {
			w.fail("I3", "%s starts on %s: %s", w.nameOf(p.vm), p.h.name, why)
		}
	}
}

// seeListed checks I4: the master, at rest, lists every protected machine as running
// where it runs, or says why it does not.
func (w *World) seeListed() {
	for _, h := range w.hosts {
		if h.agent == nil || h.agent.core == nil || !h.agent.core.Leading() {
			continue
		}
		v := h.agent.core.View(h.now())
		for _, vm := range w.vms {
			on := w.executing(vm)
			if !w.protected(vm) || w.changedLately(vm) {
				continue
			}
			at := slices.IndexFunc(v.Machines, func(m core.MachineView) bool { return m.VM == vm })
			switch {
			case at < 0:
				w.fail("I4", "%s is not listed by %s", w.nameOf(vm), h.name)
			case len(on) == 1 && (v.Machines[at].State != "running" || v.Machines[at].Host != on[0].id):
				w.fail("I4", "%s runs on %s, and %s lists it as %s on host %d", w.nameOf(vm), on[0].name, h.name, v.Machines[at].State, v.Machines[at].Host)
			case len(on) == 0 && (v.Machines[at].State == "running" || v.Machines[at].Why == ""):
				w.fail("I4", "%s does not run, and %s lists it as %s, for this reason: %q", w.nameOf(vm), h.name, v.Machines[at].State, v.Machines[at].Why)
			}
		}
	}
}

// changedLately reports whether a machine was claimed so lately that a master need
// not know: it is told by message, and what makes up for a lost one is a look once a minute.
func (w *World) changedLately(vm uuid.UUID) bool {
	for _, s := range w.stores {
		if gs := s.gens[vm]; len(gs) > 0 && gs[len(gs)-1].at > w.now-70*time.Second {
			return true
		}
	}
	return false
}

// seeSuccession checks I2 when a machine begins to execute: the instance before it
// has ended, or its generation is over.
func (w *World) seeSuccession(p *process) {
	q := p.home.disk(p.vm).latest
	if q == nil || q.state == gone || p.home.tampered {
		return
	}
	gs := p.home.gens[p.vm]
	at := min(p.generation-1, uint64(len(gs)))
	for at > 0 && !gs[at-1].gen.Names(q.h.id) {
		at--
	}
	if at == 0 {
		return
	}
	g := gs[at-1].gen
	if q.h == p.h || !p.home.partEnded(int(q.h.id), g.TermOf(q.h.id)) {
		w.fail("I2", "%s starts on %s though its instance on %s has not ended: the chain is unbroken that generation %d names", w.nameOf(p.vm), p.h.name, q.h.name, g.Number)
	}
}

// seeKept checks I7 when a generation is claimed to run a machine that was given up by a
// host which shut down: it is kept for that host as its policy says.
func (w *World) seeKept(s *store, g poweron.Generation, newest uint64) {
	es, old := s.entries[g.VM], s.gens[g.VM][newest-1]
	if g.Kind != poweron.Run || len(es) == 0 || s.tampered || w.everRemoved(old.gen.Owner) {
		return
	}
	host, long := poweron.Kept(es[len(es)-1].entry, &old.gen)
	if host != 0 && w.hosts[host-1].isBack() {
		return // It could not take the machine, for want of room or by a rule.
	}
	if since := w.now - old.at; host != 0 && host != g.Owner && (long == poweron.ForGood || since < long-long*3/100) {
		w.fail("I7", "host %d claims generation %d of %s to run it %v after host %d released it for its shutdown, and its policy says %q",
			g.Owner, g.Number, w.nameOf(g.VM), since, host, es[len(es)-1].entry.Policy.OnHostShutdown)
	}
}

// isBack reports whether a host that was shut down has an agent again.
func (h *host) isBack() bool {
	return h.powered && !h.shutting && h.agent != nil && h.agent.core != nil
}

// everRemoved reports whether some revision of the cluster record has left a host out.
func (w *World) everRemoved(h datastorehb.HostID) bool {
	for _, r := range w.counted {
		if r.Member(h) == nil {
			return true
		}
	}
	return false
}

// seeWill checks I7 when a generation is claimed to run a machine: it was not held, or
// shut down by its guest, without a user who asked for a start since. A late
// former master may still order such starts.
func (w *World) seeWill(s *store, g, old poweron.Generation) {
	es := s.entries[g.VM]
	if g.Kind != poweron.Run || old.Kind != poweron.Released || len(es) == 0 || s.tampered {
		return
	}
	e := es[len(es)-1].entry
	shut := old.Reason == poweron.GuestShutDown && e.Policy.OnGuestShutDown != poweron.StartAgain
	if (shut || old.Reason == poweron.Held) && e.Asked <= old.Entry {
		w.fail("I7", "generation %d of %s is claimed to run it, though the one before was released (%s) and nobody has asked for a start since",
			g.Number, w.nameOf(g.VM), fmt.Sprint(old.Reason))
	}
}
