package freeze

import (
	"testing"
	"time"

	"storebeat/test/stuck"
)

// TestHungProcessIsFrozenAndHoldsNothingUp freezes a process that hangs with its
// memory locked, so that much of /proc can't be read of it, and one that does not.
func TestHungProcessIsFrozenAndHoldsNothingUp(t *testing.T) {
	storage := stuck.New(t)
	var handles []Handle
	for range 2 {
		h, err := Of(storage.Process(), "")
		if err != nil {
			t.Fatal(err)
		}
		handles = append(handles, h)
	}
	storage.Hang()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, h := range handles {
			if err := h.Freeze(); err != nil {
				t.Error(err)
			}
			if pending, err := h.IOPending(); err != nil || !pending {
				t.Errorf("its I/O is under way: %v, %v", pending, err)
			}
		}
		for frozen := 0; frozen < len(handles) && t.Context().Err() == nil; time.Sleep(time.Millisecond) {
			frozen = 0
			for _, s := range States(handles) {
				if s.Err == nil && s.State == Frozen {
					frozen++
				}
			}
		}
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("the freeze hangs with what it is to freeze, or is not seen")
	}
}
