package poweron

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"storebeat/datastorehb"
)

// The golden files of a version never change once it was released. The flag is
// for the first file of a new version.
var writeGolden = flag.Bool("write-golden", false, "write the golden files anew")

func vm(n byte) uuid.UUID { return uuid.UUID{15: n} }

func sampleList() List {
	return List{
		Writer:   datastorehb.Writer{Host: 7, Machine: uuid.UUID{0: 1, 15: 2}, Boot: uuid.UUID{0: 3, 15: 4}, Incarnation: 0x1122334455667788},
		Revision: 42, Term: 9, Isolated: true,
		Machines: []Listed{{VM: vm(1), Generation: 3}, {VM: vm(2), Generation: 1, Frozen: true}},
	}
}

func sampleGenerations() map[string]Generation {
	return map[string]Generation{
		"generation-run": {VM: vm(1), Number: 3, Kind: Run, Owner: 7, Term: 9, Entry: 5, Failures: 2},
		"generation-shared": {VM: vm(1), Number: 4, Kind: Run, Owner: 7, Term: 9, Entry: 5, Failures: 2, Holder: sampleWriter(7),
			Receiver: Party{Writer: sampleWriter(8), Term: 3}},
		"generation-left":     {VM: vm(1), Number: 5, Kind: Run, Owner: 8, Term: 3, Entry: 5, Failures: 2, Holder: sampleWriter(8), Reason: GuestShutDown, Detail: "powered off"},
		"generation-released": {VM: vm(1), Number: 4, Kind: Released, Owner: 7, Reason: Held, Entry: 5, Failures: 6, Detail: "crashed after 3s: failure 6 in a row, and the limit is 6"},
	}
}

func sampleWriter(h datastorehb.HostID) datastorehb.Writer {
	return datastorehb.Writer{Host: h, Machine: uuid.UUID{0: byte(h), 15: 2}, Boot: uuid.UUID{0: 3, 15: byte(h)}, Incarnation: 0x1122334455667788 + uint64(h)}
}

// sampleEntry says nothing of a host's shutdown, as the first entries did.
func sampleEntry() Entry {
	e := Entry{VM: vm(1), Name: "web-1", Protected: true, Desired: Running, Asked: 5, Policy: DefaultPolicy(), Driver: "qemu", Definition: []byte("memory = \"1GiB\"\n"), Memory: 1 << 30}
	e.Policy.OnHostShutdown, e.Policy.RebootWait = "", 0
	return e
}

func waitingEntry() Entry {
	e := sampleEntry()
	e.Policy.OnHostShutdown, e.Policy.RebootWait = WaitForReboot, 5*time.Minute
	return e
}

// ruledEntry is sampleEntry with rules of every kind.
func ruledEntry() Entry {
	e := sampleEntry()
	e.Rules = Rules{Groups: []string{"web"}, Must: Affinity{Apart: []string{"web"}, Together: []string{"cache-1"}, Hosts: []datastorehb.HostID{1, 2, 4}},
		Prefer: Affinity{Apart: []string{"db"}, Together: []string{"proxy"}, Hosts: []datastorehb.HostID{2}}}
	return e
}

// codec is one form, as the tests that are alike for all of them see it.
type codec struct {
	name    string
	encoded []byte
	again   func([]byte) ([]byte, error) // decode, then encode
}

func codecs(t testing.TB) []codec {
	list, err := EncodeList(sampleList(), 1)
	if err != nil {
		t.Fatal(err)
	}
	entry, err := EncodeEntry(sampleEntry(), 1)
	if err != nil {
		t.Fatal(err)
	}
	all := []codec{{"list", list, listAgain}, {"entry", entry, entryAgain}}
	for _, name := range []string{"generation-shared", "generation-left"} {
		b, err := EncodeGeneration(sampleGenerations()[name], SharedLevel)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, codec{name, b, generationAgain})
	}
	for _, name := range []string{"generation-run", "generation-released"} {
		b, err := EncodeGeneration(sampleGenerations()[name], 1)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, codec{name, b, generationAgain})
	}
	ruled, err := EncodeEntry(ruledEntry(), 1)
	if err != nil {
		t.Fatal(err)
	}
	waiting, err := EncodeEntry(waitingEntry(), 1)
	if err != nil {
		t.Fatal(err)
	}
	return append(all, codec{"entry-rules", ruled, entryAgain}, codec{"entry-wait", waiting, entryAgain})
}

func listAgain(b []byte) ([]byte, error) {
	l, err := DecodeList(b)
	if err != nil {
		return nil, err
	}
	return EncodeList(l, 1)
}

func generationAgain(b []byte) ([]byte, error) {
	g, err := DecodeGeneration(b)
	if err != nil {
		return nil, err
	}
	return EncodeGeneration(g, order.Uint16(b[6:]))
}

func entryAgain(b []byte) ([]byte, error) {
	e, err := DecodeEntry(b)
	if err != nil {
		return nil, err
	}
	return EncodeEntry(e, 1)
}

func TestGoldenFilesOfVersion1(t *testing.T) {
	for _, c := range codecs(t) {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join("testdata", "v1", c.name)
			if *writeGolden {
				if err := os.WriteFile(path, c.encoded, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, c.encoded); d != "" {
				t.Errorf("encoding changed (-golden +now):\n%s", d)
			}
			if again, err := c.again(want); err != nil || !bytes.Equal(again, want) {
				t.Errorf("golden file reads as %q, %v", again, err)
			}
		})
	}
}

func TestDecodeReturnsWhatWasEncoded(t *testing.T) {
	for _, c := range codecs(t) {
		var got, want any
		var err error
		switch {
		case c.name == "list":
			want = sampleList()
			got, err = DecodeList(c.encoded)
		case c.name == "entry":
			want = sampleEntry()
			got, err = DecodeEntry(c.encoded)
		case c.name == "entry-rules":
			want = ruledEntry()
			got, err = DecodeEntry(c.encoded)
		case c.name == "entry-wait":
			want = waitingEntry()
			got, err = DecodeEntry(c.encoded)
		default:
			want = sampleGenerations()[c.name]
			got, err = DecodeGeneration(c.encoded)
		}
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
}

func TestEmptyListIsAList(t *testing.T) {
	l := List{Writer: datastorehb.Writer{Host: 1, Incarnation: 1}, Revision: 1}
	b, err := EncodeList(l, 1)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeList(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(l, got); d != "" {
		t.Error(d)
	}
}

func TestEveryTruncationIsRefused(t *testing.T) {
	for _, c := range codecs(t) {
		for n := range len(c.encoded) {
			if _, err := c.again(c.encoded[:n]); err == nil {
				t.Errorf("%s: first %d of %d bytes were accepted", c.name, n, len(c.encoded))
			}
		}
		if _, err := c.again(append(bytes.Clone(c.encoded), 0)); err == nil {
			t.Errorf("%s: a byte too many was accepted", c.name)
		}
	}
}

// The checksum of the surrounding header finds flipped bits. Without it they may
// change a value, but nothing may be dropped: what is accepted encodes to the
// same bytes again.
func TestEveryFlippedBitIsRefusedOrKept(t *testing.T) {
	for _, c := range codecs(t) {
		for i := range 8 * len(c.encoded) {
			b := bytes.Clone(c.encoded)
			b[i/8] ^= 1 << (i % 8)
			if again, err := c.again(b); err == nil && !bytes.Equal(again, b) {
				t.Errorf("%s: bit %d of byte %d was lost", c.name, i%8, i/8)
			}
		}
	}
}

func TestErrorsOfDecodersNameValueAndRemedy(t *testing.T) {
	named := map[string][]byte{}
	for _, c := range codecs(t) {
		named[c.name] = c.encoded
	}
	list, generation, shared, left := named["list"], named["generation-released"], named["generation-shared"], named["generation-left"]
	with := func(b []byte, at int, values ...byte) []byte {
		b = bytes.Clone(b)
		copy(b[at:], values)
		return b
	}
	entry, ruled := string(named["entry"]), string(named["entry-rules"])
	replace := func(old, new string) []byte {
		if !strings.Contains(entry, old) {
			t.Fatalf("%q is not in %q", old, entry)
		}
		return []byte(strings.Replace(entry, old, new, 1))
	}
	for _, tt := range []struct {
		name   string
		decode func([]byte) ([]byte, error)
		in     []byte
		want   string
	}{
		{"foreign magic", listAgain, with(list, 0, 'X'), `begins with "XBPL" and not with "SBPL"`},
		{"generation for a list", listAgain, append(bytes.Clone(generation), list...), "something else"},
		{"later version", listAgain, with(list, 4, 2), "format version 2, and this host reads 1 to 1: upgrade"},
		{"version 0", listAgain, with(list, 4, 0), "format version 0"},
		{"later feature level", listAgain, with(list, 6, 9), "feature level 9"},
		{"host 0", listAgain, with(list, 8, 0, 0), "host 0"},
		{"list flag", listAgain, with(list, 10, 3), "unknown flags 0x3"},
		{"too many machines", listAgain, with(list, 12, 0xff, 0xff, 0xff, 0xff), "4294967295 machines, and at most 4096"},
		{"count too small", listAgain, with(list, 12, 1), "136 bytes, and 1 machines take 104"},
		{"incarnation 0", listAgain, with(list, 48, make([]byte, 8)...), "incarnation 0"},
		{"revision 0", listAgain, with(list, 56, make([]byte, 8)...), "revision 0"},
		{"machine twice", listAgain, with(list, 104+15, 1), "list each machine once"},
		{"nil machine", listAgain, with(list, 72+15, 0), "list each machine once"},
		{"generation 0", listAgain, with(list, 72+16, 0), "has generation 0"},
		{"machine flag", listAgain, with(list, 72+24, 4), "unknown flags 0x4"},
		{"reserved byte", listAgain, with(list, 72+31, 1), "reserved byte 6"},
		{"nil machine", generationAgain, with(generation, 8+15, 0), "nil UUID"},
		{"number 0", generationAgain, with(generation, 24, 0), "number 0"},
		{"holder 0", generationAgain, with(generation, 52, 0), "host 0"},
		{"kind 5", generationAgain, with(generation, 54, 5), "unknown kind 5: use 1 (run) or 2 (released)"},
		{"released for no reason", generationAgain, with(generation, 55, 0), "released for reason 0: use 1 to 9"},
		{"unknown reason", generationAgain, with(generation, 55, 10), "released for reason 10"},
		{"run with a reason", generationAgain, with(with(generation, 32, 1), 54, 1), "leave it out"},
		{"run under term 0", generationAgain, with(generation, 54, 1, 0), "under term 0: claim a term first"},
		{"detail too long", generationAgain, with(generation, 56, 255, 255), "65599"},
		{"detail not UTF-8", generationAgain, with(generation, 64, 0xff), "not UTF-8"},
		{"reserved byte", generationAgain, with(generation, 63, 1), "reserved byte 5 of the generation"},
		{"shared at level 1", generationAgain, with(shared, 6, 1), "begin with level 2"},
		{"left at level 1", generationAgain, with(left, 6, 1), "begin with level 2"},
		{"shared, cut off", generationAgain, shared[:len(shared)-1], "cut off"},
		{"shared by another host's run", generationAgain, with(shared, 64, 9), "names a run of host 9's agent"},
		{"shared by no run", generationAgain, with(shared, 64, 0), "without host id or incarnation"},
		{"shared with no host", generationAgain, with(shared, 112, 0), "without host id or incarnation"},
		{"shared with itself", generationAgain, with(shared, 112, 7), "with itself"},
		{"shared under term 0", generationAgain, with(shared, 160, 0), "without an id, an incarnation or a term"},
		{"shared, reserved byte", generationAgain, with(shared, 66, 1), "reserved byte 0 of a writer"},
		{"shared for a reason", generationAgain, with(shared, 55, 2), "leave it out"},
		{"left for an unknown reason", generationAgain, with(left, 55, 10), "released for reason 10"},
		{"empty", entryAgain, nil, "empty: protect the machine again"},
		{"too long", entryAgain, make([]byte, MaxEntrySize+1), "262145 bytes, and at most 262144"},
		{"later version", entryAgain, replace("\x01", "\x09"), "format version 9, and this host reads 1 to"},
		{"unknown field", entryAgain, replace(`{"vm"`, `{"colour":"red","vm"`), `unknown field "colour"`},
		{"unknown field of the policy", entryAgain, replace(`"restart":`, `"colour":1,"restart":`), `unknown field "colour"`},
		{"field missing", entryAgain, replace(`"asked":5,`, ""), "not in the one form"},
		{"field twice", entryAgain, replace(`"asked":5,`, `"asked":5,"asked":5,`), "not in the one form"},
		{"other spelling", entryAgain, replace(`"asked"`, `"Asked"`), "not in the one form"},
		{"white space", entryAgain, replace(`:5`, `: 5`), "not in the one form"},
		{"other number", entryAgain, replace(`"asked":5`, `"asked":5.5`), "JSON can't be read"},
		{"negative memory", entryAgain, replace(`"memory":`, `"memory":-`), "JSON can't be read"},
		{"empty rules", entryAgain, []byte(strings.TrimSuffix(entry, "}") + `,"rules":{}}`), "not in the one form"},
		{"empty list of a rule", entryAgain, []byte(strings.Replace(ruled, `"groups":["web"]`, `"groups":[]`, 1)), "not in the one form"},
		{"rule twice", entryAgain, []byte(strings.Replace(ruled, `[1,2,4]`, `[1,2,2]`, 1)), "host 2 twice"},
		{"two objects", entryAgain, []byte(entry + "{}"), "not in the one form"},
		{"no object", entryAgain, []byte("\x01null"), "not in the one form"},
		{"invalid value", entryAgain, replace(`"desired":"running"`, `"desired":"paused"`), `desired is "paused": use one of ["running" "stopped"]`},
	} {
		_, err := tt.decode(tt.in)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", tt.name, err, tt.want)
		}
	}
}

func TestEncodersRefuseWhatDecodersWould(t *testing.T) {
	l := sampleList()
	l.Machines = []Listed{{VM: vm(2), Generation: 1}, {VM: vm(1), Generation: 1}}
	if _, err := EncodeList(l, 1); err == nil {
		t.Error("unsorted machines were encoded")
	}
	l.Machines = make([]Listed, MaxListed+1)
	if _, err := EncodeList(l, 1); err == nil || !strings.Contains(err.Error(), "4097 machines") {
		t.Errorf("too many machines: %v", err)
	}
	g := sampleGenerations()["generation-released"]
	g.Detail = strings.Repeat("x", datastorehb.MaxReason+1)
	if _, err := EncodeGeneration(g, 1); err == nil {
		t.Error("a detail that is too long was encoded")
	}
	if _, err := EncodeEntry(Entry{}, 1); err == nil {
		t.Error("an empty entry was encoded")
	}
}

func TestLargestValuesFitTheirBounds(t *testing.T) {
	l := sampleList()
	l.Machines = nil
	for i := range MaxListed {
		l.Machines = append(l.Machines, Listed{VM: uuid.UUID{1: byte(i >> 8), 2: byte(i), 3: 1}, Generation: 1})
	}
	if b, err := EncodeList(l, 1); err != nil || len(b) != MaxListSize {
		t.Errorf("largest list: %d bytes, %v; want %d", len(b), err, MaxListSize)
	}
	e := sampleEntry()
	e.Name, e.Driver = strings.Repeat("n", MaxName), strings.Repeat("d", MaxName)
	e.Definition, e.Memory, e.Asked = make([]byte, MaxDefinition), MaxMemory, 1<<63
	e.Policy.Window, e.Policy.StopTime = maxWindow, maxStopTime
	e.Rules = largestRules()
	if _, err := EncodeEntry(e, 1); err != nil {
		t.Errorf("largest entry: %v", err)
	}
}

// largestRules reach every bound of rules.
func largestRules() Rules {
	names := func(first string, count int) (names []string) {
		for i := range count {
			names = append(names, fmt.Sprintf("%s%0*d", first, MaxName-1, i))
		}
		return names
	}
	var hosts []datastorehb.HostID
	for i := range MaxRuleHosts {
		hosts = append(hosts, datastorehb.HostID(65535-i))
	}
	affinity := func(first string) Affinity {
		return Affinity{Apart: names(first, MaxNamed), Together: names("t", MaxNamed), Hosts: hosts}
	}
	return Rules{Groups: names("g", MaxGroups), Must: affinity("a"), Prefer: affinity("b")}
}

func TestValidateListsEveryError(t *testing.T) {
	err := Entry{
		Name: "-rf", Desired: "on", Driver: strings.Repeat("x", MaxName+1),
		Policy: Policy{Priority: 6, Isolation: "panic", Attempts: -1, Limit: 0, Window: time.Millisecond, StopTime: 25 * time.Hour, OnGuestShutDown: "cry", OnHostShutdown: "hope", RebootWait: time.Millisecond},
	}.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"vm is the nil UUID", `name: "-rf" has '-' at byte 0`, `desired is "on"`, "driver: ", "has 65 bytes: use 1 to 64",
		"memory is 0 bytes", "definition has 0 bytes", "policy: priority is 6: give it from 1 to 5", `isolation is "panic"`,
		"attempts is -1", "limit is 0: give it from 1 to 1000", "window is 1ms: give it from 1s to 720h0m0s", "stop_time is 25h0m0s", `on_guest_shut_down is "cry"`,
		`on_host_shutdown is "hope"`, "reboot_wait is 1ms: give it from 1s to 24h0m0s",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in:\n%v", want, err)
		}
	}
}

func TestDefaultPolicyIsValid(t *testing.T) {
	if err := DefaultPolicy().Validate(); err != nil {
		t.Error(err)
	}
}

func TestCheckName(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "web-1": true, "Web_1.example": true, "0": true, strings.Repeat("x", 64): true,
		"": false, ".": false, "..": false, ".hidden": false, "-v": false, "_x": false, "a/b": false, "a b": false, "ä": false, "a\x00": false, strings.Repeat("x", 65): false,
	} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("CheckName(%q) = %v", name, err)
		}
	}
}

func fuzzCodec(f *testing.F, again func([]byte) ([]byte, error)) {
	for _, c := range codecs(f) {
		f.Add(c.encoded)
		f.Add(c.encoded[:len(c.encoded)/2])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := again(b); err == nil && !bytes.Equal(got, b) {
			t.Errorf("%q was accepted and encodes to %q", b, got)
		}
	})
}

func FuzzDecodeList(f *testing.F)       { fuzzCodec(f, listAgain) }
func FuzzDecodeGeneration(f *testing.F) { fuzzCodec(f, generationAgain) }
func FuzzDecodeEntry(f *testing.F)      { fuzzCodec(f, entryAgain) }
