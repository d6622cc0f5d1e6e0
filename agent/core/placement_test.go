package core

import (
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
	return d.forbidden(guest, &e)
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
