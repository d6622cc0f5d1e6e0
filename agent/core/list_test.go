package core

import (
	"slices"
	"testing"
	"time"

	"storebeat/datastorehb"
	"storebeat/poweron"
)

// TestPowerOnListThatCanNotBeWritten: it is told once, with the reason, and the
// machine that waits for the list starts once it is written.
func TestPowerOnListThatCanNotBeWritten(t *testing.T) {
	d := newDesk(t, nil)
	d.stand()
	d.see(Received{From: 2, Message: Message{Kind: StartOrder, Datastore: home, VM: guest, Order: 1}})
	take[ReadMachine](d)
	s := generation(0, 0, 0, datastorehb.Writer{})
	s.GenerationState, s.Generation = datastorehb.Absent, poweron.Generation{}
	d.see(MachineRead{Span: d.span(), VM: guest, Purpose: ForStart, Machine: s})
	d.see(GenerationClaimed{Span: d.span(), Generation: take[ClaimGeneration](d).Generation, Outcome: datastorehb.ClaimWon})
	d.kinds()
	var told []Event
	for range 5 {
		failed := d.span()
		failed.Err = "no space left on device"
		d.see(ListWritten{Span: failed, Revision: take[PublishList](d).List.Revision})
		d.wait(timing.Interval / 2)
		if w, ok := find[WriteSlot](d); ok {
			d.see(SlotWritten{Span: d.span(), Sequence: w.Slot.Sequence})
		}
		for e, ok := find[Journal](d); ok; e, ok = find[Journal](d) {
			if e.Event.Rule == "R10" {
				told = append(told, e.Event)
			}
		}
		never[StartMachine](d, "the list is not written (R10)")
	}
	if len(told) != 1 || told[0].Kind != "list-failing" || told[0].Datastore != home || !slices.Contains(told[0].Evidence, "no space left on device") {
		t.Errorf("told in five failures: %+v", told)
	}
	d.see(ListWritten{Span: d.span(), Revision: take[PublishList](d).List.Revision})
	if got := d.kinds(); !slices.Contains(got, "list-recovered") {
		t.Errorf("the list is written, and the events are %v", got)
	}
	d.see(MachineRead{Span: d.span(), VM: guest, Purpose: ForRecheck, Machine: s})
	take[StartMachine](d)
	d.wait(time.Second)
	if got := d.kinds(); slices.Contains(got, "list-recovered") {
		t.Error("told twice")
	}
}
