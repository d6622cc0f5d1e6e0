package libvirt

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"storebeat/agent/hypervisor"
)

func TestMovementInStates(t *testing.T) {
	for text, want := range map[string][2]hypervisor.MovementKind{ // of a process that receives, and of another one
		"running (migrated)":        {hypervisor.Settled, hypervisor.Settled},
		"running (post-copy)":       {hypervisor.Settled, hypervisor.Settled},
		"paused (user)":             {hypervisor.Settled, hypervisor.Settled},
		"paused (I/O error)":        {hypervisor.Settled, hypervisor.Settled},
		"paused (migrating)":        {hypervisor.Receiving, hypervisor.HandedOver},
		"paused (post-copy)":        {hypervisor.Receiving, hypervisor.HandedOver},
		"paused (post-copy failed)": {hypervisor.Receiving, hypervisor.HandedOver},
		"paused (starting up)":      {hypervisor.Receiving, hypervisor.Settled},
		"shut off (failed)":         {hypervisor.Receiving, hypervisor.Settled},
		"no state":                  {hypervisor.Receiving, hypervisor.Settled},
	} {
		s, err := parseState(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]hypervisor.MovementKind{s.movement(true), s.movement(false)}; got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

// Of what libvirt says of a machine that moves, the newest word waits to be taken; that a
// process receives is remembered until the guest is seen in it.
func TestMovementsAreTold(t *testing.T) {
	m := newMachine(nil, uuid.New(), "web")
	m.movement.receiving = filepath.Join(t.TempDir(), receivingFile)
	if err := os.WriteFile(m.movement.receiving, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	file := m.movement.receiving
	say := func(s state, asked int, want hypervisor.MovementKind) {
		t.Helper()
		m.tellMovement(s, 1)
		m.tellMovement(s, 2)
		select {
		case w := <-m.Movements():
			if w.Kind != want || int(w.Asked) != asked {
				t.Errorf("%s: told %+v", s, w)
			}
		default:
			if want != 0 {
				t.Errorf("%s: nothing was told", s)
			}
		}
	}
	moving, running := state{paused, "migrating"}, state{"running", ""}
	say(moving, 2, hypervisor.Receiving)
	if _, err := os.Stat(file); err != nil {
		t.Errorf("the guest has not come: %v", err)
	}
	say(running, 1, hypervisor.Settled)
	if _, err := os.Stat(file); err == nil {
		t.Error("the guest has come")
	}
	say(running, 0, 0)
	say(moving, 2, hypervisor.HandedOver)
	say(running, 1, hypervisor.Settled)
	say(running, 0, 0)
}

// Only a QEMU that waits for the memory of this very domain is received.
func TestReceivesNoOtherProcess(t *testing.T) {
	spec := hypervisor.Spec{VM: uuid.New(), RunDir: t.TempDir(), Generation: 3}
	if _, err := New("").Receive(t.Context(), spec, os.Getpid()); err == nil {
		t.Error("this test was received")
	}
	if all, err := os.ReadDir(spec.RunDir); err != nil || len(all) > 0 {
		t.Errorf("it left %v, %v", all, err)
	}
}
