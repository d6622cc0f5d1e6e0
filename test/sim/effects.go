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

// carryOut does what the core decided.
func (a *agent) carryOut(e core.Effect) {
	switch e := e.(type) {
	case core.SendHeartbeat:
		a.h.sendHeartbeat(e.Packet)
	case core.Send:
		if e.Message.Kind == core.StartOrder {
			a.h.w.seeOrder(a.h, a.h.w.hosts[e.To-1], a.h.w.storeOf(e.Message.Datastore))
			a.h.w.seeNeeds(a.h, a.h.w.hosts[e.To-1], e.Message.VM)
		}
		a.h.send(e)
	case core.Ping:
		a.ping(e)
	case core.Journal:
		a.journal(e.Event)
	case core.WriteLevel:
		a.level = e.Level
	case core.KeepRecord:
		a.h.kept = e.Payload
	case core.ActOn:
		// The simulator's network needs no addresses.
	case core.OpenDatastore:
		a.wanted[a.h.w.storeOf(e.Datastore).index] = true
		a.open(a.h.w.storeOf(e.Datastore))
	case core.CloseDatastore:
		a.wanted[a.h.w.storeOf(e.Datastore).index] = false
	case core.Reply:
		a.h.w.reply(a.h, e)
	default:
		if !a.carryOutHere(e) {
			a.carryOutOnDatastore(e)
		}
	}
}

// journal stamps an event, as the agent's shell does.
func (a *agent) journal(e core.Event) {
	h, w := a.h, a.h.w
	e.Wall = h.wall()
	w.count(string(e.Kind))
	w.seeStorm(h, &e)
	if w.changes++; w.watch != nil {
		w.watch.journaled(h, &e)
	}
	w.note(h.name, "%s %s: %s %v", e.Wall.Format("15:04:05"), e.Kind, e.Text, e.Evidence)
	if e.Kind == "datastore-distrusted" && w.sound(w.storeOf(e.Datastore)) {
		w.fail("R14", "%s distrusts a datastore that is what it was: %v", h.name, e.Evidence)
	}
}

// carryOutHere does what concerns guard and hypervisor.
func (a *agent) carryOutHere(e core.Effect) bool {
	guarded := func(do func(g *guardian)) {
		a.h.w.after(a.h.w.setup.MailTime, a.h.mail(func() {
			if g := a.h.guard; g != nil && a.alive {
				do(g)
			}
		}))
	}
	switch e := e.(type) {
	case core.GuardLease:
		guarded(func(g *guardian) { g.setLease(a, e) })
	case core.GuardLetGo:
		guarded(func(g *guardian) { g.letGo(a, e) })
	case core.GuardCustody:
		guarded(func(g *guardian) { g.custody(a, e) })
	case core.Left:
		a.h.agentLeft()
	case core.LetShutDown:
		a.h.endShutDown()
	case core.KeepAwake:
		a.h.seeAwake(e.On)
	case core.FreezeMachines:
		a.soon(func() { a.freezeMachines(e.Datastore) })
	case core.RestartGuard:
		a.h.w.after(20*time.Millisecond, a.at(a.restartGuard))
	case core.StartMachine:
		a.startMachine(e)
	case core.StopMachine:
		a.stopMachine(e)
	case core.HaltGuests:
		a.halt(e.VMs, true)
	case core.ResumeGuests:
		a.halt(e.VMs, false)
	case core.PutDown:
		a.putDown(e.VM)
	case core.ReceiveMachine:
		a.receiveMachine(e)
	case core.IncomingAnswer:
		a.answerIncoming(e)
	default:
		return false
	}
	return true
}

// carryOutOnDatastore puts an operation on a datastore into its queue.
func (a *agent) carryOutOnDatastore(e core.Effect) {
	switch e := e.(type) {
	case core.WriteSlot:
		a.writeSlot(e)
	case core.ReadRegion:
		a.readRegion(e)
	case core.CheckIdentity:
		a.checkIdentity(e)
	case core.ReadTerms:
		a.readTerms(e)
	case core.ClaimTerm:
		a.claimTerm(e)
	case core.ClaimGeneration:
		a.claimGeneration(e)
	case core.ClaimEntry:
		a.claimEntry(e)
	case core.ReadMachine:
		a.readMachine(e)
	case core.ReadRecord:
		a.readRecord(e)
	case core.ClaimRecord:
		a.claimRecord(e)
	case core.ReadCatalogue:
		a.readCatalogue(e)
	case core.ReadList:
		a.readList(e)
	case core.PublishList:
		a.publishList(e)
	case core.Prune:
		a.prune(e)
	default:
		panic(fmt.Sprintf("sim: unknown effect %T", e))
	}
}

// issue puts an operation into its queue and gives its reply the instants
// between which it took place.
func (a *agent) issue(id uuid.UUID, purpose string, o operation, reply func(core.Span)) {
	s := a.h.w.storeOf(id)
	span := core.Span{Datastore: id}
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
		span.Issued = a.h.now()
		a.busy[s.index]++
		o.reply = func(err string) {
			span.Err = err
			reply(span)
		}
		finished := a.finished(s, o, done)
		inner := finished.reply
		finished.reply = func(err string) {
			span.Returned = a.h.now()
			inner(err)
		}
		a.h.submit(s, finished)
	})
}

func (a *agent) writeSlot(e core.WriteSlot) {
	s := a.h.w.storeOf(e.Datastore)
	slot := e.Slot
	slot.Vouches = slices.Clone(slot.Vouches)
	if _, err := datastorehb.EncodeSlot(a.h.w.buffer[:], a.identity(s), &slot, -1); err != nil {
		a.h.w.fail("format", "%s: %v", a.h.name, err)
	}
	sw := &a.slots[s.index]
	a.issue(e.Datastore, "heartbeat", operation{what: "slot", writes: true, refuse: func() string { return s.recall(sw, &slot) }, effect: func() {
		a.h.w.seeSlot(s, &slot)
		s.note(written{kind: "slot", host: slot.Host}, a.level)
		s.write(sw, slot, false)
	}, tear: func() {
		a.h.w.note(a.h.name, "its heartbeat on %s is torn", s.name())
		s.write(sw, slot, true)
	}, stale: func() bool { return !a.alive || s.slots[slot.Host].Slot.Sequence >= slot.Sequence }}, func(span core.Span) {
		if span.Err == "" {
			sw.keep = sw.half
		}
		a.observe(core.SlotWritten{Span: span, Sequence: slot.Sequence})
	})
}

func (a *agent) identity(s *store) datastorehb.Identity {
	return datastorehb.Identity{Version: 1, Level: 1, Cluster: a.h.w.cluster, Datastore: s.id, Name: s.name(), Capacity: a.h.w.capacity()}
}

// readRegion reads the slots at two instants: a read of several slots is no snapshot.
func (a *agent) readRegion(e core.ReadRegion) {
	s := a.h.w.storeOf(e.Datastore)
	hosts := e.Hosts
	if hosts == nil {
		for h := range a.h.w.capacity() {
			hosts = append(hosts, datastorehb.HostID(h+1))
		}
	}
	half := a.h.w.rng.IntN(len(hosts) + 1)
	slots := make([]datastorehb.SlotReading, 0, len(hosts))
	read := func(part []datastorehb.HostID) {
		for _, h := range part {
			slots = append(slots, a.readSlot(s, h))
		}
	}
	o := operation{what: "region", prepare: func() { read(hosts[:half]) }, effect: func() { read(hosts[half:]) }}
	a.issue(e.Datastore, "region", o, func(span core.Span) {
		if span.Err != "" {
			slots = nil
		}
		a.observe(core.RegionRead{Span: span, Full: e.Hosts == nil, Slots: slots})
	})
}

func (a *agent) checkIdentity(e core.CheckIdentity) {
	s := a.h.w.storeOf(e.Datastore)
	var found uuid.UUID
	a.issue(e.Datastore, "identity", operation{what: "identity", effect: func() { found = s.identity }}, func(span core.Span) {
		o := core.DatastoreState{Datastore: s.id, Available: span.Err == "", Why: span.Err, Device: s.device()}
		if span.Err == "" && found != s.id {
			o.Available, o.Replaced, o.Why = false, true, "another datastore is mounted there"
		}
		a.observe(o)
	})
}

func (a *agent) readTerms(e core.ReadTerms) {
	s := a.h.w.storeOf(e.Datastore)
	o, why := core.TermsRead{Host: e.Host, State: datastorehb.Absent}, ""
	a.issue(e.Datastore, "terms", operation{what: "terms", effect: func() {
		if r, ok := a.newestTerm(s, e.Host); ok {
			o.State, o.Term, o.Writer = datastorehb.Valid, r.term, r.by
			why = a.tooNew(s, written{kind: "term", host: e.Host, number: int(r.term.Number)})
		}
	}}, func(span core.Span) {
		if span.Err == "" {
			span.Err = why
		}
		if o.Span = span; span.Err != "" {
			o.State = datastorehb.Unreadable
		}
		a.observe(o)
	})
}

func (a *agent) claimTerm(e core.ClaimTerm) {
	s := a.h.w.storeOf(e.Datastore)
	if _, err := datastorehb.EncodeTerm(e.Term); err != nil {
		a.h.w.fail("format", "%s: %v", a.h.name, err)
	}
	o := core.TermClaimed{Term: e.Term}
	a.issue(e.Datastore, "terms", operation{what: fmt.Sprintf("claim of term %d of host %d", e.Term.Number, e.Term.Host), claims: true, outcome: &o.Outcome,
		refuse: func() string { return a.spend(s, len(s.terms[e.Term.Host]) == 0) },
		effect: func() {
			o.Outcome = a.claimed(s, register{kind: "term", host: e.Term.Host}, s.claimTerm(e.Term, a.self))
			a.noteClaim(s, o.Outcome, written{kind: "term", host: e.Term.Host, number: int(e.Term.Number)})
		}}, func(span core.Span) {
		o := o // what lands late has no say in the reply
		if o.Span = span; span.Err != "" {
			o.Outcome = datastorehb.ClaimFailed
		}
		a.observe(o)
	})
}

// claimed counts claims that are won for nobody.
func (a *agent) claimed(s *store, reg register, outcome datastorehb.Outcome) datastorehb.Outcome {
	p := a.h.paths[s.index]
	p.relists(reg)
	if outcome == datastorehb.ClaimLost && p.stale > 0 && a.h.w.chance(0.5) {
		return datastorehb.ClaimFailed // who has won can't be found
	}
	if outcome == datastorehb.ClaimWon && !a.alive {
		a.h.w.met(deadWon)
	}
	return outcome
}

func machinePurpose(vm uuid.UUID) string { return fmt.Sprintf("machine %d", vm[15]%4) }

func (a *agent) claimGeneration(e core.ClaimGeneration) {
	s := a.h.w.storeOf(e.Datastore)
	if _, err := poweron.EncodeGeneration(e.Generation, datastorehb.FeatureLevel); err != nil {
		a.h.w.fail("format", "%s: %v", a.h.name, err)
	}
	o := core.GenerationClaimed{Generation: e.Generation}
	a.issue(e.Datastore, machinePurpose(e.Generation.VM), operation{what: fmt.Sprintf("claim of generation %d of %s", e.Generation.Number, a.h.w.nameOf(e.Generation.VM)), claims: true, outcome: &o.Outcome,
		refuse: func() string { return a.spend(s, len(s.gens[e.Generation.VM]) == 0) },
		effect: func() {
			o.Outcome = a.claimed(s, register{kind: "generation", vm: e.Generation.VM}, s.claimGeneration(e.Generation, a.self))
			a.noteClaim(s, o.Outcome, written{kind: "generation", vm: e.Generation.VM, number: int(e.Generation.Number)})
		}}, func(span core.Span) {
		o := o
		if o.Span = span; span.Err != "" {
			o.Outcome = datastorehb.ClaimFailed
		}
		a.observe(o)
	})
}

func (a *agent) claimEntry(e core.ClaimEntry) {
	s := a.h.w.storeOf(e.Datastore)
	o := core.EntryClaimed{Revision: e.Revision, Entry: e.Entry, Needs: a.h.w.needsOf(e.Entry.VM)}
	_, bad := poweron.EncodeEntry(e.Entry, datastorehb.FeatureLevel)
	a.issue(e.Datastore, machinePurpose(e.Entry.VM), operation{what: "claim of entry", claims: true, outcome: &o.Outcome,
		refuse: func() string { return a.spend(s, len(s.entries[e.Entry.VM]) == 0) },
		effect: func() {
			if bad == nil {
				o.Outcome = a.claimed(s, register{kind: "entry", vm: e.Entry.VM}, s.claimEntry(e.Entry, e.Revision))
				a.noteClaim(s, o.Outcome, written{kind: "entry", vm: e.Entry.VM, number: int(e.Revision)})
			}
		}}, func(span core.Span) {
		o := o
		if bad != nil {
			span.Err = bad.Error()
		}
		if o.Span = span; span.Err != "" {
			o.Outcome = datastorehb.ClaimFailed
		}
		a.observe(o)
	})
}

func (a *agent) readMachine(e core.ReadMachine) {
	s := a.h.w.storeOf(e.Datastore)
	purpose := machinePurpose(e.VM)
	if e.Purpose == core.ForCatalogue {
		purpose = "catalogue"
	}
	o := core.MachineRead{VM: e.VM, Purpose: e.Purpose}
	op := operation{what: "machine", prepare: func() { o.Machine = a.readState(s, e.VM, false) }, effect: func() {
		switch e.Purpose {
		case core.ForRecheck:
		case core.ForClaim:
			if o.Machine = a.generation(s, e.VM, e.Number); a.tooNew(s, written{kind: "generation", vm: e.VM, number: int(e.Number)}) != "" {
				o.Machine = core.MachineState{GenerationState: datastorehb.Corrupt}
			}
		default:
			now := a.readState(s, e.VM, true)
			o.Machine.GenerationState, o.Machine.Generation, o.Machine.GenerationBy = now.GenerationState, now.Generation, now.GenerationBy
		}
	}}
	a.issue(e.Datastore, purpose, op, func(span core.Span) {
		if o.Span = span; span.Err != "" {
			o.Machine = core.MachineState{}
		}
		a.observe(o)
	})
}

func (a *agent) prune(e core.Prune) {
	if e.Register == datastorehb.ClusterRecords() {
		return // All of them are kept here: the highest is what counts.
	}
	s := a.h.w.storeOf(e.Datastore)
	a.h.w.seePrune(s, e, a.h.id)
	a.issue(e.Datastore, "catalogue", operation{what: "removal", effect: func() { s.prune(e.Register, e.Below) }}, func(core.Span) {})
}

func (a *agent) readCatalogue(e core.ReadCatalogue) {
	s := a.h.w.storeOf(e.Datastore)
	o := core.CatalogueRead{Machines: map[uuid.UUID]core.MachineState{}}
	op := operation{what: "catalogue", prepare: func() {
		for i, vm := range s.machinesOn() {
			if i%2 == 0 {
				o.Machines[vm] = a.readState(s, vm, true)
			}
		}
	}, effect: func() {
		for _, vm := range s.machinesOn() {
			if _, ok := o.Machines[vm]; !ok {
				o.Machines[vm] = a.readState(s, vm, true)
			}
		}
	}}
	a.issue(e.Datastore, "catalogue", op, func(span core.Span) {
		if o.Span = span; span.Err != "" {
			o.Machines = map[uuid.UUID]core.MachineState{}
		}
		a.observe(o)
	})
}

func (a *agent) readList(e core.ReadList) {
	s := a.h.w.storeOf(e.Datastore)
	o := core.ListRead{Host: e.Host, State: datastorehb.Absent}
	a.issue(e.Datastore, "lists", operation{what: "list", effect: func() {
		if s.listed[e.Host] && !a.h.paths[s.index].hides(s.listedAt[e.Host], a.h.w.now, e.Host != a.h.id) {
			o.State, o.List = datastorehb.Valid, s.lists[e.Host]
			if a.tooNew(s, written{kind: "list", host: e.Host}) != "" {
				o.State, o.List = datastorehb.Corrupt, poweron.List{}
			}
		}
	}}, func(span core.Span) {
		if o.Span = span; span.Err != "" {
			o.State = datastorehb.Unreadable
		}
		a.observe(o)
	})
}

// publishList writes the own list; what hangs on the write is done only once it
// has completed, and after the core has seen it.
func (a *agent) publishList(e core.PublishList) {
	s := a.h.w.storeOf(e.Datastore)
	list := e.List
	list.Machines = slices.Clone(list.Machines)
	if _, err := poweron.EncodeList(list, datastorehb.FeatureLevel); err != nil {
		a.h.w.fail("format", "%s: %v", a.h.name, err)
	}
	a.issue(e.Datastore, "lists", operation{what: "power-on list", writes: true, refuse: func() string { return s.needsSpace(list.Writer.Host) }, effect: func() {
		s.note(written{kind: "list", host: list.Writer.Host}, a.level)
		if !s.listed[list.Writer.Host] {
			s.listedAt[list.Writer.Host] = a.h.w.now
		}
		s.lists[list.Writer.Host], s.listed[list.Writer.Host] = list, true
	}}, func(span core.Span) {
		a.observe(core.ListWritten{Span: span, Revision: list.Revision})
		if span.Err == "" {
			for _, after := range e.After {
				a.carryOut(after)
			}
		}
	})
}
