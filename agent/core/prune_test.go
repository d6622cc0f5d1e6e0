package core

import (
	"testing"
	"time"

	"storebeat/datastorehb"
)

// Old values go only after the holder of a newer one has held it for long (R2),
// once, and the newest three stay.
func TestPrune(t *testing.T) {
	d := newDesk(t, nil)
	f := d.stand()
	f.own.Number, f.own.First = 9, 9
	prune := func() (all []Prune) {
		d.out, d.now = nil, d.at
		d.Core.out = nil
		d.prune(f)
		for _, e := range d.Core.out {
			all = append(all, e.(Prune))
		}
		return all
	}
	live := func(after time.Duration) {
		d.at = d.at.Add(after)
		f.lease = datastorehb.NewLease(9, d.at, timing.Lease)
	}
	live(0)
	if got := prune(); len(got) != 0 {
		t.Fatalf("removed at once: %+v", got)
	}
	live(pruneAfter - 1)
	if got := prune(); len(got) != 0 {
		t.Fatalf("removed too early: %+v", got)
	}
	live(1)
	want := Prune{Datastore: home, Register: datastorehb.TermsOf(1), Below: 7}
	if got := prune(); len(got) != 1 || got[0] != want {
		t.Fatalf("%+v, want %+v", got, want)
	}
	live(pruneAfter)
	if got := prune(); len(got) != 0 {
		t.Fatalf("removed again: %+v", got)
	}
	f.own.Number = 10
	live(0)
	if got := prune(); len(got) != 0 {
		t.Fatalf("a newer term has just been won: %+v", got)
	}
	live(timing.Lease)
	d.at = d.at.Add(timing.Lease + pruneAfter)
	if got := prune(); len(got) != 0 {
		t.Fatalf("removed without a lease: %+v", got)
	}
}
