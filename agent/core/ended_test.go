package core

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"storebeat/datastorehb"
	"storebeat/poweron"
)

// What a user ends with the hypervisor's own tools stays off, whatever the policy
// says of a guest that switches itself off, until a user wants it started.
func TestDestroyedByAUserStaysOff(t *testing.T) {
	d, _ := runs(t)
	m := d.machine(guest)
	m.entry.Policy.OnGuestShutDown = poweron.StartAgain
	entry, revision := m.entry, m.revision
	g := d.released(EndedByUser)
	if g.Reason != poweron.Held {
		t.Fatalf("released as %s", g.Reason)
	}
	if len(d.events("machine-destroyed")) != 1 {
		t.Error("the event is missing")
	}
	if wants, why := poweron.Wants(entry, revision, &g, true); wants {
		t.Errorf("wanted: %s", why)
	}
	if wants, why := poweron.Wants(poweron.AskStart(entry, g.Entry+1), g.Entry+1, &g, true); !wants {
		t.Errorf("a user's start is refused: %s", why)
	}
}

// A machine that a hypervisor has moved, and no agent was asked, may run where nobody cares for it:
// event and state say what to do.
func TestMovedUnasked(t *testing.T) {
	d, _ := runs(t)
	entry, revision := d.machine(guest).entry, d.machine(guest).revision
	g := d.released(EndedByMigration)
	e, remedy := d.events("machine-destroyed"), "storebeat vm protect "+entry.Name
	if len(e) != 1 || !strings.Contains(strings.Join(e[0].Evidence, " "), remedy) {
		t.Errorf("told of it: %+v", e)
	}
	if wants, why := poweron.Wants(entry, revision, &g, true); wants || !strings.Contains(why, remedy) || !strings.Contains(why, "storebeat vm start "+entry.Name) {
		t.Errorf("wanted: %t, %s", wants, why)
	}
}

// A monitor that does not answer is told of, and changes nothing.
func TestSilentMonitor(t *testing.T) {
	d, _ := runs(t)
	d.see(MachineMonitor{VM: guest, Silent: true, Detail: "libvirtd does not answer"})
	if len(d.events("machine-silent")) != 1 || d.machine(guest).phase != phaseRun {
		t.Errorf("the machine is %s", d.machine(guest).phase)
	}
	d.see(MachineMonitor{VM: guest})
	if len(d.events("machine-answers")) != 1 {
		t.Error("the event is missing")
	}
}

// What a hypervisor tells of a guest is journaled, and changes nothing; what it tells of
// an earlier process is not taken for news of this one.
func TestIncidents(t *testing.T) {
	d, _ := runs(t)
	process := d.machine(guest).process
	for kind := range incidents {
		d.see(MachineIncident{VM: guest, Generation: process, Kind: kind, Detail: "said so"})
		d.see(MachineIncident{VM: guest, Generation: process + 1, Kind: kind})
		if e := d.events(kind); len(e) != 1 || len(e[0].Evidence) != 1 || !strings.Contains(e[0].Text, "guest") {
			t.Errorf("%s: %+v", kind, e)
		}
		if _, ok := AboutKind(kind); !ok {
			t.Errorf("%s has no row in the table of kinds.go", kind)
		}
	}
	d.see(MachineIncident{VM: guest, Generation: process, Kind: "guest-sunrise"})
	if d.machine(guest).phase != phaseRun {
		t.Errorf("the machine is %s", d.machine(guest).phase)
	}
}

// How a machine ended while no agent was there counts as if one had seen it; of what is not
// known the generation is given up, for anybody to start the machine.
func TestEndedWhileNoAgentWasThere(t *testing.T) {
	for name, c := range map[string]struct {
		past MachineGone
		want poweron.ReleaseReason
	}{
		"by a user":             {MachineGone{VM: guest, Generation: 1, Ending: EndedByUser}, poweron.Held},
		"by its guest":          {MachineGone{VM: guest, Generation: 1, Ending: EndedByGuest}, poweron.GuestShutDown},
		"moved, unasked":        {MachineGone{VM: guest, Generation: 1, Ending: EndedByMigration}, poweron.Held},
		"nobody knows":          {MachineGone{}, poweron.Abandoned},
		"an older run is known": {MachineGone{VM: guest, Generation: 0, Ending: EndedByUser}, poweron.Abandoned},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, func(cfg *Config) { cfg.Past = []MachineGone{c.past} })
			d.stand()
			d.see(CatalogueRead{Span: d.span(), Machines: map[uuid.UUID]MachineState{guest: generation(1, 1, 1, writer(1))}})
			if g := take[ClaimGeneration](d).Generation; g.Kind != poweron.Released || g.Reason != c.want || g.Number != 2 {
				t.Errorf("claimed %+v, want a release as %s", g, c.want)
			}
		})
	}
}

// A guest that switched itself off while no agent was there ends as the next agent comes,
// which may not have read yet under which generation it ran.
func TestEndedBeforeItWasLookedUp(t *testing.T) {
	d := newDesk(t, func(cfg *Config) { cfg.Found = []FoundMachine{{VM: guest, Generation: 1, Datastore: home}} })
	d.see(MachineGone{VM: guest, Generation: 1, Ending: EndedByGuest, Detail: "the guest switched itself off"})
	d.stand()
	d.see(CatalogueRead{Span: d.span(), Machines: map[uuid.UUID]MachineState{guest: generation(1, 1, 1, writer(1))}})
	if g := take[ClaimGeneration](d).Generation; g.Kind != poweron.Released || g.Reason != poweron.GuestShutDown || g.Number != 2 {
		t.Errorf("claimed %+v, want a release by the guest's own will", g)
	}
	if len(d.events("guest-shut-down")) != 1 {
		t.Error("the event is missing")
	}
}

// A machine that crashed while no agent was there is started again on the spot, as its
// policy says.
func TestCrashedWhileNoAgentWasThere(t *testing.T) {
	d := newDesk(t, func(cfg *Config) { cfg.Past = []MachineGone{{VM: guest, Generation: 1, Ending: EndedByCrash}} })
	d.stand()
	d.see(CatalogueRead{Span: d.span(), Machines: map[uuid.UUID]MachineState{guest: generation(1, 1, 1, writer(1))}})
	if m := d.machine(guest); m == nil || m.phase != phaseSpot || m.failures != 1 {
		t.Errorf("the machine is %+v", m)
	}
}

// A process shows the generation that it was started under. How it ended is known as well when the
// machine was claimed anew for it since, or was left to this host after a migration, by an earlier
// run of the agent in this boot; of a machine that was started again since it says nothing.
func TestEndedUnderALaterGeneration(t *testing.T) {
	forerunner, boot := writer(1), writer(1)
	forerunner.Incarnation, boot.Boot, boot.Incarnation = 99, uuid.UUID{9}, 98
	for name, c := range map[string]struct {
		newest MachineState
		want   poweron.ReleaseReason
	}{
		"claimed anew":        {generation(4, 1, 1, forerunner), poweron.Held},
		"left to this host":   {left(6, forerunner), poweron.Held},
		"started since":       {generation(5, 1, 1, forerunner), poweron.Abandoned},
		"by this run":         {generation(4, 1, 1, writer(1)), poweron.Abandoned},
		"in another boot":     {generation(4, 1, 1, boot), poweron.Abandoned},
		"left, another boot":  {left(6, boot), poweron.Abandoned},
		"an older generation": {generation(2, 1, 1, forerunner), poweron.Abandoned},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, func(cfg *Config) { cfg.Past = []MachineGone{{VM: guest, Generation: 3, Ending: EndedByUser}} })
			d.stand()
			d.see(CatalogueRead{Span: d.span(), Machines: map[uuid.UUID]MachineState{guest: c.newest}})
			if g := take[ClaimGeneration](d).Generation; g.Kind != poweron.Released || g.Reason != c.want {
				t.Errorf("claimed %+v, want a release as %s", g, c.want)
			}
		})
	}
}

// left is a machine that host 2 has left to host 1 after a migration.
func left(number uint64, holder datastorehb.Writer) MachineState {
	s := generation(number, 1, 1, writer(2))
	s.Generation.Holder = holder
	return s
}
