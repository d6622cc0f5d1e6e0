package core

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/core/cluster"
	"storebeat/datastorehb"
	"storebeat/poweron"
)

// move is what the master moves at present: one machine, or several that must be
// together. All it needs to know stands in the cluster record and on the
// datastores, so the next master goes on where this one ended.
//
//	ordered ─▶ stopping on its host ─▶ handed over ─▶ planned like any other ─▶ runs
type move struct {
	vms  []uuid.UUID
	from datastorehb.HostID
	to   datastorehb.HostID  // 0: wherever the planner puts them
	next datastorehb.Instant // order again
	ends datastorehb.Instant
}

// moves is a master's standing with all moves.
type moves struct {
	now   *move
	stuck map[uuid.UUID]stuck
	retry map[uuid.UUID]datastorehb.Instant // not before
}

// stuck says why a machine can't be moved for now, and since when it can't.
type stuck struct {
	why   string
	since datastorehb.Instant
}

// moveAgain is how long a machine is left alone after its move has failed.
const moveAgain = time.Minute

// inMaintenance reports whether this host is in maintenance.
func (c *Core) inMaintenance() bool {
	return c.record.acting != nil && c.record.acting.InMaintenance(c.cfg.Self.Host)
}

// recordMember returns what the cluster record says of a member, nil for nothing.
func (c *Core) recordMember(h datastorehb.HostID) *cluster.Member {
	if c.record.acting == nil {
		return nil
	}
	return c.record.acting.Member(h)
}

// tendMoves goes on with the move under way, or begins the next one.
func (c *Core) tendMoves() {
	v := &c.mastery.moves
	if !c.net.leading || c.record.acting == nil {
		*v = moves{}
		return
	}
	if v.now != nil {
		c.advanceMove()
	}
	switch {
	case v.now != nil:
	case c.record.acting.Moves():
		c.nextMove()
	default:
		v.stuck, v.retry = nil, nil
	}
}

// advanceMove orders the machines again that have not left, since orders get lost,
// and ends the move once all of them run elsewhere, or have no need to any more.
func (c *Core) advanceMove() {
	v := &c.mastery.moves
	pending := false
	for _, vm := range v.now.vms {
		f, i := c.find(vm)
		if i == nil || i.Entry.Desired != poweron.Running || !i.Entry.Protected {
			continue
		}
		at := c.placeOf(f, i)
		if why := c.immovable(f, i); why != "" && at == v.now.from {
			c.giveUpMove(why)
			return
		}
		arrived := at != 0 && at != v.now.from && (v.now.to == 0 || at == v.now.to) && c.mastery.orders[vm] == nil
		pending = pending || !arrived
		if at == v.now.from && c.due(v.now.next) {
			c.orderMove(f, vm, at)
		}
	}
	if c.due(v.now.next) {
		v.now.next = c.now.Add(c.interval())
	}
	switch {
	case !pending:
		v.now = nil
	case c.due(v.now.ends):
		c.giveUpMove(fmt.Sprintf("its move from %s did not come to its end in time", c.HostName(v.now.from)))
	}
}

// immovable says why a machine can't be stopped in good order where it is, so that
// its move would hold up those of others.
func (c *Core) immovable(f *footing, i *info) string {
	if state, _, why := c.machineState(f, i); state == "frozen" {
		return "it is frozen: " + why
	}
	return ""
}

func (c *Core) giveUpMove(why string) {
	v := &c.mastery.moves
	for _, vm := range v.now.vms {
		c.refuseMove(vm, why)
		v.retry[vm] = c.now.Add(moveAgain)
	}
	v.now = nil
}

// refuseMove notes why a machine is not moved, and journals it when it is news.
func (c *Core) refuseMove(vm uuid.UUID, why string) {
	v := &c.mastery.moves
	if v.stuck == nil {
		v.stuck, v.retry = map[uuid.UUID]stuck{}, map[uuid.UUID]datastorehb.Instant{}
	}
	f, i := c.find(vm)
	since := v.stuck[vm].since
	if since == 0 && i != nil {
		since = c.now
		c.journal(Event{Kind: "machine-not-moved", Datastore: f.ID, VM: vm, Text: fmt.Sprintf("%s is not moved for now", i.Entry.Name), Evidence: []string{why}})
	}
	v.stuck[vm] = stuck{why, since}
}

// orderMove has a machine stopped and handed over by the host that runs it.
func (c *Core) orderMove(f *footing, vm uuid.UUID, from datastorehb.HostID) {
	msg := Message{Kind: MoveOrder, Datastore: f.ID, VM: vm}
	if from == c.cfg.Self.Host {
		c.onMoveOrder(msg)
		return
	}
	c.do(Send{To: from, Message: msg})
}

// onMoveOrder has a machine here handed over. The order may be early: the master
// sends it as soon as the cluster record says so, which this host may not have read yet.
func (c *Core) onMoveOrder(msg Message) {
	if m := c.machine(msg.VM); m != nil {
		m.leave = c.now.Add(c.cfg.Timing.Takeover)
		c.advance(m)
	}
}

// handOver stops a machine that was ordered to leave and gives it up, if the cluster
// record says that it shall: the order may be late, or come from a former master.
func (c *Core) handOver(m *machine) {
	if c.now >= m.leave || c.leaving != nil || !c.mayRun(m) {
		return
	}
	if why := c.shallLeave(m.vm); why != "" {
		m.leave = 0
		c.stop(m, poweron.HandedOver, why, true)
	}
}

// shallLeave says why a machine shall leave this host, by the cluster record.
func (c *Core) shallLeave(vm uuid.UUID) string {
	self := c.recordMember(c.cfg.Self.Host)
	if self == nil {
		return ""
	}
	if self.Maintenance != nil && self.Maintenance.Move {
		return fmt.Sprintf("%s is in maintenance: it moves elsewhere", self.Name)
	}
	for i := range c.record.acting.Members {
		if m := &c.record.acting.Members[i]; m.ID != self.ID && m.Maintenance == nil && slices.Contains(m.Returning, vm) {
			return fmt.Sprintf("it returns to %s after maintenance", m.Name)
		}
	}
	return ""
}

func (c *Core) find(vm uuid.UUID) (*footing, *info) {
	for _, f := range c.footings {
		if i := f.info(vm); i != nil && i.EntryState == datastorehb.Valid {
			return f, i
		}
	}
	return nil, nil
}

// departing is a machine that shall be moved.
type departing struct {
	located
	to datastorehb.HostID // 0: anywhere
}

// nextMove begins the next move, if nothing else waits for a place: what can't be
// placed must not become more.
func (c *Core) nextMove() {
	if len(c.mastery.orders) > 0 || slices.ContainsFunc(c.mastery.waiting, c.handedOver) || slices.ContainsFunc(c.footings, func(f *footing) bool { return f.usable() && !f.scanned }) {
		return
	}
	all := c.locate()
	left := map[uuid.UUID]bool{}
	for _, d := range c.departing(all) {
		left[d.vm] = true
		if until, ok := c.mastery.moves.retry[d.vm]; ok && !c.due(until) {
			continue
		}
		if c.beginMove(all, d) {
			return
		}
	}
	for vm := range c.mastery.moves.stuck {
		if !left[vm] {
			delete(c.mastery.moves.stuck, vm)
		}
	}
}

// handedOver reports whether a machine waits that was handed over.
func (c *Core) handedOver(w poweron.Wait) bool {
	_, i := c.find(w.VM)
	return i != nil && i.newest() != nil && i.Generation.Kind == poweron.Released && i.Generation.Reason == poweron.HandedOver
}

// departing lists what shall be moved, in the order in which it is: away from
// hosts in maintenance, then back to those that were.
func (c *Core) departing(all []located) (list []departing) {
	back := map[uuid.UUID]datastorehb.HostID{}
	for i := range c.record.acting.Members {
		for _, vm := range c.record.acting.Members[i].Returning {
			back[vm] = c.record.acting.Members[i].ID
		}
	}
	for _, l := range all {
		m := c.recordMember(l.host)
		if l.host == 0 || m == nil || !l.Entry.Protected || l.Entry.Desired != poweron.Running {
			continue
		}
		if m.Maintenance != nil && m.Maintenance.Move {
			list = append(list, departing{l, 0})
		} else if to := back[l.vm]; to != 0 && to != l.host {
			list = append(list, departing{l, to})
		}
	}
	slices.SortStableFunc(list, func(a, b departing) int {
		return 2*(a.Entry.Policy.Priority-b.Entry.Policy.Priority) + strings.Compare(a.Entry.Name, b.Entry.Name)
	})
	return list
}

// beginMove orders the move of a machine, and of those that must be together with
// it, if there is a place for all of them.
func (c *Core) beginMove(all []located, d departing) bool {
	together := c.joined(all, d.located)
	why := ""
	for _, l := range together {
		why = cmp.Or(why, c.immovable(l.home, l.info))
	}
	if why = cmp.Or(why, c.noPlace(all, together, d.to)); why != "" {
		c.refuseMove(d.vm, why)
		c.mastery.moves.retry[d.vm] = c.now.Add(2 * c.interval())
		return false
	}
	v := &c.mastery.moves
	stop := time.Duration(0)
	v.now = &move{from: d.host, to: d.to, next: c.now.Add(c.interval())}
	for _, l := range together {
		stop = max(stop, l.Entry.Policy.StopTime)
		v.now.vms = append(v.now.vms, l.vm)
		delete(v.stuck, l.vm)
		c.journal(Event{Kind: "move-ordered", Host: d.host, Datastore: l.home.ID, VM: l.vm, Generation: l.Generation.Number, Rule: "R6",
			Text: fmt.Sprintf("%s shall leave %s: it is stopped there and started elsewhere", l.Entry.Name, c.HostName(d.host))})
		c.orderMove(l.home, l.vm, d.host)
	}
	v.now.ends = c.now.Add(stop + 2*c.orderTime())
	return true
}

// joined returns a machine with those of its host that must be together with it.
func (c *Core) joined(all []located, first located) []located {
	set := []located{first}
	for at := 0; at < len(set); at++ {
		for _, l := range all {
			in := slices.ContainsFunc(set, func(s located) bool { return s.vm == l.vm })
			if _, must := poweron.MustJoin(ruled(&set[at].Entry), ruled(&l.Entry)); must && !in && l.host == first.host && l.Entry.Protected && l.Entry.Desired == poweron.Running {
				set = append(set, l)
			}
		}
	}
	return set
}

// noPlace says why machines could not be started on another host if they were
// stopped now, or nothing.
func (c *Core) noPlace(all []located, set []located, to datastorehb.HostID) string {
	in := poweron.Input{Starts: c.cfg.Parallel, Hosts: c.planHosts()}
	for _, l := range set {
		m := c.candidate(l.home, l.info)
		if to != 0 {
			m.Rules.Must.Hosts = []datastorehb.HostID{to}
			if !l.Entry.Rules.Allows(to) {
				return fmt.Sprintf("its rules do not allow %s", c.HostName(to))
			}
		}
		in.Machines = append(in.Machines, m)
	}
	for i := range in.Hosts {
		if in.Hosts[i].ID == set[0].host {
			in.Hosts[i].Maintenance = true // whatever the record says: it is to leave
		}
	}
	others := slices.DeleteFunc(slices.Clone(all), func(l located) bool {
		return slices.ContainsFunc(set, func(s located) bool { return s.vm == l.vm })
	})
	in.Present = residents(others, in.Machines)
	r := poweron.Plan(in)
	if len(r.Waiting) == 0 {
		return ""
	}
	why := []string{r.Waiting[0].Why}
	for _, refusal := range r.Waiting[0].Hosts {
		if refusal.Host.ID != set[0].host {
			why = append(why, refusal.String())
		}
	}
	return strings.Join(why, "; ")
}

// aim makes a machine that returns start where it returns to.
func (v *moves) aim(m *poweron.Machine) {
	if v.now != nil && v.now.to != 0 && slices.Contains(v.now.vms, m.VM) {
		m.Rules.Must.Hosts = []datastorehb.HostID{v.now.to}
	}
}

// returned reports whether nothing is left to bring back to a host. What could not
// be for a while, though the host was there, stays where it is.
func (c *Core) returned(m *cluster.Member) bool {
	there := m.ID == c.cfg.Self.Host || c.heard(m.ID)
	if len(m.Returning) == 0 || !there || c.mastery.moves.now != nil || !slices.ContainsFunc(c.footings, func(f *footing) bool { return f.scanned }) {
		return false
	}
	for _, d := range c.departing(c.locate()) {
		s := c.mastery.moves.stuck[d.vm]
		if d.to == m.ID && (s.since == 0 || !c.due(s.since.Add(moveAgain))) {
			return false
		}
	}
	return true
}

// setMaintenance begins or ends maintenance of a member.
func (c *Core) setMaintenance(next *cluster.Record) (what string, err error) {
	o := c.record.change.command
	at := slices.IndexFunc(next.Members, func(m cluster.Member) bool { return m.Name == o.Host || fmt.Sprint(m.ID) == o.Host })
	if at < 0 {
		return "", fmt.Errorf("the cluster has no member %q: `storebeat host list` shows all", o.Host)
	}
	m := &next.Members[at]
	if !o.On {
		return c.endMaintenance(m, o.Return)
	}
	if m.ID != c.cfg.Self.Host && !c.heard(m.ID) {
		return "", fmt.Errorf("%s is not heard: its machines are taken over anyway, and it can't be emptied; `storebeat host show %s` tells more", m.Name, m.Name)
	}
	if m.Maintenance != nil && (m.Maintenance.Move || !o.Move) {
		return "", nil
	}
	m.Returning = nil
	since := next.At
	if m.Maintenance != nil {
		since = m.Maintenance.Since
	}
	m.Maintenance = &cluster.Maintenance{Since: since, Move: o.Move}
	if !o.Move {
		return fmt.Sprintf("maintenance of %s begun", m.Name), nil
	}
	for _, l := range c.locate() {
		if l.host == m.ID {
			m.Maintenance.Machines = append(m.Maintenance.Machines, l.vm)
		}
	}
	slices.SortFunc(m.Maintenance.Machines, compareUUID)
	return fmt.Sprintf("maintenance of %s begun, its machines move elsewhere", m.Name), nil
}

func (c *Core) endMaintenance(m *cluster.Member, back bool) (what string, err error) {
	switch {
	case m.Maintenance == nil && (!back || len(m.Returning) > 0):
		return "", nil
	case m.Maintenance == nil:
		return "", fmt.Errorf("%s is not in maintenance: there is nothing to bring back", m.Name)
	}
	returning := m.Maintenance.Machines
	m.Maintenance, m.Returning = nil, nil
	if !back {
		return fmt.Sprintf("maintenance of %s ended", m.Name), nil
	}
	m.Returning = returning
	return fmt.Sprintf("maintenance of %s ended, its machines return", m.Name), nil
}

// noteReturned takes those off the record that are back, or stay where they are.
func (c *Core) noteReturned(next *cluster.Record) (what string, err error) {
	var back []string
	for i := range next.Members {
		if m := &next.Members[i]; c.returned(m) {
			m.Returning, back = nil, append(back, m.Name)
		}
	}
	if len(back) == 0 {
		return "", nil
	}
	return "machines of " + strings.Join(back, ", ") + " are back", nil
}

// tidyReturns has the record changed once machines are back.
func (c *Core) tidyReturns() {
	for i := range c.record.acting.Members {
		if c.returned(&c.record.acting.Members[i]) {
			c.beginChange(ClusterCommand{Verb: clusterReturned})
			return
		}
	}
}

// viewMaintenance says what is kept up of a host's maintenance.
func (c *Core) viewMaintenance(v *HostView) {
	m := c.recordMember(v.ID)
	if m == nil {
		return
	}
	v.Maintenance, v.Returning = m.Maintenance, m.Returning
	for _, f := range c.footings {
		for _, i := range f.infos {
			why := c.mastery.moves.stuck[i.vm].why
			if why != "" && (m.Maintenance != nil && c.placeOf(f, i) == m.ID || slices.Contains(m.Returning, i.vm)) {
				v.Stuck = append(v.Stuck, i.Entry.Name+": "+why)
			}
			if m.Maintenance != nil && m.Maintenance.Move && i.EntryState == datastorehb.Valid && !i.Entry.Protected && c.placeOf(f, i) == m.ID {
				v.Unprotected = append(v.Unprotected, i.Entry.Name)
			}
		}
	}
}
