package core

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"storebeat/datastorehb"
	"storebeat/partition"
	"storebeat/poweron"
)

func bridges(names ...string) poweron.Capabilities {
	return poweron.Capabilities{Drivers: []poweron.DriverState{{Name: "process"}}, Has: map[poweron.Kind][]string{poweron.Bridge: names}}
}

var needsBridge = poweron.Needs{Driver: "process", Of: []poweron.Need{{Kind: poweron.Bridge, Name: "br0"}}}

// beats makes a run of another host's agent heard.
func (d *desk) beats(h datastorehb.HostID, incarnation, sequence uint64) {
	d.wait(2 * timing.Interval) // for a new packet to be sent, which another run has to echo
	from := writer(h)
	from.Incarnation = incarnation
	d.see(HeartbeatReceived{Packet: partition.Packet{Cluster: d.cfg.Cluster, From: from, To: 1, Sequence: sequence,
		Echo: partition.Echo{Incarnation: d.cfg.Self.Incarnation, Sequence: d.net.sequence}}})
}

// A host tells all others what it has when that changes, and nobody when it does not.
func TestCapabilitiesAreTold(t *testing.T) {
	d := newDesk(t, nil)
	tells := func(what ...string) {
		d.Helper()
		d.out = nil
		d.see(HostCapable{Capabilities: bridges(what...)})
	}
	tells("br0")
	for _, to := range []datastorehb.HostID{2, 3} {
		if s := take[Send](d); s.To != to || s.Message.Kind != HostHas || s.Message.Incarnation != 1 || s.Message.Capabilities.Has[poweron.Bridge][0] != "br0" {
			t.Fatalf("to host %d: %+v", s.To, s.Message)
		}
	}
	tells("br0")
	never[Send](d, "nothing has changed")
	tells("br1")
	take[Send](d)
}

// What another host said counts for the run of its agent that said it, and what has
// not been said is not held against it.
func TestCapabilitiesOfARunOfTheAgent(t *testing.T) {
	d := newDesk(t, nil)
	lacking := func() string { return d.capabilitiesOf(2).Lacking(needsBridge) }
	d.beats(2, 20, 1)
	d.beats(2, 20, 2)
	if why := lacking(); why != "" {
		t.Fatalf("before it has said anything: %s", why)
	}
	without := bridges()
	says := func(from datastorehb.HostID, incarnation uint64) {
		d.see(Received{From: from, Message: Message{Kind: HostHas, Incarnation: incarnation, Capabilities: &without}})
	}
	says(2, 20)
	says(9, 20)
	if why := lacking(); why != "has no network bridge br0" {
		t.Fatalf("%q", why)
	}
	if _, kept := d.capable.of[9]; kept {
		t.Error("a host that is no member was believed")
	}
	d.beats(2, 21, 1)
	d.beats(2, 21, 2)
	if why := lacking(); why != "" {
		t.Fatalf("its agent was started again, maybe as an older one: %s", why)
	}
	says(2, 21)
	if lacking() == "" {
		t.Error("the new run's word is lost")
	}
}

// A host starts nothing that needs what it does not have, whoever orders it, and
// says why before it claims anything.
func TestOrderForWhatTheHostLacks(t *testing.T) {
	d := newDesk(t, nil)
	d.stand()
	d.known(1, "web", func(s *MachineState) { s.Entry.Desired, s.Needs = poweron.Running, needsBridge })
	d.see(HostCapable{Capabilities: bridges("br1")})
	order := Received{From: 2, Message: Message{Kind: StartOrder, Datastore: home, VM: uuid.UUID{1}, Order: 5}}
	d.out = nil
	d.see(order)
	answer := take[Send](d)
	for answer.Message.Kind != OrderEnded {
		answer = take[Send](d)
	}
	if answer.To != 2 || answer.Message.OK || answer.Message.Why != "h1 has no network bridge br0" {
		t.Errorf("answer %+v", answer)
	}
	never[ReadMachine](d, "the order is refused")
	d.see(HostCapable{Capabilities: bridges("br0")})
	d.out = nil
	d.see(order)
	take[ReadMachine](d)
}

// The last look at the entry finds needs that it did not have when the start was ordered.
func TestNeedsOfTheLastLook(t *testing.T) {
	d := newDesk(t, nil)
	e := wanted
	d.see(HostCapable{Capabilities: bridges()})
	if why := d.forbidden(guest, &e, needsBridge); why != "h1 has no network bridge br0" {
		t.Errorf("%q", why)
	}
	if why := d.forbidden(guest, &e, poweron.Needs{}); why != "" {
		t.Errorf("a machine of which nothing is known: %q", why)
	}
}

// Views and forecasts say of each host what it lacks.
func TestPlacesSayWhatIsLacking(t *testing.T) {
	d := newDesk(t, nil)
	d.stand()
	d.see(MemoryState{Total: 64 << 30})
	d.see(HostCapable{Capabilities: bridges("br1")})
	d.known(1, "web", func(s *MachineState) { s.Entry.Desired, s.Needs = poweron.Running, needsBridge })
	places, ok := d.Situation().Places(uuid.UUID{1})
	if !ok || places[0].Refusal != "has no network bridge br0" || places[1].Unknown != true || !strings.HasPrefix(places[1].Refusal, "is ") {
		t.Errorf("places %+v", places)
	}
	if v := d.View(d.at); len(v.Hosts[0].Drivers) != 1 || v.Hosts[0].Drivers[0].Name != "process" || v.Hosts[1].Drivers != nil {
		t.Errorf("drivers %+v and %+v", v.Hosts[0].Drivers, v.Hosts[1].Drivers)
	}
}

// A master is told at once when it becomes one, or is another run, and again every minute.
func TestMasterIsToldAgain(t *testing.T) {
	d := newDesk(t, nil)
	d.see(HostCapable{Capabilities: bridges("br0")})
	told := func() (n int) {
		for {
			s, ok := find[Send](d)
			if !ok {
				return n
			}
			if s.Message.Kind == HostHas && s.To == 3 {
				n++
			}
		}
	}
	told()
	d.beats(3, 30, 1)
	told()
	d.tellAt(3)
	if n := told(); n != 1 {
		t.Fatalf("a new master is told %d times", n)
	}
	d.tellAt(3)
	if n := told(); n != 0 {
		t.Fatalf("it is told %d times more", n)
	}
	d.beats(3, 31, 1)
	d.tellAt(3)
	if n := told(); n != 1 {
		t.Fatalf("its next run is told %d times", n)
	}
	d.at = d.at.Add(scanEvery + time.Second)
	d.tellAt(3)
	if n := told(); n != 1 {
		t.Fatalf("after a minute it is told %d times", n)
	}
}

// tellAt has the core look, at this instant, whom to tell.
func (d *desk) tellAt(master datastorehb.HostID) {
	d.Core.now, d.Core.out, d.net.master, d.net.leading = d.at, nil, master, false
	d.tellCapabilities()
	d.out = append(d.out, d.Core.out...)
}
