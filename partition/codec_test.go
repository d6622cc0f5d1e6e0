package partition

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"storebeat/datastorehb"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

const goldenPacket = "testdata/packet-v1.hex"

var (
	testCluster = uuid.UUID{0xc1, 15: 0xff}
	testKey     = Key{1, 2, 3, 31: 9}
)

func uuidOf(n byte) uuid.UUID { return uuid.UUID{0: n, 6: 0x40, 8: 0x80, 15: n} }

// fullPacket uses every field, and acks of two incarnations.
func fullPacket() Packet {
	return Packet{
		Level:       1,
		Cluster:     testCluster,
		From:        datastorehb.Writer{Host: 2, Machine: uuidOf(20), Boot: uuidOf(21), Incarnation: 0x1122334455667788},
		To:          3,
		Sequence:    77,
		Flags:       PacketMaster | PacketFollowed | PacketMaintenance,
		Master:      2,
		Echo:        Echo{Incarnation: 0x99, Sequence: 1234},
		MemoryTotal: 64 << 30,
		MemoryUsed:  3 << 30,
		Revision:    19,
		Sum:         0x8877665544332211,
		Levels:      datastorehb.Levels{Lowest: 1, Highest: 2},
		Lease:       4 * time.Second,
		Takeover:    5 * time.Second,
		Version:     "1.2.3-Ω",
		Datastores: []DatastoreReport{
			{uuidOf(1), DatastoreAccessible | DatastoreHeartbeat},
			{uuidOf(2), DatastoreWish | DatastoreSelected},
		},
		Acks: []Ack{
			{Datastore: uuidOf(2), Boot: uuidOf(31), Incarnation: 0x99, Sequence: 1230},
			{Datastore: uuidOf(1), Boot: uuidOf(30), Incarnation: 0x98, Sequence: 5},
			{Datastore: uuidOf(1), Boot: uuidOf(31), Incarnation: 0x99, Sequence: 1231},
		},
	}
}

func mustSeal(t testing.TB, p Packet) []byte {
	t.Helper()
	raw, err := Seal(nil, p, testKey)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// sealed computes the MAC of a body anew, for packets that Seal would not make.
func sealed(body []byte) []byte {
	binary.LittleEndian.PutUint16(body[atLength:], uint16(len(body)+macSize))
	return append(body, macOf(body, testKey)...)
}

func TestGoldenPacket(t *testing.T) {
	raw := mustSeal(t, fullPacket())
	if *rewrite {
		if err := os.WriteFile(goldenPacket, []byte(hexLines(raw)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(goldenPacket)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(golden), hexLines(raw)); diff != "" {
		t.Errorf("the form of version 1 has changed (-golden +sealed):\n%s", diff)
	}
	stored, err := hex.DecodeString(strings.ReplaceAll(string(golden), "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	p, err := Open(stored, testCluster, 3, testKey)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fullPacket(), p); diff != "" {
		t.Errorf("opened packet (-want +got):\n%s", diff)
	}
}

func hexLines(raw []byte) string {
	var b strings.Builder
	for len(raw) > 0 {
		n := min(16, len(raw))
		b.WriteString(hex.EncodeToString(raw[:n]) + "\n")
		raw = raw[n:]
	}
	return b.String()
}

func TestSealAppends(t *testing.T) {
	raw, err := Seal([]byte("before"), fullPacket(), testKey)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(raw, append([]byte("before"), mustSeal(t, fullPacket())...)) {
		t.Error("the MAC covers what stood in dst before")
	}
}

func TestEveryDamagedByteIsRefused(t *testing.T) {
	raw := mustSeal(t, fullPacket())
	for i := range raw {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			bad := bytes.Clone(raw)
			bad[i] ^= flip
			if _, err := Open(bad, testCluster, 3, testKey); err == nil {
				t.Fatalf("byte %d changed by %#x went unnoticed", i, flip)
			}
		}
	}
}

func TestEveryTruncationIsRefused(t *testing.T) {
	raw := mustSeal(t, fullPacket())
	for n := range raw {
		if _, err := Open(raw[:n], testCluster, 3, testKey); !errors.Is(err, ErrTruncated) {
			t.Fatalf("%d of %d bytes: %v, want %v", n, len(raw), err, ErrTruncated)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	change := func(f func(body []byte) []byte) []byte {
		raw := mustSeal(t, fullPacket())
		return sealed(f(raw[:len(raw)-macSize]))
	}
	put := func(at int, b ...byte) []byte {
		return change(func(body []byte) []byte { copy(body[at:], b); return body })
	}
	const lists = headerSize
	const runs = lists + 2*datastoreSize
	const acks = runs + 2*incarnationSize
	tests := []struct {
		name string
		raw  []byte
		want error
	}{
		{"empty", nil, ErrTruncated},
		{"something else", []byte("GET / HTTP/1.1"), ErrNotAHeartbeat},
		{"foreign cluster", put(atCluster, 7), ErrForeignCluster},
		{"future version", put(atVersion, 2), ErrFutureVersion},
		{"version zero", put(atVersion, 0), ErrRetiredVersion},
		{"future feature level", put(atFeature, 9), ErrFutureVersion},
		{"too large", make([]byte, MaxPacket+1), ErrOversized},
		{"bytes after the end", append(mustSeal(t, fullPacket()), 0), ErrOversized},
		{"for another host", put(26, 4), ErrNotForMe},
		{"from host zero", put(atFrom, 0), ErrMalformed},
		{"incarnation zero", put(64, make([]byte, 8)...), ErrMalformed},
		{"sequence zero", put(72, make([]byte, 8)...), ErrMalformed},
		{"reserved byte", put(87, 1), ErrMalformed},
		{"fewer datastores than counted", put(atCounts, 3), ErrMalformed},
		{"datastores out of order", put(lists, 9), ErrMalformed},
		{"ack for no datastore", put(acks, 2), ErrMalformed},
		{"ack for no incarnation", put(acks+1, 2), ErrMalformed},
		{"incarnation that no ack names", put(acks+ackSize+1, 0), ErrMalformed},
		{"incarnations in another order", put(acks+1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), ErrMalformed},
		{"incarnation listed twice", change(func(b []byte) []byte {
			copy(b[runs+incarnationSize:], bytes.Clone(b[runs:runs+incarnationSize]))
			return b
		}), ErrMalformed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p, err := Open(test.raw, testCluster, 3, testKey)
			if !errors.Is(err, test.want) {
				t.Errorf("Open: %v, want %v", err, test.want)
			}
			if diff := cmp.Diff(Packet{}, p); diff != "" {
				t.Errorf("a refused packet gave content:\n%s", diff)
			}
		})
	}
	if _, err := Open(mustSeal(t, fullPacket()), testCluster, 3, Key{}); !errors.Is(err, ErrBadMAC) {
		t.Errorf("another key: %v, want %v", err, ErrBadMAC)
	}
}

func TestSealRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Packet)
		want   error
	}{
		{"too many datastores", func(p *Packet) { p.Acks, p.Datastores = nil, reports(74) }, ErrOversized},
		{"too many acks", func(p *Packet) { p.Datastores, p.Acks = reports(32), acksFor(32, 80) }, ErrOversized},
		{"more than can be counted", func(p *Packet) { p.Acks = acksFor(1, 256) }, ErrOversized},
		{"datastores out of order", func(p *Packet) { p.Datastores[0], p.Datastores[1] = p.Datastores[1], p.Datastores[0] }, ErrMalformed},
		{"a datastore twice", func(p *Packet) { p.Datastores[1] = p.Datastores[0] }, ErrMalformed},
		{"ack for a datastore not reported", func(p *Packet) { p.Acks[0].Datastore = uuidOf(9) }, ErrMalformed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := fullPacket()
			test.change(&p)
			raw, err := Seal([]byte("kept"), p, testKey)
			if !errors.Is(err, test.want) || string(raw) != "kept" {
				t.Errorf("Seal: %q, %v, want the bytes as before and %v", raw, err, test.want)
			}
		})
	}
}

func reports(n int) (list []DatastoreReport) {
	for i := range n {
		list = append(list, DatastoreReport{Datastore: uuidOf(byte(i + 1)), Flags: DatastoreAccessible})
	}
	return list
}

func acksFor(datastores, n int) (list []Ack) {
	for i := range n {
		list = append(list, Ack{Datastore: uuidOf(byte(i%datastores + 1)), Boot: uuidOf(byte(i % 2)), Incarnation: uint64(i%2) + 1, Sequence: uint64(i)})
	}
	return list
}

func TestPacketHoldsWhatIsPromised(t *testing.T) {
	p := fullPacket()
	p.Datastores, p.Acks = reports(MaxPacketDatastores), acksFor(MaxPacketDatastores, MaxPacketAcks)
	raw := mustSeal(t, p)
	got, err := Open(raw, testCluster, 3, testKey)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p, got); diff != "" {
		t.Errorf("(-sealed +opened):\n%s", diff)
	}
	t.Logf("%d datastores and %d acks take %d of %d bytes", len(p.Datastores), len(p.Acks), len(raw), MaxPacket)
}

func TestNetworkKeyBelongsToOneCluster(t *testing.T) {
	secret := bytes.Repeat([]byte{5}, 32)
	a, err := NetworkKey(secret, testCluster)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := NetworkKey(secret, uuidOf(1))
	again, _ := NetworkKey(secret, testCluster)
	if a == b || a != again || bytes.Equal(a[:], secret) {
		t.Errorf("keys %x, %x and %x: want the first and last alike, the second different", a, b, again)
	}
}

func TestSealAndOpenAreInverse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPacket(t)
		raw, err := Seal(nil, p, testKey)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Open(raw, p.Cluster, p.To, testKey)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p, got); diff != "" {
			t.Fatalf("(-sealed +opened):\n%s", diff)
		}
	})
}

func drawPacket(t *rapid.T) Packet {
	p := fullPacket()
	p.From.Host = datastorehb.HostID(rapid.Uint16Min(1).Draw(t, "from"))
	p.To = datastorehb.HostID(rapid.Uint16().Draw(t, "to"))
	p.Master = datastorehb.HostID(rapid.Uint16().Draw(t, "master"))
	p.From.Incarnation = rapid.Uint64Min(1).Draw(t, "incarnation")
	p.Sequence = rapid.Uint64Min(1).Draw(t, "sequence")
	p.Flags = PacketFlags(rapid.Uint32().Draw(t, "flags"))
	p.Echo = Echo{rapid.Uint64().Draw(t, "echo incarnation"), rapid.Uint64().Draw(t, "echo sequence")}
	p.Datastores, p.Acks = nil, nil
	if n := rapid.IntRange(0, MaxPacketDatastores).Draw(t, "datastores"); n > 0 {
		p.Datastores = reports(n)
		p.Acks = acksFor(n, rapid.IntRange(0, MaxPacketAcks).Draw(t, "acks"))
	}
	return p
}

// FuzzOpen gives the decoder arbitrary bodies under a valid MAC, and arbitrary datagrams.
// What it takes must have exactly one form.
func FuzzOpen(f *testing.F) {
	full := fullPacket()
	f.Add([]byte{}, false)
	f.Add(mustSeal(f, full), false)
	f.Add(mustSeal(f, full)[:40], false)
	f.Add(mustSeal(f, full), true)
	full.Acks = nil
	f.Add(mustSeal(f, full), true)
	full.Datastores = nil
	f.Add(mustSeal(f, full), true)
	full.Datastores, full.Acks = reports(32), acksFor(32, 32)
	f.Add(mustSeal(f, full), true)
	f.Fuzz(func(t *testing.T, raw []byte, seal bool) {
		if seal && len(raw) >= headerSize+macSize && len(raw) <= MaxPacket {
			raw = sealed(bytes.Clone(raw[:len(raw)-macSize]))
		}
		p, err := Open(raw, testCluster, 3, testKey)
		if err != nil {
			return
		}
		again, err := Seal(nil, p, testKey)
		if err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("opened, but sealed anew it is different (%v):\n%x\n%x", err, raw, again)
		}
	})
}

func BenchmarkSealOpen(b *testing.B) {
	p := fullPacket()
	buffer := make([]byte, 0, MaxPacket)
	b.ReportAllocs()
	for b.Loop() {
		raw, err := Seal(buffer, p, testKey)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := Open(raw, testCluster, 3, testKey); err != nil {
			b.Fatal(err)
		}
	}
}
