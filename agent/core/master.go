package core

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"storebeat/datastorehb"
	"storebeat/poweron"
)

// mastery is what a host keeps while it is a master. Nothing in it is a right:
// a master decides what shall be done, and whoever does it finds the right on
// the datastore (R6).
type mastery struct {
	orders    map[uuid.UUID]*order
	histories map[uuid.UUID]*history
	nextOrder uint64
	stale     bool // something changed that a plan depends on
	nextPlan  datastorehb.Instant
	waiting   []poweron.Wait
	placeless map[uuid.UUID]placeless
	moves     moves
}

// order is a start that was ordered and has not been answered.
type order struct {
	number uint64
	home   *footing
	host   datastorehb.HostID
	memory uint64
	ends   datastorehb.Instant
	won    uint64 // the generation under which it runs; the order counts until that is known
}

// history is how the starts of a machine have gone lately.
type history struct {
	failed   []poweron.Failed
	attempts int
	next     datastorehb.Instant // not before
	why      string
}

// orderTime is how long an order may go without an answer before the machine is
// planned anew. A repeated start is harmless: both hosts race for one generation.
func (c *Core) orderTime() time.Duration { return 4 * c.cfg.Timing.Takeover }

// lead does a master's work: it closes the terms of lost hosts and has their
// machines started.
func (c *Core) lead() {
	for _, f := range c.footings {
		c.scan(f)
	}
	if !c.net.leading {
		clear(c.mastery.orders)
		c.mastery.waiting, c.mastery.placeless = nil, nil
		c.answerConfirmations()
		return
	}
	for _, f := range c.footings {
		if !f.usable() || !f.scanned {
			continue
		}
		for _, w := range f.watches {
			c.consider(f, w)
		}
	}
	c.answerConfirmations()
	c.expireOrders()
	if c.mastery.stale || c.due(c.mastery.nextPlan) {
		c.mastery.stale, c.mastery.nextPlan = false, c.now.Add(c.interval()/2)
		c.plan()
		c.notePlaceless()
	}
}

// consider closes the term of a host that has gone silent on a datastore, if
// machines hang on it (R7).
func (c *Core) consider(f *footing, w *watch) {
	if w.host == c.cfg.Self.Host {
		return
	}
	if c.heard(w.host) {
		c.catchUp(f, w)
		return
	}
	w.missed = true
	c.readListOf(f, w)
	if c.keepWord(f, w) || w.Silence() < 2*c.interval() {
		return
	}
	if end, ok := w.Ends(c.cfg.Timing.Takeover); !ok || w.busy || !c.due(end) || !c.holdsMachines(f, w) {
		return
	}
	t, _ := w.Term()
	if ok, _ := w.Closable(c.cfg.Timing.Takeover); !ok {
		return
	}
	c.closeTerm(f, w, t, "R7a", fmt.Sprintf("silent for %v of %v", w.Silence().Round(time.Millisecond), w.Required(c.cfg.Timing.Takeover)))
}

// closeTerm claims exactly the term after t as closed. On a datastore that refuses that
// at once it is tried again a few times a second, not as fast as it refuses.
func (c *Core) closeTerm(f *footing, w *watch, t datastorehb.Term, rule, reason string) {
	if !c.due(w.nextClose) {
		return
	}
	w.busy, w.rule, w.nextClose = true, rule, c.now.Add(c.interval()/2)
	c.do(ClaimTerm{Datastore: f.ID, Term: datastorehb.Term{Host: w.host, Number: t.Number + 1, First: t.Number + 1, Closed: true,
		Timing: datastorehb.Timing{Interval: t.Timing.Interval, Lease: t.Timing.Lease, Freeze: t.Timing.Freeze}, Reason: reason}})
}

// showsFrozen reports whether the host's power-on list, as last read, names a frozen machine.
func (w *watch) showsFrozen() bool {
	return w.listOK && slices.ContainsFunc(w.listed.Machines, func(l poweron.Listed) bool { return l.Frozen })
}

// catchUp reads the list of a host that is heard again, for a while: what it told
// while it was not heard, such as that it gave a machine up, is lost. A list that names
// frozen machines is read until it shows that they go on.
func (c *Core) catchUp(f *footing, w *watch) {
	if w.missed {
		w.missed, w.nextList, w.catchUp = false, c.now.Add(c.interval()), c.now.Add(2*c.cfg.Timing.Takeover)
	}
	if c.now < w.catchUp || w.showsFrozen() {
		c.readListOf(f, w)
	}
}

// readListOf reads the power-on list of a host that is not heard: what it gives
// up, being isolated, it can tell on the datastore alone.
func (c *Core) readListOf(f *footing, w *watch) {
	if w.listBusy || !c.due(w.nextList) {
		return
	}
	w.listBusy, w.nextList = true, c.now.Add(c.cfg.Timing.Takeover)
	if w.slot.Slot.Flags&datastorehb.SlotIsolated != 0 {
		w.nextList = c.now.Add(c.interval())
	}
	c.do(ReadList{Datastore: f.ID, Host: w.host})
}

// holdsMachines reports whether a host's newest term carries machines.
func (c *Core) holdsMachines(f *footing, w *watch) bool {
	t, known := w.Term()
	if !known || t.Closed {
		return false
	}
	listed := func(l poweron.Listed) bool { // and not known to have been given up or taken since
		i := f.info(l.VM)
		return i == nil || i.newest() == nil || i.Generation.Number <= l.Generation && i.Generation.Kind == poweron.Run
	}
	if w.listOK && slices.ContainsFunc(w.listed.Machines, listed) {
		return true
	}
	return slices.ContainsFunc(f.infos, func(i *info) bool {
		g := i.newest()
		return g != nil && g.Names(w.host) && t.Carries(g.TermOf(w.host))
	})
}

func (c *Core) onListRead(o ListRead) {
	f := c.footing(o.Datastore)
	if f == nil {
		return
	}
	w := f.watches.of(o.Host)
	if w == nil {
		return
	}
	w.listBusy = false
	if o.Err != "" || o.State != datastorehb.Valid {
		return
	}
	w.listed, w.listOK, w.listAt = o.List, true, o.Issued
	for _, l := range o.List.Machines {
		if i := f.info(l.VM); i == nil || i.Generation.Number < l.Generation || i.EntryState != datastorehb.Valid {
			c.do(ReadMachine{Datastore: f.ID, VM: l.VM, Purpose: ForCatalogue})
		}
	}
	c.lookUpMissing(f, o.List)
}

// lookUpMissing reads the machines that a host is thought to run and does not
// list. That they are missing is no end of them (R8): their generations tell.
func (c *Core) lookUpMissing(f *footing, list poweron.List) {
	for _, i := range f.infos {
		g := i.newest()
		if g == nil || !g.Names(list.Writer.Host) {
			continue
		}
		if !slices.ContainsFunc(list.Machines, func(l poweron.Listed) bool { return l.VM == i.vm }) {
			c.do(ReadMachine{Datastore: f.ID, VM: i.vm, Purpose: ForCatalogue})
		}
	}
}

// onClosed takes in the result of closing another host's term.
func (c *Core) onClosed(f *footing, o TermClaimed) {
	w := f.watches.of(o.Term.Host)
	if w == nil {
		return
	}
	w.busy = false
	if o.Outcome != datastorehb.ClaimWon {
		w.retry = c.now
		c.readTermsOf(f, w)
		return
	}
	w.LearnTerm(o.Term, o.Returned)
	w.endWord(true, f.Name)
	c.mastery.stale = true
	c.journal(Event{Kind: "term-closed", Host: w.host, Datastore: f.ID, Term: o.Term.Number, Rule: w.rule, LastSign: w.alive,
		Text:     fmt.Sprintf("%s has lost its machines on %s: its term %d was not carried on", c.HostName(w.host), f.Name, o.Term.Number-1),
		Evidence: []string{o.Term.Reason, fmt.Sprintf("no sign of life for %v, not heard on the network for %v", rounded(c.now.Sub(w.alive)), rounded(c.net.peers.Silence(w.host, c.now)))}})
}

// expireOrders gives up orders that were not answered in time, and those of
// hosts that are not live any more.
func (c *Core) expireOrders() {
	if len(c.mastery.orders) == 0 {
		return
	}
	for _, vm := range slices.SortedFunc(maps.Keys(c.mastery.orders), compareUUID) {
		o := c.mastery.orders[vm]
		if i := o.home.info(vm); o.won > 0 && (i != nil && i.Generation.Number >= o.won || c.due(o.ends)) {
			delete(c.mastery.orders, vm)
			continue
		}
		if o.host != c.cfg.Self.Host && !c.heard(o.host) {
			c.failed(vm, o.host, fmt.Sprintf("%s is not heard any more", c.HostName(o.host)))
		} else if c.due(o.ends) {
			c.failed(vm, o.host, fmt.Sprintf("%s did not answer the order within %v", c.HostName(o.host), c.orderTime()))
		}
	}
}

// failed notes that an order came to nothing; the machine is planned again later.
func (c *Core) failed(vm uuid.UUID, h datastorehb.HostID, why string) {
	delete(c.mastery.orders, vm)
	hist := c.history(vm)
	hist.attempts++
	hist.why, hist.next = why, c.now.Add(poweron.Delay(hist.attempts))
	at := slices.IndexFunc(hist.failed, func(f poweron.Failed) bool { return f.Host == h })
	if at < 0 {
		hist.failed = append(hist.failed, poweron.Failed{Host: h})
		at = len(hist.failed) - 1
	}
	hist.failed[at].Times++
}

// failedOn says where a machine failed lately: by the answers to orders, and by
// the word of a holder that gave it up so that it starts elsewhere.
func (c *Core) failedOn(i *info) []poweron.Failed {
	var failed []poweron.Failed
	if h := c.mastery.histories[i.vm]; h != nil {
		failed = h.failed
	}
	g := i.newest()
	if g == nil || g.Kind != poweron.Released || g.Reason != poweron.Crashed && g.Reason != poweron.StartFailed && g.Reason != poweron.Isolation {
		return failed
	}
	if slices.ContainsFunc(failed, func(f poweron.Failed) bool { return f.Host == g.Owner }) {
		return failed
	}
	return append(slices.Clone(failed), poweron.Failed{Host: g.Owner, Times: 1})
}

func (c *Core) history(vm uuid.UUID) *history {
	if c.mastery.histories == nil {
		c.mastery.histories = map[uuid.UUID]*history{}
	}
	if c.mastery.histories[vm] == nil {
		c.mastery.histories[vm] = &history{}
	}
	return c.mastery.histories[vm]
}

func (c *Core) onOrderEnded(from datastorehb.HostID, msg Message) {
	o := c.mastery.orders[msg.VM]
	if o == nil || o.host != from || o.number != msg.Order {
		return
	}
	c.mastery.stale = true
	if msg.OK {
		o.won = msg.Generation
		delete(c.mastery.histories, msg.VM)
	} else {
		c.failed(msg.VM, from, msg.Why)
	}
	f := c.footing(msg.Datastore)
	if f == nil || !f.usable() || from == c.cfg.Self.Host {
		return
	}
	if i := f.info(msg.VM); !msg.OK || i == nil || i.Generation.Number < msg.Generation {
		c.do(ReadMachine{Datastore: f.ID, VM: msg.VM, Purpose: ForCatalogue})
	}
}

// plan finds the machines that should run and do not, and orders their starts.
func (c *Core) plan() {
	in := poweron.Input{Starts: c.cfg.Parallel}
	homes, kept := map[uuid.UUID]*footing{}, map[uuid.UUID]datastorehb.HostID{}
	for _, f := range c.footings {
		if !f.usable() || !f.scanned {
			continue
		}
		for _, i := range f.infos {
			if c.wants(f, i) {
				homes[i.vm] = f
				m := c.candidate(f, i)
				c.mastery.moves.aim(&m)
				if k := c.keeping(f, i); k.host != 0 {
					kept[i.vm] = k.host
				}
				in.Machines = append(in.Machines, m)
			}
		}
	}
	c.mastery.waiting = nil
	if len(in.Machines) == 0 {
		return
	}
	in.Hosts, in.Present = c.planHosts(), residents(c.locate(), in.Machines)
	for i := range in.Machines {
		if h := kept[in.Machines[i].VM]; h != 0 {
			bringBack(&in.Machines[i], h, in.Hosts)
		}
	}
	r := poweron.Plan(in)
	c.mastery.waiting = r.Waiting
	for _, p := range r.Placements {
		c.order(homes[p.VM], p)
	}
}

// bringBack has a machine that was kept for a host started there, now that it is back.
// Once that host could run machines of its datastore, another one will do: there may
// be no room left, or a rule in the way.
func bringBack(m *poweron.Machine, host datastorehb.HostID, hosts []poweron.Host) {
	at := slices.IndexFunc(hosts, func(h poweron.Host) bool { return h.ID == host })
	if at >= 0 && hosts[at].Live && hosts[at].Memory > 0 && slices.Contains(hosts[at].Datastores, m.Home) {
		m.Rules.Prefer.Hosts = []datastorehb.HostID{host}
		return
	}
	m.Rules.Must.Hosts = []datastorehb.HostID{host}
}

// wants reports whether a machine should be started now.
func (c *Core) wants(f *footing, i *info) bool {
	unknown := i.EntryState != datastorehb.Valid || i.GenerationState != datastorehb.Valid && i.GenerationState != datastorehb.Absent
	if unknown || c.mastery.orders[i.vm] != nil || c.machine(i.vm) != nil {
		return false
	}
	over, g := true, i.newest()
	if g != nil {
		over, _ = poweron.Over(*g, c.termsOf(f))
		c.learnHoldersOf(f, g)
	}
	if g != nil && (!over || c.gaveUp(g)) {
		return false
	}
	if wants, _ := poweron.Wants(i.Entry, i.Revision, g, over); !wants {
		return false
	}
	k := c.keeping(f, i)
	return !k.off() && c.due(c.pauseOf(i))
}

// pauseOf returns until when a machine is left alone because it failed.
func (c *Core) pauseOf(i *info) (until datastorehb.Instant) {
	if h := c.mastery.histories[i.vm]; h != nil {
		until = h.next
	}
	if g := i.newest(); g != nil {
		if pause := poweron.Pause(i.Entry, *g); pause > 0 {
			until = max(until, i.since.Add(pause))
		}
	}
	return until
}

// gaveUp reports whether this host gave the machine up because it is isolated,
// for somebody else to start. It may still start what others have lost: it
// could be the last host there is.
func (c *Core) gaveUp(g *poweron.Generation) bool {
	return c.net.isolated && g.Kind == poweron.Released && g.Reason == poweron.Isolation && g.Owner == c.cfg.Self.Host
}

// learnHoldersOf has the terms read of the hosts that may run a machine, where none is known.
func (c *Core) learnHoldersOf(f *footing, g *poweron.Generation) {
	for _, h := range c.holdersOf(g) {
		if _, known := f.newestTerm(h, c.cfg.Self.Host); !known {
			c.learnTermsOf(f, h)
		}
	}
}

// learnTermsOf has the terms read of a host that holds a generation but has no slot in sight.
func (c *Core) learnTermsOf(f *footing, h datastorehb.HostID) {
	w, _ := f.watches.begin(h, c.now)
	c.readTermsOf(f, w)
}

// planHosts describes every member to the planner.
func (c *Core) planHosts() (hosts []poweron.Host) {
	for _, m := range c.cfg.Hosts {
		h := poweron.Host{ID: m.ID, Name: m.Name}
		in := c.recordMember(m.ID)
		if m.ID == c.cfg.Self.Host {
			h.Live, h.Memory, h.Used = true, c.memory, c.memoryUsed()
			for _, f := range c.footings {
				if c.accessible(f) {
					h.Datastores = append(h.Datastores, f.ID)
				}
			}
		} else {
			c.describePeer(m.ID, &h)
			h.Used = max(h.Used, c.memoryHeld(m.ID))
		}
		h.Capabilities = c.capabilitiesOf(m.ID)
		if in != nil { // goes before the host's own word, which is a moment older
			h.Maintenance = in.Maintenance != nil
		}
		for vm, o := range c.mastery.orders {
			if o.host == m.ID {
				h.Starting++
			}
			if o.host == m.ID && c.machine(vm) == nil {
				h.Used += o.memory
			}
		}
		hosts = append(hosts, h)
	}
	return hosts
}

// memoryHeld is how much memory the machines need that a host runs by what the
// datastores say. The host's own word may be half a second old.
func (c *Core) memoryHeld(h datastorehb.HostID) (bytes uint64) {
	for _, f := range c.footings {
		for _, i := range f.infos {
			if g := i.newest(); g != nil && g.Names(h) {
				bytes += i.Entry.Memory
			}
		}
	}
	return bytes
}

// order asks a host to start a machine.
func (c *Core) order(f *footing, p poweron.Placement) {
	i := f.info(p.VM)
	c.mastery.nextOrder++
	o := &order{number: c.mastery.nextOrder, home: f, host: p.Host, memory: i.Entry.Memory, ends: c.now.Add(c.orderTime())}
	c.mastery.orders[p.VM] = o
	c.journal(Event{Kind: "start-ordered", Host: p.Host, Datastore: f.ID, VM: p.VM, Generation: i.Generation.Number, Rule: "R6",
		Text: fmt.Sprintf("%s shall start on %s", i.Entry.Name, c.HostName(p.Host)), Evidence: []string{p.Why}})
	msg := Message{Kind: StartOrder, Datastore: f.ID, VM: p.VM, Order: o.number, Generation: i.Generation.Number}
	if p.Host == c.cfg.Self.Host {
		c.onStartOrder(f, p.Host, msg)
		if m := c.machine(p.VM); m != nil { // nil if a rule forbids it
			c.advance(m)
		}
		return
	}
	c.do(Send{To: p.Host, Message: msg})
}
