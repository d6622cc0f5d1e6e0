package cluster

import (
	"bytes"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"storebeat/datastorehb"
	"storebeat/poweron"
)

// The golden file of a version never changes once it was released.
var writeGolden = flag.Bool("write-golden", false, "write the golden files anew")

func datastoreID(n byte) uuid.UUID { return uuid.UUID{0: 0xd5, 15: n} }

// sample is a record with everything in it.
func sample() Record {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	r := Record{
		Revision: 7, Level: 1, By: 2, At: at, Change: "paused: new switch",
		Timing: datastorehb.Normal.Timing(), Machines: poweron.DefaultPolicy(),
		Removed: []Removed{{ID: 3, Name: "gamma", In: 5}},
		Pause:   &Pause{Since: at, Until: at.Add(2 * time.Hour), Why: "new switch"},
	}
	for i, name := range []string{"alpha", "beta"} {
		address := netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)})
		r.Members = append(r.Members, Member{ID: datastorehb.HostID(i + 1), Name: name, Since: 1, Heartbeat: netip.AddrPortFrom(address, 7480), Management: netip.AddrPortFrom(address, 7481)})
	}
	r.Members[1].Maintenance = &Maintenance{Since: at, Move: true, Machines: []uuid.UUID{{15: 1}, {15: 2}}}
	r.Members[0].Returning = []uuid.UUID{{15: 3}}
	for i, name := range []string{"nfs1", "nfs2", "nfs3"} {
		r.Datastores = append(r.Datastores, Datastore{ID: datastoreID(byte(i + 1)), Name: name})
		r.Voters = append(r.Voters, datastoreID(byte(i+1)))
	}
	return r
}

func encoded(t testing.TB, r Record) []byte {
	t.Helper()
	b, err := Encode(&r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRecordSurvivesItsEncoding(t *testing.T) {
	r := sample()
	again, err := Decode(encoded(t, r), datastorehb.KnownLevels())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, again, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Error(diff)
	}
	if r.Sum() == 0 || r.Sum() != again.Sum() {
		t.Errorf("sums %x and %x", r.Sum(), again.Sum())
	}
}

func TestGolden(t *testing.T) {
	name := filepath.Join("testdata", "record-1.golden")
	b := encoded(t, sample())
	if *writeGolden {
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, want) {
		t.Errorf("encoded as\n%s\nwant\n%s", b, want)
	}
}

func TestDecodeRefuses(t *testing.T) {
	good := string(encoded(t, sample()))
	tests := map[string]string{
		"":          "empty",
		"\x09{}":    "newer version",
		"\x00{}":    "has version 0",
		good + " ":  "one form",
		good + "{}": "one form",
		strings.Replace(good, `"level":1,`, "", 1):                                 "one form",
		strings.Replace(good, `"level":1,`, `"level":1,"level":1,`, 1):             "one form",
		strings.Replace(good, `"level":1,`, `"level":1,"colour":1,`, 1):            "unknown field",
		strings.Replace(good, `"level":1`, `"Level":1`, 1):                         "one form",
		strings.Replace(good, `"removed":[`, `"removed":null,"x":[`, 1):            "unknown field",
		strings.Replace(good, `"revision":7`, `"revision":0`, 1):                   "must not be 0",
		strings.Replace(good, `"name":"beta"`, `"name":"alpha"`, 1):                "two members",
		strings.Replace(good, `"id":2,`, `"id":1,`, 1):                             "order of their ids",
		strings.Replace(good, `"since":1,`, `"since":8,`, 1):                       "joined with revision 8",
		strings.Replace(good, `07Z","until":`, `07.5Z","until":`, 1):               "whole seconds",
		strings.Replace(good, `"takeover":5000000000`, `"takeover":4000000000`, 1): "could run twice",
		strings.Replace(good, `"name":"nfs2"`, `"name":"nfs1"`, 1):                 "two datastores",
	}
	for raw, want := range tests {
		_, err := Decode([]byte(raw), datastorehb.KnownLevels())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.300q: %v, want %q", raw, err, want)
		}
	}
	if _, err := Decode([]byte("\x09{}"), datastorehb.KnownLevels()); !errors.Is(err, ErrNewer) {
		t.Errorf("a record of the next version: %v", err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	tests := map[string]func(r *Record){
		"not in UTC":              func(r *Record) { r.At = r.At.In(time.FixedZone("", 3600)) },
		"lacks an address":        func(r *Record) { r.Members[0].Heartbeat = netip.AddrPort{} },
		"0 members":               func(r *Record) { r.Members = nil },
		"0 voters":                func(r *Record) { r.Voters = nil },
		"0 datastores":            func(r *Record) { r.Datastores = nil },
		"pause of":                func(r *Record) { r.Pause.Until = r.Pause.Since.Add(MaxPause + time.Second) },
		"is a member again":       func(r *Record) { r.Removed[0].ID = 1 },
		"priority":                func(r *Record) { r.Machines.Priority = 9 },
		"UTF-8 of at most":        func(r *Record) { r.Change = strings.Repeat("x", MaxText+1) },
		"to be brought back":      func(r *Record) { r.Members[0].Returning = []uuid.UUID{} },
		"in the order of their U": func(r *Record) { r.Voters[0], r.Voters[1] = r.Voters[1], r.Voters[0] },
	}
	for want, change := range tests {
		r := sample()
		change(&r)
		if _, err := Encode(&r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encoded(f, sample()))
	f.Add([]byte{1, '{', '}'})
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := Decode(raw, datastorehb.KnownLevels())
		if err != nil {
			return
		}
		if again := encoded(t, r); !bytes.Equal(again, raw) {
			t.Fatalf("%q does not encode to what it was decoded from, but to %q", raw, again)
		}
	})
}

func TestNextLeavesTheRecordAlone(t *testing.T) {
	r := sample()
	before := encoded(t, r)
	next := r.Next(8, 1, time.Now(), strings.Repeat("Ω", MaxText), []uuid.UUID{datastoreID(2)})
	next.Members[0].Name, next.Datastores[0].Name, next.Removed[0].Name = "x", "y", "z"
	next.Pause = nil
	encoded(t, next)
	if len(next.Voters) != 2 || next.Majority() != 2 {
		t.Errorf("voters %v", next.Voters)
	}
	if !bytes.Equal(before, encoded(t, r)) {
		t.Error("a change of the next revision changed this one")
	}
}
