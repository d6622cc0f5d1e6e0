package core

import (
	"strings"
	"testing"
	"time"

	"storebeat/datastorehb"
	"storebeat/partition"
	"storebeat/poweron"
)

// A machine whose host shows no proof of life on its home datastore is not shown as running, though nobody
// may take it: its lease has run out.
func TestSilentOwnerIsNotShownAsRunning(t *testing.T) {
	d := newDesk(t, nil)
	f := d.stand()
	f.learn(guest, generation(1, 2, 1, writer(2)), d.at, true)
	silent := datastorehb.SlotReading{Host: 2, State: datastorehb.Valid, Slot: datastorehb.Slot{Writer: writer(2), Sequence: 7, Term: 1}}
	read := func() {
		o := d.region(datastorehb.SlotReading{State: datastorehb.Valid, Slot: datastorehb.Slot{Writer: writer(1), Sequence: f.sequence}})
		o.Slots[1] = silent
		d.see(o)
	}
	read()
	d.see(TermsRead{Span: d.span(), Host: 2, State: datastorehb.Valid, Writer: writer(2),
		Term: datastorehb.Term{Host: 2, Number: 1, First: 1, Timing: timing}})
	state := func() MachineView {
		t.Helper()
		v := d.View(d.at)
		if len(v.Machines) != 1 {
			t.Fatalf("%d machines", len(v.Machines))
		}
		return v.Machines[0]
	}
	read()
	for range 8 {
		d.wait(500 * time.Millisecond)
		read()
		if s := state(); s.State != "running" {
			t.Fatalf("%s at %v: %s", s.State, d.at, s.Why)
		}
	}
	d.wait(time.Second)
	read()
	if s := state(); s.State != "frozen" || !strings.Contains(s.Why, "no proof of life on ds1") {
		t.Fatalf("%s: %s", s.State, s.Why)
	}
	silent.Slot.Sequence++
	read()
	if s := state(); s.State != "running" {
		t.Fatalf("%s after a heartbeat: %s", s.State, s.Why)
	}
}

// A list that shows a machine frozen is read again after its host is heard: else the machine
// would be shown as frozen for ever.
func TestListOfFrozenMachinesIsReadAgain(t *testing.T) {
	d := newDesk(t, nil)
	f := d.stand()
	d.see(TermsRead{Span: d.span(), Host: 2, State: datastorehb.Valid, Writer: writer(2), Term: datastorehb.Term{Host: 2, Number: 1, First: 1, Timing: timing}})
	w := f.watches.of(2)
	list := poweron.List{Writer: writer(2), Revision: 1, Machines: []poweron.Listed{{VM: guest, Generation: 1, Frozen: true}}}
	d.see(ListRead{Span: d.span(), Host: 2, State: datastorehb.Valid, List: list})
	d.wait(time.Second)
	sent := take[SendHeartbeat](d)
	d.see(HeartbeatReceived{Packet: partition.Packet{Cluster: d.cfg.Cluster, From: writer(2), To: 1, Sequence: 1,
		Echo: partition.Echo{Incarnation: sent.Packet.From.Incarnation, Sequence: sent.Packet.Sequence}}})
	if !d.heard(2) {
		t.Fatal("host 2 is not heard")
	}
	d.out, d.Core.out = nil, nil
	d.consider(f, w)
	if len(d.Core.out) != 1 || d.Core.out[0] != Effect(ReadList{Datastore: home, Host: 2}) {
		t.Fatalf("effects: %v", d.Core.out)
	}
	list.Revision, list.Machines[0].Frozen = 2, false
	d.see(ListRead{Span: d.span(), Host: 2, State: datastorehb.Valid, List: list})
	w.nextList, d.Core.out = 0, nil
	if d.consider(f, w); len(d.Core.out) != 0 {
		t.Fatalf("effects: %v", d.Core.out)
	}
}
