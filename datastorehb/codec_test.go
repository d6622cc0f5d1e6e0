package datastorehb

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"
)

func drawUUID(t *rapid.T, label string) uuid.UUID {
	return uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, label))
}

func drawWriter(t *rapid.T, host HostID) Writer {
	return Writer{host, drawUUID(t, "machine"), drawUUID(t, "boot"), rapid.Uint64Min(1).Draw(t, "incarnation")}
}

func drawSlot(t *rapid.T, host HostID) Slot {
	s := Slot{
		Writer: drawWriter(t, host), Sequence: rapid.Uint64Min(1).Draw(t, "sequence"), Term: rapid.Uint64().Draw(t, "term"),
		Master: HostID(rapid.Uint16().Draw(t, "master")), Flags: SlotFlags(rapid.Uint32().Draw(t, "flags")),
	}
	for i := range rapid.IntRange(0, MaxVouches).Draw(t, "vouches") {
		s.Vouches = append(s.Vouches, Vouch{HostID(i + 1), drawUUID(t, "vboot"), rapid.Uint64().Draw(t, "vinc"), rapid.Uint64().Draw(t, "vseq")})
	}
	if rapid.Bool().Draw(t, "stopped") {
		s.Custody = rapid.Uint64().Draw(t, "custody")
		s.Leave = Leave{LeaveCause(rapid.Uint8Min(1).Draw(t, "by")), rapid.Uint32().Draw(t, "user"), rapid.Int64().Draw(t, "wall")}
	}
	return s
}

func TestSlotRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSlot(t, 5)
		b := make([]byte, SlotSize)
		keep := rapid.IntRange(-1, 1).Draw(t, "keep")
		half, err := EncodeSlot(b, sampleIdentity, &s, keep)
		if err != nil || half == keep {
			t.Fatalf("half %d, kept %d, %v", half, keep, err)
		}
		got := DecodeSlot(b, sampleIdentity, 5)
		if diff := cmp.Diff(SlotReading{Host: 5, State: Valid, Slot: s}, got); diff != "" {
			t.Fatal(diff)
		}
		if SlotHalf(b, sampleIdentity, 5) != half {
			t.Fatalf("the newest copy is not in half %d", half)
		}
	})
}

// TestTornSlot lets a write end after every sector, from either end: what is read
// is the older copy or the newer one, never anything else.
func TestTornSlot(t *testing.T) {
	newest := newerSlot(newerSlot(sampleSlot))
	before := encodeTwoCopies(t, sampleSlot)
	after := bytes.Clone(before)
	if _, err := EncodeSlot(after, sampleIdentity, &newest, 1); err != nil {
		t.Fatal(err)
	}
	for at := 0; at <= SlotSize; at += 512 {
		forward := append(bytes.Clone(after[:at]), before[at:]...)
		backward := append(bytes.Clone(before[:at]), after[at:]...)
		for _, torn := range [][]byte{forward, backward} {
			r := DecodeSlot(torn, sampleIdentity, 2)
			if r.State != Valid || r.Slot.Sequence != newest.Sequence && r.Slot.Sequence != newest.Sequence-1 {
				t.Errorf("torn at %d: %v, sequence %d", at, r.State, r.Slot.Sequence)
			}
		}
	}
}

// TestRepeatedTornWrites keeps failing and tearing the writes of one slot: the copy
// whose write completed last stays readable all the time.
func TestRepeatedTornWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		disk, buf := make([]byte, SlotSize), make([]byte, SlotSize)
		keep, completed := -1, uint64(0)
		for n := range rapid.IntRange(1, 40).Draw(t, "writes") {
			s := Slot{Writer: sampleWriter, Sequence: uint64(n + 1)}
			half, err := EncodeSlot(buf, sampleIdentity, &s, keep)
			if err != nil {
				t.Fatal(err)
			}
			if rapid.Bool().Draw(t, "completes") {
				copy(disk, buf)
				keep, completed = half, s.Sequence
			} else {
				for sector := 0; sector < SlotSize; sector += 512 {
					if rapid.Bool().Draw(t, "sector") {
						copy(disk[sector:sector+512], buf[sector:])
					}
				}
			}
			if r := DecodeSlot(disk, sampleIdentity, 2); completed > 0 && (r.State != Valid || r.Slot.Sequence < completed) {
				t.Fatalf("sequence %d was written, and %v, %d is read", completed, r.State, r.Slot.Sequence)
			}
		}
	})
}

func TestSlotReadings(t *testing.T) {
	foreign, other, future := sampleIdentity, sampleIdentity, encodeTwoCopies(t, sampleSlot)
	foreign.Cluster[0]++
	other.Datastore[0]++
	little.PutUint16(future[offVersion:], FormatVersion+1)
	seal(future[:halfSize])
	whole := encodeTwoCopies(t, sampleSlot)
	tests := []struct {
		name  string
		raw   []byte
		id    Identity
		host  HostID
		state ReadState
		why   string
	}{
		{"zeros", make([]byte, SlotSize), sampleIdentity, 2, Absent, ""},
		{"no bytes", nil, sampleIdentity, 2, Corrupt, "damaged"},
		{"garbage", bytes.Repeat([]byte{7}, SlotSize), sampleIdentity, 2, Corrupt, "damaged"},
		{"both copies hurt", flipped(whole, 100, 3000), sampleIdentity, 2, Corrupt, "damaged"},
		{"another cluster's", whole, foreign, 2, Corrupt, "of another cluster"},
		{"another datastore's", whole, other, 2, Corrupt, "of another datastore"},
		{"another host's", whole, sampleIdentity, 3, Corrupt, "in the wrong place"},
		{"of a newer version beside an older copy", future, sampleIdentity, 2, Corrupt, "of a newer format version or feature level"},
		{"one copy hurt", flipped(whole, 3000), sampleIdentity, 2, Valid, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := DecodeSlot(tt.raw, tt.id, tt.host)
			if r.State != tt.state || r.Why != tt.why || r.Host != tt.host {
				t.Errorf("got %v, %q, host %d", r.State, r.Why, r.Host)
			}
			if tt.state == Corrupt && len(tt.raw) > 0 && r.Sum == DecodeSlot(flipped(tt.raw, 5), tt.id, tt.host).Sum {
				t.Error("a change does not show in the sum")
			}
		})
	}
}

func flipped(b []byte, at ...int) []byte {
	b = bytes.Clone(b)
	for _, i := range at {
		b[i] ^= 0x10
	}
	return b
}

func TestEncodeSlotRefusals(t *testing.T) {
	tests := map[string]Slot{
		"host 0":           {Writer: Writer{Incarnation: 1}, Sequence: 1},
		"incarnation 0":    {Writer: Writer{Host: 1}, Sequence: 1},
		"sequence 0":       {Writer: sampleWriter},
		"too many vouches": {Writer: sampleWriter, Sequence: 1, Vouches: make([]Vouch, MaxVouches+1)},
		"nobody's leave":   {Writer: sampleWriter, Sequence: 1, Leave: Leave{User: 1}},
		"vouch for host 0": {Writer: sampleWriter, Sequence: 1, Vouches: make([]Vouch, 1)},
	}
	for name, s := range tests {
		b := encodeTwoCopies(t, sampleSlot)
		before := bytes.Clone(b)
		if _, err := EncodeSlot(b, sampleIdentity, &s, 0); err == nil {
			t.Errorf("%s was encoded", name)
		}
		if !bytes.Equal(b, before) {
			t.Errorf("%s: the bytes changed", name)
		}
	}
}

func TestDecodeRegionRefusals(t *testing.T) {
	whole := make([]byte, sampleIdentity.RegionSize())
	EncodeRegionHeader(whole[:SlotSize], sampleIdentity)
	foreign := sampleIdentity
	foreign.Cluster[0]++
	smaller := sampleIdentity
	smaller.Capacity--
	for name, tt := range map[string]struct {
		raw []byte
		id  Identity
		err error
	}{
		"short":        {whole[:SlotSize], sampleIdentity, ErrDamaged},
		"header hurt":  {flipped(whole, 20), sampleIdentity, ErrDamaged},
		"no header":    {make([]byte, len(whole)), sampleIdentity, ErrDamaged},
		"foreign":      {whole, foreign, ErrForeignCluster},
		"other length": {whole[:smaller.RegionSize()], smaller, ErrDamaged},
	} {
		if _, err := DecodeRegion(tt.raw, tt.id, nil); !errors.Is(err, tt.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDecodeRegionUsesMemoryAgain(t *testing.T) {
	raw := sampleRegion(t, 64)
	id := sampleIdentity
	id.Capacity = 64
	dst, err := DecodeRegion(raw, id, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(10, func() { dst, err = DecodeRegion(raw, id, dst) }); n != 0 || err != nil {
		t.Errorf("%v allocations, %v", n, err)
	}
}

// sampleRegion returns a full region: every host vouches for MaxVouches others.
func sampleRegion(t testing.TB, capacity int) []byte {
	id := sampleIdentity
	id.Capacity = capacity
	raw := make([]byte, id.RegionSize())
	EncodeRegionHeader(raw[:SlotSize], id)
	for h := 1; h <= capacity; h++ {
		s := sampleSlot
		s.Host, s.Vouches = HostID(h), nil
		for i := range min(MaxVouches, capacity) {
			s.Vouches = append(s.Vouches, Vouch{Host: HostID((h+i)%capacity + 1), Incarnation: 1, Sequence: 1})
		}
		if _, err := EncodeSlot(raw[h*SlotSize:][:SlotSize], id, &s, -1); err != nil {
			t.Fatal(err)
		}
	}
	return raw
}

func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Record{
			Register: rapid.SampledFrom([]Register{TermsOf(9), GenerationsOf(sampleVM), EntriesOf(sampleVM)}).Draw(t, "register"),
			Number:   rapid.Uint64Min(1).Draw(t, "number"), Nonce: uuid.UUID{1}, Writer: drawWriter(t, 4),
			Payload: bytes.Repeat([]byte{9}, rapid.IntRange(0, 9000).Draw(t, "length")),
		}
		b, err := EncodeRecord(nil, sampleIdentity, &r)
		if err != nil || len(b)%BlockSize != 0 || len(b) != RecordLength(b) {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		got, err := DecodeRecord(b, sampleIdentity, r.Register, r.Number)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestRecordRefusals(t *testing.T) {
	for name, spoil := range map[string]func(*Record){
		"kind":        func(r *Record) { r.Register.Kind = 9 },
		"no machine":  func(r *Record) { r.Register.VM = uuid.Nil },
		"both":        func(r *Record) { r.Register.Host = 1 },
		"number":      func(r *Record) { r.Number = 0 },
		"nonce":       func(r *Record) { r.Nonce = uuid.Nil },
		"writer":      func(r *Record) { r.Writer.Host = 0 },
		"incarnation": func(r *Record) { r.Writer.Incarnation = 0 },
		"too long":    func(r *Record) { r.Payload = make([]byte, MaxPayload+1) },
		"term of nil": func(r *Record) { r.Register = TermsOf(0) },
	} {
		r := sampleRecord
		spoil(&r)
		if _, err := EncodeRecord(nil, sampleIdentity, &r); err == nil {
			t.Errorf("%s: it was encoded", name)
		}
	}
	b, err := EncodeRecord(nil, sampleIdentity, &sampleRecord)
	if err != nil {
		t.Fatal(err)
	}
	foreign, other := sampleIdentity, sampleIdentity
	foreign.Cluster[0]++
	other.Datastore[0]++
	future := bytes.Clone(b)
	little.PutUint16(future[offLevel:], FeatureLevel+1)
	seal(future)
	for name, tt := range map[string]struct {
		raw    []byte
		id     Identity
		reg    Register
		number uint64
		err    error
	}{
		"foreign":      {b, foreign, sampleRecord.Register, 12, ErrForeignCluster},
		"other store":  {b, other, sampleRecord.Register, 12, ErrOtherDatastore},
		"future":       {future, sampleIdentity, sampleRecord.Register, 12, ErrFutureVersion},
		"other number": {b, sampleIdentity, sampleRecord.Register, 13, ErrMisplaced},
		"other kind":   {b, sampleIdentity, EntriesOf(sampleVM), 12, ErrMisplaced},
		"a block more": {append(bytes.Clone(b), make([]byte, BlockSize)...), sampleIdentity, sampleRecord.Register, 12, ErrDamaged},
	} {
		if _, err := DecodeRecord(tt.raw, tt.id, tt.reg, tt.number); !errors.Is(err, tt.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLongestRecord(t *testing.T) {
	r := sampleRecord
	r.Payload = bytes.Repeat([]byte{1}, MaxPayload)
	b, err := EncodeRecord(nil, sampleIdentity, &r)
	if err != nil || len(b) != MaxRecordSize {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	if _, err := DecodeRecord(b, sampleIdentity, r.Register, r.Number); err != nil {
		t.Fatal(err)
	}
}

func TestTermRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.Uint64Min(1).Draw(t, "number")
		duration := rapid.Int64Range(1, int64(MaxDuration))
		want := Term{
			Host: HostID(rapid.Uint16Min(1).Draw(t, "host")), Number: number, Closed: rapid.Bool().Draw(t, "closed"),
			First:  rapid.Uint64Range(1, number).Draw(t, "first"),
			Timing: Timing{Interval: time.Duration(duration.Draw(t, "i")), Lease: time.Duration(duration.Draw(t, "L")), Freeze: time.Duration(duration.Draw(t, "F"))},
			Reason: Shorten(rapid.String().Draw(t, "reason"), MaxReason),
		}
		b, err := EncodeTerm(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeTerm(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestTermRefusals(t *testing.T) {
	for name, spoil := range map[string]func(*Term){
		"host":     func(x *Term) { x.Host = 0 },
		"number":   func(x *Term) { x.Number, x.First = 0, 0 },
		"chain":    func(x *Term) { x.First = x.Number + 1 },
		"no chain": func(x *Term) { x.First = 0 },
		"lease":    func(x *Term) { x.Timing.Lease = 0 },
		"too long": func(x *Term) { x.Timing.Freeze = MaxDuration + 1 },
		"negative": func(x *Term) { x.Timing.Interval = -1 },
	} {
		x := sampleTerm
		spoil(&x)
		if _, err := EncodeTerm(x); err == nil {
			t.Errorf("%s: it was encoded", name)
		}
	}
	x := sampleTerm
	x.Reason = strings.Repeat("ä", MaxReason)
	b, err := EncodeTerm(x)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeTerm(b); err != nil || got.Reason != strings.Repeat("ä", MaxReason/2) {
		t.Errorf("a long reason reads %q, %v", got.Reason, err)
	}
}

func TestIdentityRefusals(t *testing.T) {
	for name, spoil := range map[string]func(*Identity){
		"cluster":   func(x *Identity) { x.Cluster = uuid.Nil },
		"datastore": func(x *Identity) { x.Datastore = uuid.Nil },
		"level":     func(x *Identity) { x.Level = FeatureLevel + 1 },
		"no name":   func(x *Identity) { x.Name = "" },
		"long name": func(x *Identity) { x.Name = strings.Repeat("n", MaxName+1) },
		"zero name": func(x *Identity) { x.Name = "a\x00b" },
		"capacity":  func(x *Identity) { x.Capacity = MaxCapacity + 1 },
		"no room":   func(x *Identity) { x.Capacity = 0 },
	} {
		x := sampleIdentity
		spoil(&x)
		if _, err := EncodeIdentity(x); err == nil {
			t.Errorf("%s: it was encoded", name)
		}
	}
}

func TestListAreas(t *testing.T) {
	for _, tt := range []struct {
		name string
		raw  []byte
		host HostID
		ok   bool
		err  error
	}{
		{"none", nil, 2, false, nil},
		{"zeros", make([]byte, BlockSize), 2, false, nil},
		{"garbage", bytes.Repeat([]byte{1}, BlockSize), 2, false, ErrDamaged},
		{"another host's", bytesOf(t)(EncodeListArea(nil, sampleIdentity, &sampleList)), 3, false, ErrMisplaced},
		{"whole", bytesOf(t)(EncodeListArea(nil, sampleIdentity, &sampleList)), 2, true, nil},
	} {
		if _, ok, err := DecodeListArea(tt.raw, sampleIdentity, tt.host); ok != tt.ok || !errors.Is(err, tt.err) {
			t.Errorf("%s: %v, %v", tt.name, ok, err)
		}
	}
}

func BenchmarkDecodeRegion(b *testing.B) {
	for _, capacity := range []int{64, 1000} {
		b.Run(map[int]string{64: "64 hosts", 1000: "1000 hosts"}[capacity], func(b *testing.B) {
			raw := sampleRegion(b, capacity)
			id := sampleIdentity
			id.Capacity = capacity
			var dst []SlotReading
			var err error
			b.ReportAllocs()
			for b.Loop() {
				if dst, err = DecodeRegion(raw, id, dst); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
