package core

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"storebeat/datastorehb"
	"storebeat/poweron"
)

// An entry may change between the order and the start: the last look at it finds
// a rule that keeps the machine off this host, and the host hands it back.
func TestRuleThatCameMeanwhileKeepsAMachineOff(t *testing.T) {
	d := ordered(t)
	take[ReadMachine](d)
	d.see(MachineRead{Span: d.span(), VM: guest, Purpose: ForClaim, Machine: generation(3, 2, 4, writer(2))})
	claim := take[ClaimGeneration](d).Generation
	d.see(GenerationClaimed{Span: d.span(), Generation: claim, Outcome: datastorehb.ClaimWon})
	d.wait(time.Second)
	published := take[PublishList](d)
	d.see(ListWritten{Span: d.span(), Revision: published.List.Revision})
	changed := generation(4, 1, claim.Term, writer(1))
	changed.Entry.Rules.Must.Hosts, changed.Revision = []datastorehb.HostID{2, 3}, 2
	d.see(MachineRead{Span: d.span(), VM: guest, Purpose: ForRecheck, Machine: changed})
	never[StartMachine](d, "the rules of the machine do not allow this host")
	release := take[ClaimGeneration](d).Generation
	if release.Kind != poweron.Released || release.Reason != poweron.HandedOver || release.Failures != 0 || release.Entry != 2 {
		t.Errorf("released as %+v", release)
	}
	for {
		sent, ok := find[Send](d)
		if !ok {
			t.Fatal("the master is not told")
		}
		if sent.Message.Kind == OrderEnded {
			if sent.To != 3 || sent.Message.OK || sent.Message.Why != "the rules of guest do not allow h1" {
				t.Errorf("the master is told %+v", sent)
			}
			return
		}
	}
}

// forbiddenBy is a desk with one machine, and why it keeps the guest off.
func forbiddenBy(t *testing.T, phase machinePhase, here, there poweron.Rules) string {
	d := newDesk(t, nil)
	f := d.stand()
	here.Groups, there.Groups = []string{"web"}, []string{"db"}
	d.addMachine(&machine{vm: uuid.UUID{1}, home: f, phase: phase, entry: poweron.Entry{Name: "web-1", Rules: here}})
	e := wanted
	e.Rules = there
	return d.forbidden(guest, &e, poweron.Needs{})
}

func TestForbidden(t *testing.T) {
	shuns := func(name string) poweron.Rules { return poweron.Rules{Must: poweron.Affinity{Apart: []string{name}}} }
	on := func(h datastorehb.HostID) poweron.Rules {
		return poweron.Rules{Must: poweron.Affinity{Hosts: []datastorehb.HostID{h}}}
	}
	for _, tt := range []struct {
		name        string
		phase       machinePhase
		here, there poweron.Rules
		want        string // a part of it, "" when nothing forbids it
	}{
		{"no rule", phaseRun, poweron.Rules{}, poweron.Rules{}, ""},
		{"apart by its own rule", phaseRun, poweron.Rules{}, shuns("web"), "web-1 is on h1, and rules keep it apart from guest (web)"},
		{"apart by the other's rule", phaseRun, shuns("guest"), poweron.Rules{}, "apart from guest (guest)"},
		{"apart from one that is being started", phaseClaim, shuns("db"), poweron.Rules{}, "(db)"},
		{"apart from one that is gone", phaseRelease, shuns("db"), poweron.Rules{}, ""},
		{"apart from a frozen one that another host has taken", phasePutDown, shuns("db"), poweron.Rules{}, ""},
		{"apart from another", phaseRun, shuns("cache"), poweron.Rules{}, ""},
		{"soft", phaseRun, poweron.Rules{Prefer: shuns("db").Must}, poweron.Rules{}, ""},
		{"on this host", phaseRun, poweron.Rules{}, on(1), ""},
		{"on another host", phaseRun, poweron.Rules{}, on(2), "do not allow h1"},
	} {
		if got := forbiddenBy(t, tt.phase, tt.here, tt.there); tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// What runs here when the agent starts has rules that are not known before its entry has been
// read, which takes a lease at most: then it is frozen.
func TestForbiddenByWhatWasFoundRunning(t *testing.T) {
	d := newDesk(t, nil)
	f := d.stand()
	found := d.addMachine(&machine{vm: uuid.UUID{1}, home: f, phase: phaseAdopt})
	e := wanted
	if why := d.forbidden(guest, &e, poweron.Needs{}); why != "" {
		t.Errorf("a machine without rules: %s", why)
	}
	e.Rules.Groups = []string{"db"}
	if why := d.forbidden(guest, &e, poweron.Needs{}); !strings.Contains(why, "rules have not been read yet") {
		t.Errorf("a machine of a group: %q", why)
	}
	found.frozen = true
	if why := d.forbidden(guest, &e, poweron.Needs{}); why != "" {
		t.Errorf("beside a frozen one: %s", why)
	}
}

// known puts a machine into the catalogue, protected and stopped unless changed.
func (d *desk) known(n byte, name string, change func(*MachineState)) {
	vm := uuid.UUID{n}
	s := MachineState{EntryState: datastorehb.Valid, Entry: wanted, Revision: 1, GenerationState: datastorehb.Absent}
	s.Entry.VM, s.Entry.Name, s.Entry.Desired, s.Entry.Definition = vm, name, poweron.Stopped, []byte("x")
	if change != nil {
		change(&s)
	}
	d.footing(home).learn(vm, s, d.at, true)
}

// asks gives a command to the core and returns the answer; what it reads is what
// the catalogue knows, and every claim is won.
func (d *desk) asks(cmd Command) Reply {
	d.Helper()
	cmd.ID = 7
	d.out = nil
	d.see(cmd)
	for range 5 {
		if r, ok := find[Reply](d); ok {
			return r
		}
		if read, ok := find[ReadMachine](d); ok {
			s := MachineState{EntryState: datastorehb.Absent, GenerationState: datastorehb.Absent}
			if i := d.footing(home).info(read.VM); i != nil {
				s = i.MachineState
			}
			d.see(MachineRead{Span: d.span(), VM: read.VM, Purpose: read.Purpose, Machine: s})
		}
		if claim, ok := find[ClaimEntry](d); ok {
			d.see(EntryClaimed{Span: d.span(), Revision: claim.Revision, Entry: claim.Entry, Outcome: datastorehb.ClaimWon})
		}
	}
	d.Fatal("no answer")
	return Reply{}
}

func (d *desk) protects(n byte, name string, rules poweron.Rules) Reply {
	e := wanted
	e.VM, e.Name, e.Rules, e.Definition = uuid.UUID{n}, name, rules, []byte("x")
	return d.asks(Command{Verb: Protect, Datastore: home, Entry: e})
}

func TestRulesThatContradictEachOtherAreRefused(t *testing.T) {
	shun, seek := poweron.Rules{Must: poweron.Affinity{Apart: []string{"b"}}}, []string{"a"}
	d := newDesk(t, nil)
	d.stand()
	d.known(1, "a", func(s *MachineState) { s.Entry.Rules = shun })
	d.known(2, "b", nil)
	r := d.asks(Command{Verb: Set, VM: "b", Change: poweron.Change{Must: poweron.AffinityChange{Together: &seek}}})
	if want := "the rules of b can't be met: a and b must be apart, and b and a must be together: change one of them"; r.Err != want {
		t.Errorf("vm set: %q, want %q", r.Err, want)
	}
	r = d.protects(2, "b", poweron.Rules{Must: poweron.Affinity{Together: seek}})
	if !strings.Contains(r.Err, "must be apart") {
		t.Errorf("vm protect: %+v", r)
	}
	r = d.protects(3, "c", poweron.Rules{Must: poweron.Affinity{Hosts: []datastorehb.HostID{9}}})
	if !strings.Contains(r.Err, "c must run on host 9, which the cluster does not have") {
		t.Errorf("a host that there is not: %+v", r)
	}
	// What came to contradict is shown, and stands in the way of no other change.
	d.known(4, "d", func(s *MachineState) { s.Entry.Rules.Must.Hosts = []datastorehb.HostID{9} })
	if r := d.asks(Command{Verb: Start, VM: "d"}); r.Err != "" {
		t.Errorf("vm start: %+v", r)
	}
	one := 1
	if r := d.asks(Command{Verb: Set, VM: "d", Change: poweron.Change{Policy: poweron.PolicyChange{Priority: &one}}}); r.Err != "" || d.footing(home).info(uuid.UUID{4}).Entry.Policy.Priority != 1 {
		t.Errorf("vm set --priority: %+v", r)
	}
	for _, m := range d.View(d.at).Machines {
		if (len(m.Conflicts) == 1) != (m.Name == "d") {
			t.Errorf("conflicts of %s: %q", m.Name, m.Conflicts)
		}
	}
}

func TestNamesThatMeanNobodyAreTold(t *testing.T) {
	d := newDesk(t, nil)
	d.stand()
	d.known(1, "a", func(s *MachineState) { s.Entry.Rules.Groups = []string{"web"} })
	names := []string{"web", "wbe", "a", "bb"}
	r := d.asks(Command{Verb: Set, VM: "a", Change: poweron.Change{Prefer: poweron.AffinityChange{Apart: &names}}})
	if r.Err == "" {
		t.Errorf("a rule that names the machine itself: %+v", r)
	}
	names = slices.Delete(names, 2, 3)
	r = d.asks(Command{Verb: Set, VM: "a", Change: poweron.Change{Prefer: poweron.AffinityChange{Apart: &names}}})
	if want := "set a: recorded on ds1 as revision 2; no machine or group is called wbe or bb so far"; r.Text != want {
		t.Errorf("%+v, want %q", r, want)
	}
}

// A new machine must not get the name of one that was taken off the list and
// still runs: it would be taken for the same one, and run beside it.
func TestNameOfAMachineThatStillRunsIsTaken(t *testing.T) {
	for name, tt := range map[string]struct {
		number uint64 // of its generation, held by host 2; 0 for none
		taken  bool
	}{"runs": {3, true}, "never ran": {0, false}} {
		d := newDesk(t, nil)
		d.stand()
		d.known(1, "a", func(s *MachineState) {
			s.Entry.Protected = false
			if tt.number > 0 {
				s.GenerationState = datastorehb.Valid
				s.Generation = poweron.Generation{VM: uuid.UUID{1}, Number: tt.number, Kind: poweron.Run, Owner: 2, Term: 4, Entry: 1}
			}
		})
		if r := d.protects(2, "a", poweron.Rules{}); (r.Err != "") != tt.taken || tt.taken && !strings.Contains(r.Err, "still runs on h2") {
			t.Errorf("%s: %+v", name, r)
		}
		if !tt.taken {
			continue
		}
		if r := d.protects(1, "a", poweron.Rules{}); r.Err != "" {
			t.Errorf("%s: the same machine protected again: %+v", name, r)
		}
	}
}

// Starting a machine puts it back on the list, where its name may be another's by now.
func TestStartGivesNoNameTwice(t *testing.T) {
	d := newDesk(t, nil)
	d.stand()
	d.known(1, "a", func(s *MachineState) { s.Entry.Protected = false })
	d.known(2, "a", nil)
	if r := d.asks(Command{Verb: Start, VM: uuid.UUID{1}.String()}); !strings.Contains(r.Err, "the name a is taken by machine") {
		t.Errorf("%+v", r)
	}
}

// TestBringBack: a machine that was kept for its host starts there, waits while that
// host can't run it yet, and goes elsewhere when a rule keeps it off a host that could.
func TestBringBack(t *testing.T) {
	home, vm, other := uuid.UUID{1}, uuid.UUID{2}, uuid.UUID{3}
	ready := poweron.Host{ID: 1, Name: "alpha", Live: true, Memory: 1 << 30, Datastores: []uuid.UUID{home}}
	second := ready
	second.ID, second.Name = 2, "beta"
	booting := ready
	booting.Datastores = nil
	apart := poweron.Rules{Must: poweron.Affinity{Apart: []string{"other"}}}
	for name, c := range map[string]struct {
		alpha poweron.Host
		rules poweron.Rules
		want  datastorehb.HostID
	}{
		"at home":           {ready, poweron.Rules{}, 1},
		"not yet":           {booting, poweron.Rules{}, 0},
		"a rule in the way": {ready, apart, 2},
	} {
		m := poweron.Machine{VM: vm, Name: "vm", Home: home, Memory: 1 << 20, Rules: c.rules}
		hosts := []poweron.Host{c.alpha, second}
		bringBack(&m, 1, hosts)
		r := poweron.Plan(poweron.Input{Starts: 4, Machines: []poweron.Machine{m}, Hosts: hosts, Present: []poweron.Resident{{VM: other, Name: "other", Host: 1}}})
		got := datastorehb.HostID(0)
		if len(r.Placements) > 0 {
			got = r.Placements[0].Host
		}
		if got != c.want {
			t.Errorf("%s: on host %d, want %d: %+v", name, got, c.want, r)
		}
	}
}
