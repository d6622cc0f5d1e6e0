package core

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"storebeat/datastorehb"
	"storebeat/poweron"
)

// redefine has a user of the hypervisor change the guest's definition and name, while the
// datastore says what is given.
func redefine(t *testing.T, on MachineState, name string) *desk {
	t.Helper()
	d := newDesk(t, nil)
	d.stand()
	other := generation(1, 2, 1, writer(2))
	other.Entry.VM, other.Entry.Name = uuid.UUID{15: 9}, "taken"
	other.Generation.VM = other.Entry.VM
	d.see(CatalogueRead{Span: d.span(), Machines: map[uuid.UUID]MachineState{guest: on, other.Entry.VM: other}})
	changed := wanted
	changed.Name, changed.Definition, changed.Memory = name, []byte("changed"), 2<<20
	changed.Policy.Priority, changed.Desired = 5, poweron.Stopped // read a while ago, and not what is changed
	d.see(Command{ID: 7, Verb: Redefine, VM: guest.String(), Datastore: home, Entry: changed})
	d.see(MachineRead{Span: d.span(), VM: guest, Purpose: ForCommand, Machine: on})
	return d
}

// What a user changes with the hypervisor's own tools is recorded, and nothing else with it.
func TestRedefine(t *testing.T) {
	d := redefine(t, generation(1, 2, 1, writer(2)), "renamed")
	claim := take[ClaimEntry](d)
	want := wanted
	want.Name, want.Definition, want.Memory = "renamed", []byte("changed"), 2<<20
	if e := claim.Entry; e.Name != want.Name || string(e.Definition) != "changed" || e.Memory != want.Memory || e.Policy != want.Policy || e.Desired != want.Desired {
		t.Errorf("claimed %+v, want %+v", e, want)
	}
	d.see(EntryClaimed{Span: d.span(), Revision: claim.Revision, Entry: claim.Entry, Outcome: datastorehb.ClaimWon})
	if len(d.events("definition-changed")) != 1 {
		t.Error("the event is missing")
	}
}

func TestRedefineIsRefused(t *testing.T) {
	unprotected := generation(1, 2, 1, writer(2))
	unprotected.Entry.Protected = false
	for name, c := range map[string]struct {
		on   MachineState
		name string
		want string
	}{
		"the name is another machine's": {generation(1, 2, 1, writer(2)), "taken", "the name taken is taken by"},
		"the name is none":              {generation(1, 2, 1, writer(2)), "-x", "name"},
		"it is not protected any more":  {unprotected, "renamed", "not protected any more"},
	} {
		t.Run(name, func(t *testing.T) {
			d := redefine(t, c.on, c.name)
			never[ClaimEntry](d, "it must be refused")
			if r := take[Reply](d); r.Command != 7 || !strings.Contains(r.Err, c.want) {
				t.Errorf("answered %+v, want %q", r, c.want)
			}
		})
	}
}
