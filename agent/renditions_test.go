package agent

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/hypervisor"
)

// changed asks, and wants no error.
func changed(t *testing.T, r *renditions, vm uuid.UUID, definition, kept string) bool {
	t.Helper()
	is, err := r.changed(vm, []byte(definition), kept)
	if err != nil {
		t.Fatal(err)
	}
	return is
}

// A change is told by what the hypervisor kept before, also when the agent was restarted
// since; until it is stored, it is told again.
func TestChangesAreToldUntilTheyAreStored(t *testing.T) {
	dir, vm := t.TempDir(), uuid.New()
	r := newRenditions(dir)
	if changed(t, r, vm, "one", "kept") {
		t.Error("what is seen for the first time was changed")
	}
	r = newRenditions(dir)
	for range 2 {
		if !changed(t, r, vm, "one", "kept otherwise") {
			t.Error("a change is not told")
		}
	}
	if err := r.same(vm, []byte("two"), "kept otherwise"); err != nil {
		t.Fatal(err)
	}
	if changed(t, newRenditions(dir), vm, "two", "kept otherwise") {
		t.Error("a change is told that is stored")
	}
	if changed(t, r, vm, "three", "kept elsewhere") {
		t.Error("a definition that came from elsewhere is taken for a change made here")
	}
}

// What a user changes between being read and being looked at for the first time is a change.
func TestChangedSinceItWasRead(t *testing.T) {
	vm := uuid.New()
	r := newRenditions(t.TempDir())
	r.exported(&hypervisor.Guest{VM: vm, Definition: []byte("one"), Digest: "kept"})
	for range 2 {
		if !changed(t, r, vm, "one", "kept otherwise") {
			t.Error("a change is not told")
		}
	}
	if changed(t, r, vm, "one", "kept") {
		t.Error("a change is told that was taken back")
	}
}

func TestForgottenRendition(t *testing.T) {
	dir, vm := t.TempDir(), uuid.New()
	r := newRenditions(dir)
	changed(t, r, vm, "one", "kept")
	for range 2 {
		if err := r.forget(vm); err != nil {
			t.Fatal(err)
		}
	}
	if r.knows(vm) || newRenditions(dir).knows(vm) {
		t.Error("it is known still")
	}
}

// The local disk may hang. Who only wants to know what is known, as a start does, does not wait
// for it; and what was learnt meanwhile is written once it answers.
func TestRenditionsOnADiskThatHangs(t *testing.T) {
	dir, vm := t.TempDir(), uuid.New()
	r := newRenditions(dir)
	r.writing.Lock() // as a write does that hangs
	learnt := make(chan error)
	go func() { _, err := r.changed(vm, []byte("one"), "kept"); learnt <- err }()
	for deadline := time.Now().Add(time.Minute); !r.knows(vm); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("what is known can't be had while a write hangs")
		}
	}
	r.writing.Unlock()
	if err := <-learnt; err != nil {
		t.Fatal(err)
	}
	if !newRenditions(dir).knows(vm) {
		t.Error("it is not written")
	}
}
