package datastorehb

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// reseal lets the fuzzer past the checksum, or it would never get beyond it.
func reseal(b []byte) []byte {
	if len(b) < headerSize {
		return b
	}
	b = bytes.Clone(b)
	copy(b[offCluster:], sampleIdentity.Cluster[:])
	copy(b[offDatastore:], sampleIdentity.Datastore[:])
	seal(b)
	return b
}

// seed adds the golden bytes of one structure, and a shortened form.
func seed(f *testing.F, name string) {
	f.Helper()
	for _, g := range goldens {
		if g.name == name {
			f.Add(g.encode(f))
			f.Add(g.encode(f)[:20])
		}
	}
	f.Add([]byte{})
}

func FuzzDecodeIdentity(f *testing.F) {
	seed(f, "identity")
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) >= headerSize {
			raw = bytes.Clone(raw)
			seal(raw)
		}
		id, err := DecodeIdentity(raw)
		if err != nil {
			return
		}
		again, err := EncodeIdentity(id)
		if err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("%+v does not encode to what it was decoded from: %v", id, err)
		}
	})
}

func FuzzDecodeSlot(f *testing.F) {
	seed(f, "slot")
	seed(f, "slot-custody")
	f.Fuzz(func(t *testing.T, raw []byte) {
		DecodeSlot(raw, sampleIdentity, 2)
		if len(raw) != SlotSize {
			return
		}
		raw = append(reseal(raw[:halfSize]), reseal(raw[halfSize:])...)
		r := DecodeSlot(raw, sampleIdentity, 2)
		if r.State != Valid {
			return
		}
		half := SlotHalf(raw, sampleIdentity, 2)
		again := bytes.Clone(raw)
		if got, err := EncodeSlot(again, sampleIdentity, &r.Slot, 1-half); err != nil || got != half || !bytes.Equal(again, raw) {
			t.Fatalf("%+v does not encode to what it was decoded from: %v", r, err)
		}
	})
}

func FuzzDecodeRegion(f *testing.F) {
	seed(f, "region")
	f.Fuzz(func(t *testing.T, raw []byte) {
		slots, err := DecodeRegion(raw, sampleIdentity, nil)
		if err == nil && len(slots) != sampleIdentity.Capacity {
			t.Fatalf("%d slots", len(slots))
		}
		for i := range slots {
			if slots[i].State == Unreadable || slots[i].Host != HostID(i+1) {
				t.Fatalf("slot %d: %+v", i+1, slots[i])
			}
		}
	})
}

func FuzzDecodeRecord(f *testing.F) {
	seed(f, "record")
	f.Fuzz(func(t *testing.T, raw []byte) {
		RecordLength(raw)
		raw = reseal(raw)
		r, err := DecodeRecord(raw, sampleIdentity, sampleRecord.Register, sampleRecord.Number)
		if err != nil {
			return
		}
		again, err := EncodeRecord(nil, sampleIdentity, &r)
		if err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("%+v does not encode to what it was decoded from: %v", r, err)
		}
	})
}

func FuzzDecodeTerm(f *testing.F) {
	seed(f, "term")
	f.Fuzz(func(t *testing.T, raw []byte) {
		term, err := DecodeTerm(raw)
		if err != nil {
			return
		}
		again, err := EncodeTerm(term)
		if err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("%s", cmp.Diff(raw, again))
		}
	})
}

func FuzzDecodeListArea(f *testing.F) {
	seed(f, "list")
	f.Fuzz(func(t *testing.T, raw []byte) {
		ListAreaLength(raw)
		raw = reseal(raw)
		a, ok, err := DecodeListArea(raw, sampleIdentity, sampleList.Host)
		if err != nil || !ok {
			return
		}
		again, err := EncodeListArea(nil, sampleIdentity, &a)
		if err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("%+v does not encode to what it was decoded from: %v", a, err)
		}
	})
}
