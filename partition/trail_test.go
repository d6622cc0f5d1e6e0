package partition

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"storebeat/datastorehb"
)

func slotRead(sequence uint64) *datastorehb.SlotReading {
	return &datastorehb.SlotReading{Host: 3, State: datastorehb.Valid,
		Slot: datastorehb.Slot{Writer: datastorehb.Writer{Host: 3, Incarnation: 7}, Sequence: sequence}}
}

func TestTrail(t *testing.T) {
	var trail Trail
	check := func(what string, want DatastoreEvidence) {
		t.Helper()
		var got DatastoreEvidence
		trail.Fill(&got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	check("nothing read", DatastoreEvidence{Why: "nothing was read yet"})
	trail.Observe(at(1), at(1.5), slotRead(1), false)
	check("the first read shows no change", DatastoreEvidence{Slot: datastorehb.Valid, ReadSince: at(1.5)})
	trail.Observe(at(4), at(4.5), slotRead(1), false)
	check("silence runs from return to issue", DatastoreEvidence{Slot: datastorehb.Valid, ReadSince: at(1.5), SlotSilence: 2500 * time.Millisecond, Silence: 2500 * time.Millisecond})
	trail.Observe(at(5), at(5.5), slotRead(1), true)
	check("alive without a change is a vouch", DatastoreEvidence{Slot: datastorehb.Valid, ReadSince: at(1.5),
		SlotSilence: 3500 * time.Millisecond, Vouched: true, VouchedAt: at(5.5)})
	trail.Observe(at(5.8), at(5.9), slotRead(1), false)
	check("silence after a vouch runs from that", DatastoreEvidence{Slot: datastorehb.Valid, ReadSince: at(1.5),
		SlotSilence: 4300 * time.Millisecond, Silence: 300 * time.Millisecond, Vouched: true, VouchedAt: at(5.5)})
	trail.Observe(at(6), at(6), slotRead(2), true)
	changed := DatastoreEvidence{Slot: datastorehb.Valid, ReadSince: at(1.5), Changed: true, ChangedAt: at(6), Vouched: true, VouchedAt: at(5.5)}
	check("a change", changed)
	trail.Fail(at(7), "timed out")
	trail.Fail(at(8), "input/output error")
	changed.Slot, changed.ReadSince, changed.Why = datastorehb.Unreadable, at(7), "input/output error"
	check("reads fail", changed)
	trail.Observe(at(9), at(9), slotRead(2), false)
	changed.Slot, changed.ReadSince, changed.Why = datastorehb.Valid, at(9), ""
	check("unchanged over the failure: silence anew, no change", changed)
	trail.Restart()
	trail.Observe(at(20), at(20), slotRead(3), false)
	changed.ChangedAt = at(20)
	check("changed over a pause of this host", changed)
	trail.Observe(at(21), at(21), &datastorehb.SlotReading{Host: 3, State: datastorehb.Absent}, false)
	changed.Slot = datastorehb.Absent
	check("vanished: no sign of life", changed)
	trail.Observe(at(22), at(22), &datastorehb.SlotReading{Host: 3, State: datastorehb.Corrupt, Sum: 5}, false)
	trail.Observe(at(23), at(23), &datastorehb.SlotReading{Host: 3, State: datastorehb.Corrupt, Sum: 6}, false)
	changed.Slot, changed.ChangedAt = datastorehb.Corrupt, at(23)
	check("a corrupt slot that changes", changed)
	trail.Observe(at(24), at(24), &datastorehb.SlotReading{Host: 3}, false)
	changed.Slot, changed.ReadSince, changed.Why = datastorehb.Unreadable, at(24), "the slot could not be read"
	check("one slot that could not be read", changed)
}
