package core

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/core/cluster"
	"storebeat/datastorehb"
	"storebeat/partition"
	"storebeat/poweron"
)

// recordOf is a record of three hosts and the datastore home, in which change has
// its way.
func recordOf(t *testing.T, revision uint64, change func(r *cluster.Record)) *cluster.Record {
	t.Helper()
	r := cluster.Record{Timing: timing, Machines: poweron.DefaultPolicy(), Datastores: []cluster.Datastore{{ID: home, Name: "ds1"}}}
	for id := datastorehb.HostID(1); id <= 3; id++ {
		at := netip.AddrFrom4([4]byte{192, 0, 2, byte(id)})
		r.Members = append(r.Members, cluster.Member{ID: id, Name: []string{"", "h1", "h2", "h3"}[id], Heartbeat: netip.AddrPortFrom(at, 7480), Management: netip.AddrPortFrom(at, 7481)})
	}
	next := cluster.Founding(r).Next(revision, 2, time.Unix(0, 0), "a change", nil)
	change(&next)
	if err := next.Validate(); err != nil {
		t.Fatal(err)
	}
	return &next
}

// learn has the datastore show a revision.
func (d *desk) learn(r *cluster.Record) {
	d.Helper()
	payload, err := cluster.Encode(r)
	if err != nil {
		d.Fatal(err)
	}
	d.see(RecordRead{Span: d.span(), State: datastorehb.Valid, Record: r, Payload: payload})
}

func removeSelf(r *cluster.Record) { _, _ = r.RemoveMember("h1") }

// TestStartWaitsForTheRecord: a host that was removed while it was off must have
// had the chance to learn of it before it claims anything for a machine.
func TestStartWaitsForTheRecord(t *testing.T) {
	d := newDesk(t, nil)
	f := d.stand()
	f.record.tried = false
	order := Received{From: 2, Message: Message{Kind: StartOrder, Datastore: home, VM: guest, Order: 1}}
	d.see(order)
	d.wait(time.Second)
	for _, e := range d.out {
		if r, ok := e.(ReadMachine); ok && r.Purpose != ForCatalogue {
			t.Fatalf("%+v before the record was looked for", r)
		}
	}
	d.learn(recordOf(t, 5, removeSelf))
	d.out = nil
	d.see(order)
	d.wait(time.Second)
	if d.Outcast() == "" || !strings.Contains(d.Outcast(), "removed") {
		t.Fatalf("it says %q", d.Outcast())
	}
	never[ClaimGeneration](d, "the host was removed")
}

// TestOutcastHandsOver: what runs under a lease is stopped in good order, no term is
// claimed once the lease is gone, and nothing is sent.
func TestOutcastHandsOver(t *testing.T) {
	d := newDesk(t, nil)
	f := d.stand()
	m := d.addMachine(&machine{vm: guest, home: f, phase: phaseRun, entry: wanted, revision: 1, process: 1, since: d.at,
		gen: poweron.Generation{VM: guest, Number: 1, Kind: poweron.Run, Owner: 1, Term: f.own.Number, Entry: 1}})
	d.learn(recordOf(t, 5, removeSelf))
	d.wait(time.Second)
	if stop := take[StopMachine](d); stop.VM != guest || stop.Graceful == 0 {
		t.Errorf("%+v", stop)
	}
	d.out = nil
	d.see(MachineGone{VM: guest, Generation: 1, Ending: EndedByUs})
	if claim := take[ClaimGeneration](d); claim.Generation.Kind != poweron.Released || claim.Generation.Reason != poweron.HandedOver {
		t.Errorf("%+v", claim.Generation)
	}
	d.wait(3 * timing.Takeover)
	never[ClaimTerm](d, "it takes no part")
	never[SendHeartbeat](d, "it was removed")
	if m.phase == phaseRun || d.Leading() || d.Master() != 0 {
		t.Errorf("phase %s, leading %v, master %d", m.phase, d.Leading(), d.Master())
	}
}

// TestRemovedMasterSendsWishesOn: who asks it still, because nobody has told them yet,
// learns that nothing was done and that another master may be asked.
func TestRemovedMasterSendsWishesOn(t *testing.T) {
	d := newDesk(t, nil)
	d.stand()
	d.learn(recordOf(t, 5, removeSelf))
	d.out = nil
	d.see(ClusterCommand{ID: 7, Verb: ClusterHostRemove, Host: "h2"})
	if r := take[Reply](d); r.Command != 7 || !r.NotMaster || !strings.Contains(r.Err, "was removed") {
		t.Errorf("%+v", r)
	}
	never[ClaimRecord](d, "it takes no part")
}

// TestAnotherComputerIsNotHeard: its packets count for nothing, and are told of once.
func TestAnotherComputerIsNotHeard(t *testing.T) {
	d := newDesk(t, nil)
	d.reach()
	known := uuid.UUID{15: 2}
	d.learn(recordOf(t, 5, func(r *cluster.Record) { r.Members[1].Machine = known }))
	d.out = nil
	p := partition.Packet{Cluster: d.cfg.Cluster, From: writer(2), To: 1, Sequence: 1}
	p.From.Machine = uuid.UUID{15: 99}
	for range 3 {
		p.Sequence++
		d.see(HeartbeatReceived{Packet: p})
	}
	told := 0
	for _, e := range d.out {
		if j, ok := e.(Journal); ok && j.Event.Kind == "host-replaced" {
			told++
		}
	}
	if _, heard := d.net.peers.LastPacket(2); heard || told != 1 || d.View(d.at).Hosts[1].Stranger != p.From.Machine {
		t.Errorf("heard %v, told %d times, view %+v", heard, told, d.View(d.at).Hosts[1])
	}
}

// TestReceiverIsNotRemoved: a machine that a hypervisor moves to a host is in that host's name, too.
func TestReceiverIsNotRemoved(t *testing.T) {
	d := newDesk(t, nil)
	f := d.stand()
	f.scanned = true
	s := generation(3, 2, 1, writer(2))
	f.learn(guest, s, d.at, true)
	d.record.change = &change{}
	receiver := &cluster.Member{ID: 3, Name: "h3"}
	if err := d.mayLeave(receiver); err != nil || d.ownsMachines(3) {
		t.Fatalf("nothing is in its name: %v", err)
	}
	s.Generation = poweron.Share(s.Generation, writer(2), 1, poweron.Party{Writer: writer(3), Term: 1})
	f.learn(guest, s, d.at, true)
	for _, host := range []*cluster.Member{{ID: 2, Name: "h2"}, receiver} {
		if err := d.mayLeave(host); err == nil || !strings.Contains(err.Error(), "guest") || !d.ownsMachines(host.ID) {
			t.Errorf("%s may leave: %v", host.Name, err)
		}
	}
}

// TestRemovalWaitsForANewMasterToRead: one that has just been elected has not read where the
// machines are, which is no reason to refuse the removal of a host that has none.
func TestRemovalWaitsForANewMasterToRead(t *testing.T) {
	for name, c := range map[string]struct {
		reads bool
		want  string
	}{"it reads": {true, ""}, "it can't": {false, "can't be read"}} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, nil)
			f := d.stand()
			d.learn(recordOf(t, 5, func(*cluster.Record) {}))
			d.wait(2 * timing.Takeover)
			if !d.Leading() {
				t.Fatal("nobody else is there, and it is not master")
			}
			passes := func(long time.Duration) { // in which the datastore answers, but for where machines are
				for end := d.at.Add(long); d.at < end; d.wait(500 * time.Millisecond) {
					f.failing, f.writing, f.reading = false, false, false
				}
			}
			passes(time.Second)
			f.scanned, f.scanning, d.out = false, true, nil
			d.see(ClusterCommand{ID: 7, Verb: ClusterHostRemove, Host: "h2"})
			d.learn(recordOf(t, 5, func(*cluster.Record) {}))
			passes(time.Second)
			never[Reply](d, "it has not read where machines are")
			never[ClaimRecord](d, "it has not read where machines are")
			if c.reads {
				f.scanned, f.scanning = true, false
				passes(time.Second)
				if claim := take[ClaimRecord](d); claim.Record.Member(2) != nil {
					t.Errorf("%+v", claim.Record)
				}
				return
			}
			passes(timing.Lease)
			if r := take[Reply](d); r.Command != 7 || !strings.Contains(r.Err, c.want) {
				t.Errorf("%+v", r)
			}
		})
	}
}
