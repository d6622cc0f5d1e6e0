package core

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"storebeat/agent/core/cluster"
	"storebeat/datastorehb"
	"storebeat/poweron"
)

// departs is a master that is to be emptied, has another host to move machines to, and runs two.
func departs(t *testing.T) (d *desk, other *machine) {
	t.Helper()
	d, f := runs(t)
	e := wanted
	e.VM, e.Name = uuid.UUID{9}, "other"
	other = d.addMachine(&machine{vm: e.VM, home: f, phase: phaseRun, entry: e, revision: 1, process: 1, since: d.at,
		gen: poweron.Generation{VM: e.VM, Number: 1, Kind: poweron.Run, Owner: 1, Term: f.own.Number, Entry: 1}})
	f.learn(e.VM, MachineState{EntryState: datastorehb.Valid, Entry: e, Revision: 1, GenerationState: datastorehb.Valid, Generation: other.gen}, d.at, true)
	f.scanned, d.memory = true, 1<<40
	d.net.leading, d.net.master = true, 1
	d.record.acting = &cluster.Record{Revision: 1, Members: []cluster.Member{
		{ID: 1, Name: "h1", Maintenance: &cluster.Maintenance{Move: true}}, {ID: 2, Name: "h2"}, {ID: 3, Name: "h3"}}}
	d.out = nil
	return d, other
}

func (d *desk) hostView() HostView {
	d.Helper()
	return d.View(d.at).Hosts[0]
}

// A frozen machine can't be stopped in good order. It is told so, and does not hold up others.
func TestFrozenMachineIsNotMoved(t *testing.T) {
	d, other := departs(t)
	d.machine(guest).frozen = true
	for _, departing := range d.departing(d.locate()) {
		d.beginMove(d.locate(), departing)
	}
	var told []string
	d.out = append(d.out, d.Core.out...)
	for _, e := range d.events("machine-not-moved") {
		told = append(told, e.Text+": "+strings.Join(e.Evidence, ";"))
	}
	if len(told) == 0 || !strings.Contains(told[0], "guest is not moved for now: it is frozen: h1 has no lease") {
		t.Fatalf("told %q", told)
	}
	if stuck := strings.Join(d.hostView().Stuck, "\n"); !strings.Contains(stuck, "guest: it is frozen") {
		t.Fatalf("shown as stuck: %q", stuck)
	}
	// One that is frozen while it is being moved gives way, too.
	d.mastery.moves.now = &move{vms: []uuid.UUID{other.vm}, from: 1, ends: d.at.Add(timing.Takeover)}
	other.frozen = true
	d.advanceMove()
	if why := d.mastery.moves.stuck[other.vm].why; d.mastery.moves.now != nil || !strings.Contains(why, "it is frozen") {
		t.Fatalf("the move goes on, or was given up because %s", why)
	}
}

// A machine that was taken off the list is named: nobody moves it.
func TestUnprotectedMachineIsNamed(t *testing.T) {
	d, other := departs(t)
	i := d.footing(home).info(other.vm)
	i.Entry.Protected = false
	if v := d.hostView(); len(v.Unprotected) != 1 || v.Unprotected[0] != "other" {
		t.Fatalf("named: %q", v.Unprotected)
	}
	d.record.acting.Members[0].Maintenance.Move = false
	if v := d.hostView(); len(v.Unprotected) != 0 {
		t.Fatalf("named where nothing is moved: %q", v.Unprotected)
	}
}
