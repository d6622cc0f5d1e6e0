package agent

import (
	"testing"

	"github.com/google/uuid"

	"storebeat/agent/config"
	"storebeat/agent/core"
)

func TestRememberProtected(t *testing.T) {
	a := &Agent{cfg: &config.Config{StateDirectory: t.TempDir()}}
	one, two := uuid.New(), uuid.New()
	view := func(scanned bool, vms ...uuid.UUID) *core.View {
		v := &core.View{Datastores: []core.DatastoreView{{Scanned: true}, {Scanned: scanned}}}
		for _, vm := range vms {
			v.Machines = append(v.Machines, core.MachineView{VM: vm, Protected: true})
		}
		return v
	}
	known := func(what string, wantOne, wantTwo bool) {
		t.Helper()
		dir := a.cfg.StateDirectory
		if gotOne, gotTwo := KnownProtected(dir, one), KnownProtected(dir, two); gotOne != wantOne || gotTwo != wantTwo {
			t.Errorf("%s: %v, %v; want %v, %v", what, gotOne, gotTwo, wantOne, wantTwo)
		}
	}
	remember := func(v *core.View) {
		t.Helper()
		if err := a.rememberProtected(v); err != nil {
			t.Fatal(err)
		}
	}
	known("at first", false, false)
	remember(view(true, one))
	known("one is protected", true, false)
	remember(view(false, two))
	known("a datastore has not been read", true, true)
	remember(view(true, two))
	known("all have been read", false, true)
}

func TestOnlyWhatIsBeingStartedIsBusy(t *testing.T) {
	ms := &machines{busy: map[uuid.UUID][]uint64{}}
	vm := uuid.New()
	first, second := ms.busyWith(vm, 3), ms.busyWith(vm, 0)
	if !ms.starting(vm, 3) || ms.starting(vm, 2) || ms.starting(vm, 0) || ms.absent(vm) {
		t.Error("generation 3 is being started, and no other")
	}
	first()
	if ms.starting(vm, 3) || ms.absent(vm) {
		t.Error("the start was given up, and a process is being ended")
	}
	second()
	if !ms.absent(vm) {
		t.Error("nothing is under way")
	}
}
