package sim

import (
	"slices"

	"github.com/google/uuid"

	"storebeat/datastorehb"
)

// meeting is something that random schedules must bring about: two things that meet,
// and by whose meeting a weaker rule would break. Schedules in which it never
// happens prove nothing about it.
type meeting string

const (
	thawLost        meeting = "a thaw lost its race against a takeover"
	takeoverLost    meeting = "a takeover lost its race against a thaw"
	twoClosers      meeting = "two hosts closed one term"
	twoTakers       meeting = "two hosts claimed one generation"
	twoUsers        meeting = "two changes of one entry met"
	aliveClosed     meeting = "a term was closed while its host was alive"
	frozenTaken     meeting = "a machine was claimed by another host while its process stood frozen"
	wonUnknown      meeting = "a claim was won and its reply lost"
	lateWon         meeting = "a claim that was reported as failed won later"
	deadWon         meeting = "a claim won after its agent had died"
	diedWorking     meeting = "an agent died with operations under way"
	vouchedOnly     meeting = "a lease was renewed by vouches alone"
	foundFrozen     meeting = "a new agent found a machine frozen"
	foundRunning    meeting = "a new agent found a machine running"
	backUnnoticed   meeting = "a host was back before its term was closed"
	backTooLate     meeting = "a host came back to a closed term"
	twoMasters      meeting = "two hosts were masters at once"
	masterLost      meeting = "a master was lost while machines waited for it"
	lostStarting    meeting = "a host was lost between claim and start"
	stoppedStarting meeting = "a user changed a machine while its start was under way"
	writeRefused    meeting = "a barrier refused the late write of a former instance"
	writeLate       meeting = "without a barrier, the late write of a former instance reached the disk"
	writeCrashed    meeting = "the write of a machine that crashed while its path hung reached the disk late"
	voidWin         meeting = "a late claim won a name that had been removed, and was void"
	besideStranger  meeting = "a machine was let go beside one that somebody had started behind the agents' backs"
	hostLeft        meeting = "a host was removed"
	hostBack        meeting = "a host that was removed was added again"
	ownerStays      meeting = "a host was not removed since machines are in its name"
	outcastBegan    meeting = "the agent of a host that is no member began"
	datastoreLeft   meeting = "a datastore was removed"
	datastoreBack   meeting = "a datastore that was removed was added again"
	homeStays       meeting = "a datastore was not removed since machines have their home there"
	startRefused    meeting = "a start was refused since another instance held the image lock"
	switchedOver    meeting = "a hypervisor moved a machine"
	abandoned       meeting = "the guard ended a machine that had no agent any more"
)

// Coverage returns the names of all coverage counters.
func Coverage() []string {
	all := []meeting{thawLost, takeoverLost, twoClosers, twoTakers, twoUsers, aliveClosed, frozenTaken, wonUnknown, lateWon, deadWon,
		diedWorking, vouchedOnly, foundFrozen, foundRunning, backUnnoticed, backTooLate, twoMasters, masterLost, lostStarting, stoppedStarting, writeRefused, writeLate, writeCrashed, startRefused, abandoned, voidWin, besideStranger,
		switchedOver, hostLeft, hostBack, ownerStays, outcastBegan, datastoreLeft, datastoreBack, homeStays}
	names := make([]string, len(all))
	for i, m := range all {
		names[i] = string(m)
	}
	slices.Sort(names)
	return names
}

// met counts a meeting.
func (o *observer) met(m meeting) { o.covered[string(m)]++ }

// meetLostTerm counts what a lost claim of a term means.
func (w *World) meetLostTerm(s *store, t datastorehb.Term, by datastorehb.HostID) {
	if t.Number == 0 || t.Number > uint64(len(s.terms[t.Host])) {
		return
	}
	host, winner := t.Host, s.terms[t.Host][t.Number-1].by.Host
	switch {
	case winner == by:
	case by == host:
		w.met(thawLost)
	case winner == host:
		w.met(takeoverLost)
	default:
		w.met(twoClosers)
	}
}

// meetLoss counts in what a host is interrupted that loses its power or its agent.
func (h *host) meetLoss() {
	w := h.w
	a := h.agent
	if a == nil || a.core == nil {
		return
	}
	if a.core.Leading() && slices.ContainsFunc(w.vms, func(vm uuid.UUID) bool { return w.wanted(vm) && len(w.executing(vm)) == 0 }) {
		w.met(masterLost)
	}
	for _, p := range h.processes {
		if !p.ran {
			w.met(lostStarting)
		}
	}
}

// meetMasters counts the instants of mischief at which several hosts lead.
func (w *World) meetMasters() {
	leading := 0
	for _, h := range w.hosts {
		if a := h.agent; a != nil && a.core != nil && a.core.Leading() {
			leading++
		}
	}
	if leading > 1 {
		w.met(twoMasters)
	}
}

// meetReturn counts in what state a host that boots finds its terms.
func (h *host) meetReturn() {
	for _, s := range h.w.stores {
		if r, ok := s.newestTerm(h.id); ok && r.term.Closed {
			h.w.met(backTooLate)
		} else if ok {
			h.w.met(backUnnoticed)
		}
	}
}

// meetStart counts a change of an entry while the machine is being started somewhere.
func (w *World) meetStart(vm uuid.UUID) {
	for _, h := range w.hosts {
		if p := h.process(vm); p != nil && !p.ran {
			w.met(stoppedStarting)
		}
	}
}
