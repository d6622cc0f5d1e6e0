package core

import (
	"slices"
	"testing"
	"time"
)

// kinds takes the kinds of all events off the desk.
func (d *desk) kinds() (kinds []Kind) {
	for {
		e, ok := find[Journal](d)
		if !ok {
			return kinds
		}
		kinds = append(kinds, e.Event.Kind)
	}
}

// TestSlowIsNoticedWhileItIsSlow: a heartbeat that hangs is told once, before it
// returns, and once more when heartbeats are quick again.
func TestSlowIsNoticedWhileItIsSlow(t *testing.T) {
	d := newDesk(t, nil)
	d.stand()
	d.kinds()
	d.wait(timing.Interval)
	hanging := take[WriteSlot](d)
	d.wait(time.Second)
	if got := d.kinds(); !slices.Contains(got, "datastore-slow") {
		t.Errorf("a heartbeat hangs for 1 s, and the events are %v", got)
	}
	d.wait(500 * time.Millisecond)
	if got := d.kinds(); slices.Contains(got, "datastore-slow") {
		t.Error("told twice")
	}
	d.see(SlotWritten{Span: d.span(), Sequence: hanging.Slot.Sequence})
	if got := d.kinds(); slices.Contains(got, "datastore-recovered") {
		t.Error("a slow heartbeat counts as recovery")
	}
	d.beat()
	if got := d.kinds(); !slices.Contains(got, "datastore-recovered") {
		t.Errorf("a quick heartbeat is no recovery: %v", got)
	}
}
