package datastorehb

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden describes one structure by an example of it: how to make the bytes, and
// how to read them back.
type golden struct {
	name   string
	value  any
	encode func(t testing.TB) []byte
	decode func(raw []byte) (any, error)
}

var (
	sampleIdentity = Identity{
		Version: 1, Level: 1,
		Cluster:   uuid.MustParse("c1c1c1c1-0000-4000-8000-000000000001"),
		Datastore: uuid.MustParse("d2d2d2d2-0000-4000-8000-000000000002"),
		Name:      "alpha Ω", Capacity: 3,
	}
	sampleWriter = Writer{
		Host:        2,
		Machine:     uuid.MustParse("aaaaaaaa-0000-4000-8000-00000000000a"),
		Boot:        uuid.MustParse("bbbbbbbb-0000-4000-8000-00000000000b"),
		Incarnation: 0x1122334455667788,
	}
	sampleSlot = Slot{
		Writer: sampleWriter, Sequence: 41, Term: 7, Master: 3, Flags: SlotMaster | SlotIsolated, Revision: 19, Levels: Levels{Lowest: 1, Highest: 2},
		Vouches: []Vouch{
			{Host: 1, Boot: uuid.MustParse("eeeeeeee-0000-4000-8000-00000000000e"), Incarnation: 5, Sequence: 6},
			{Host: 3, Boot: uuid.MustParse("ffffffff-0000-4000-8000-00000000000f"), Incarnation: 8, Sequence: 9},
		},
	}
	sampleVM     = uuid.MustParse("99999999-0000-4000-8000-000000000009")
	sampleRecord = Record{
		Register: GenerationsOf(sampleVM), Number: 12,
		Nonce: uuid.MustParse("77777777-0000-4000-8000-000000000007"), Writer: sampleWriter, Payload: []byte("a generation"),
	}
	sampleTerm = Term{
		Host: 2, Number: 12, First: 9, Reason: "continues 11",
		Timing: Timing{Interval: 1e9, Lease: 4e9, Freeze: 5e8},
	}
	sampleList = ListArea{Host: 2, Revision: 77, Payload: []byte("a list")}
)

// sampleCustody is the last word of an agent that was stopped in good order.
func sampleCustody() Slot {
	s := sampleSlot
	s.Custody, s.Leave = 7, Leave{By: LeftByUser, User: 1000, Wall: 1_700_000_000}
	return s
}

// newerSlot is what a host writes after s.
func newerSlot(s Slot) Slot {
	s.Sequence++
	return s
}

// encodeTwoCopies returns a slot that holds s in half 0 and the next one in half 1.
func encodeTwoCopies(t testing.TB, s Slot) []byte {
	t.Helper()
	b := make([]byte, SlotSize)
	next := newerSlot(s)
	keep, err := EncodeSlot(b, sampleIdentity, &s, -1)
	if err != nil || keep != 0 {
		t.Fatalf("half %d, %v", keep, err)
	}
	if keep, err = EncodeSlot(b, sampleIdentity, &next, keep); err != nil || keep != 1 {
		t.Fatalf("half %d, %v", keep, err)
	}
	return b
}

func bytesOf(t testing.TB) func(b []byte, err error) []byte {
	return func(b []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
}

var goldens = []golden{
	{"identity", sampleIdentity,
		func(t testing.TB) []byte { return bytesOf(t)(EncodeIdentity(sampleIdentity)) },
		func(raw []byte) (any, error) { return DecodeIdentity(raw) }},
	{"slot", SlotReading{Host: 2, State: Valid, Slot: newerSlot(sampleSlot)},
		func(t testing.TB) []byte { return encodeTwoCopies(t, sampleSlot) },
		func(raw []byte) (any, error) { return DecodeSlot(raw, sampleIdentity, 2), nil }},
	{"slot-custody", SlotReading{Host: 2, State: Valid, Slot: newerSlot(sampleCustody())},
		func(t testing.TB) []byte { return encodeTwoCopies(t, sampleCustody()) },
		func(raw []byte) (any, error) { return DecodeSlot(raw, sampleIdentity, 2), nil }},
	{"region", []SlotReading{{Host: 1, State: Absent}, {Host: 2, State: Valid, Slot: newerSlot(sampleSlot)}, {Host: 3, State: Absent}},
		func(t testing.TB) []byte {
			b := make([]byte, sampleIdentity.RegionSize())
			EncodeRegionHeader(b[:SlotSize], sampleIdentity)
			copy(b[2*SlotSize:], encodeTwoCopies(t, sampleSlot))
			return b
		},
		func(raw []byte) (any, error) { return DecodeRegion(raw, sampleIdentity, nil) }},
	{"record", sampleRecord,
		func(t testing.TB) []byte { return bytesOf(t)(EncodeRecord(nil, sampleIdentity, &sampleRecord)) },
		func(raw []byte) (any, error) {
			return DecodeRecord(raw, sampleIdentity, sampleRecord.Register, sampleRecord.Number)
		}},
	{"term", sampleTerm,
		func(t testing.TB) []byte { return bytesOf(t)(EncodeTerm(sampleTerm)) },
		func(raw []byte) (any, error) { return DecodeTerm(raw) }},
	{"list", sampleList,
		func(t testing.TB) []byte { return bytesOf(t)(EncodeListArea(nil, sampleIdentity, &sampleList)) },
		func(raw []byte) (any, error) {
			a, _, err := DecodeListArea(raw, sampleIdentity, 2)
			return a, err
		}},
}

// TestGolden holds the encoders to the bytes of version 1, and the decoders to
// what those bytes mean.
func TestGolden(t *testing.T) {
	for _, g := range goldens {
		t.Run(g.name, func(t *testing.T) {
			name := filepath.Join("testdata", "golden", "v1", g.name+".txt")
			text := dump(g.encode(t))
			if *update {
				if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), text); diff != "" {
				t.Errorf("the encoding changed; old datastores would not be understood:\n%s", diff)
			}
			got, err := g.decode(undump(t, want))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(g.value, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// dump prints the bytes, without the lines that hold zeros only.
func dump(b []byte) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%d bytes\n", len(b))
	for at := 0; at < len(b); at += 16 {
		if line := b[at:min(at+16, len(b))]; !isZero(line) {
			fmt.Fprintf(&out, "%06x  % x\n", at, line)
		}
	}
	return out.String()
}

func undump(t testing.TB, text []byte) []byte {
	t.Helper()
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Scan()
	var size, at int
	if _, err := fmt.Sscanf(lines.Text(), "%d bytes", &size); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, size)
	for lines.Scan() {
		offset, digits, _ := strings.Cut(lines.Text(), "  ")
		if _, err := fmt.Sscanf(offset, "%x", &at); err != nil {
			t.Fatal(err)
		}
		raw, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		copy(b[at:], raw)
	}
	return b
}

// TestFlippedBytes changes every byte of every structure: none of the results may
// pass for another value.
func TestFlippedBytes(t *testing.T) {
	for _, g := range goldens {
		if g.name == "term" || g.name == "region" { // a term has its record's checksum; a region is slots
			continue
		}
		t.Run(g.name, func(t *testing.T) {
			raw := g.encode(t)
			for i := range raw {
				for _, mask := range []byte{0x01, 0x80, 0xff} {
					raw[i] ^= mask
					checkFlipped(t, g, raw, i)
					raw[i] ^= mask
				}
			}
		})
	}
}

func checkFlipped(t *testing.T, g golden, raw []byte, at int) {
	t.Helper()
	got, err := g.decode(raw)
	if r, ok := got.(SlotReading); ok {
		// One byte can hurt one copy only, so the other one is what is read.
		want := g.value.(SlotReading)
		if at >= SlotSize/2 {
			want.Slot.Sequence--
		}
		if diff := cmp.Diff(want, r); diff != "" {
			t.Fatalf("byte %d: %s", at, diff)
		}
		return
	}
	if err == nil {
		t.Fatalf("byte %d was changed, and %+v was read", at, got)
	}
}

// TestTruncated cuts every structure short.
func TestTruncated(t *testing.T) {
	for _, g := range goldens {
		raw := g.encode(t)
		for n := range raw {
			if n > 300 && n%509 != 0 {
				continue
			}
			got, err := g.decode(raw[:n:n])
			r, isSlot := got.(SlotReading)
			a, isList := got.(ListArea)
			switch {
			case isSlot && r.State == Corrupt, isList && a.Revision == 0, err != nil:
			default:
				t.Fatalf("%s cut to %d bytes reads %+v", g.name, n, got)
			}
		}
	}
}
