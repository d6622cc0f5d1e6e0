package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"

	"storebeat/agent/config"
	"storebeat/agent/core"
	"storebeat/agent/hypervisor"
)

// stubborn is a machine whose monitor answers the third time.
type stubborn struct {
	hypervisor.Machine
	asked chan string
	tries int
}

func (s *stubborn) Done() <-chan struct{} { return nil }

func (s *stubborn) Halt(_ context.Context, note func() error) error {
	err := note()
	s.asked <- "halt"
	return err
}

func (s *stubborn) Resume(context.Context) error {
	if s.tries++; s.tries < 3 {
		s.asked <- "in vain"
		return errors.New("its monitor can't be reached")
	}
	s.asked <- "resume"
	return nil
}

// A guest that was halted is told to go on until it does, by this agent or the next one, which
// finds the mark; one that was not halted is left alone.
func TestHaltAndResume(t *testing.T) {
	vm := uuid.UUID{1}
	a := &Agent{cfg: &config.Config{RunDirectory: t.TempDir()}, log: hclog.NewNullLogger()}
	s := &stubborn{asked: make(chan string, 10)}
	ms := &machines{agent: a, running: map[uuid.UUID]*machine{vm: {Machine: s, vm: vm, generation: 3}}}
	if err := os.MkdirAll(filepath.Dir(ms.haltMark(vm, 3)), 0o700); err != nil {
		t.Fatal(err)
	}
	ms.resume(core.ResumeGuests{VMs: []uuid.UUID{vm, {2}}})
	ms.halt(core.HaltGuests{VMs: []uuid.UUID{vm, {2}}})
	if first := <-s.asked; first != "halt" || !ms.wasHalted(vm, 3) || ms.wasHalted(vm, 2) {
		t.Fatalf("first %s, marked %v", first, ms.wasHalted(vm, 3))
	}
	ms.resume(core.ResumeGuests{VMs: []uuid.UUID{vm}})
	for _, want := range []string{"in vain", "in vain", "resume"} {
		if got := <-s.asked; got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	}
	ms.awaitOrders()
	if ms.wasHalted(vm, 3) {
		t.Error("the mark is there still")
	}
}
