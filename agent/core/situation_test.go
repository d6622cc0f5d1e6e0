package core

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"storebeat/datastorehb"
	"storebeat/poweron"
)

func TestSituation(t *testing.T) {
	d := newDesk(t, nil)
	f := d.stand()
	held := func(owner datastorehb.HostID, change func(*MachineState)) func(*MachineState) {
		return func(s *MachineState) {
			s.Entry.Desired, s.GenerationState = poweron.Running, datastorehb.Valid
			s.Generation = poweron.Generation{VM: s.Entry.VM, Number: 3, Kind: poweron.Run, Owner: owner, Term: 4, Entry: 1}
			if change != nil {
				change(s)
			}
		}
	}
	d.known(1, "runs", held(2, nil))
	d.known(2, "off", nil)
	d.known(3, "no-restart", held(3, func(s *MachineState) { s.Entry.Policy.Restart = false }))
	d.known(4, "unlisted", held(2, func(s *MachineState) { s.Entry.Protected = false }))
	d.known(5, "unknown", func(s *MachineState) { s.Entry.Desired, s.GenerationState = poweron.Running, datastorehb.Unreadable })
	d.known(6, "ordered", func(s *MachineState) { s.Entry.Desired = poweron.Running })
	d.known(7, "waits", func(s *MachineState) { s.Entry.Desired = poweron.Running })
	d.mastery.orders[uuid.UUID{6}] = &order{host: 3, home: f}
	type fate struct {
		Host  datastorehb.HostID
		Stays bool
	}
	got := map[string]fate{}
	for _, m := range d.Situation().Machines {
		got[m.Name] = fate{m.Host, m.Stays != ""}
	}
	want := map[string]fate{"runs": {2, false}, "off": {0, true}, "no-restart": {3, true}, "unlisted": {2, true}, "unknown": {0, true}, "ordered": {3, false}, "waits": {0, false}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(d.mastery.histories) > 0 {
		t.Error("a look leaves something behind")
	}
}

// The situation is taken in the loop, where heartbeats wait meanwhile; a plan is made there, too.
func BenchmarkSituation1000Over64(b *testing.B) {
	cfg := Config{Cluster: uuid.UUID{1}, Self: writer(1), Timing: timing, Heartbeats: datastorehb.DefaultRankOptions(), Datastores: []Datastore{{ID: home, Name: "ds1"}}}
	for i := range 64 {
		cfg.Hosts = append(cfg.Hosts, Member{ID: datastorehb.HostID(i + 1), Name: fmt.Sprintf("h%d", i+1)})
	}
	c := New(cfg, 0)
	for i := range 1000 {
		s := generation(3, datastorehb.HostID(1+i%64), 4, writer(2))
		s.Entry.VM = uuid.UUID{14: byte(i >> 8), 15: byte(i)}
		s.Generation.VM = s.Entry.VM
		c.footing(home).learn(s.Entry.VM, s, 1, true)
	}
	b.ReportAllocs()
	for b.Loop() {
		if s := c.Situation(); len(s.Machines) != 1000 {
			b.Fatal(len(s.Machines))
		}
	}
}
