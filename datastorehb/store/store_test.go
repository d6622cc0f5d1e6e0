package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/pkg/xattr"

	"storebeat/datastorehb"
)

var testCluster = uuid.MustParse("5c1e1eaf-0000-4000-8000-000000000001")

// fixture is one datastore in a temporary directory.
type fixture struct {
	t    testing.TB
	path string
	id   datastorehb.Identity
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{t: t, path: t.TempDir()}
	var err error
	if f.id, err = Init(f.path, testCluster, "alpha", 8); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) dir() string { return filepath.Join(f.path, rootDir, testCluster.String()) }

// writer returns the writer of a host's only incarnation.
func writer(h datastorehb.HostID) datastorehb.Writer {
	return datastorehb.Writer{Host: h, Machine: uuid.UUID{1, byte(h)}, Boot: uuid.UUID{2, byte(h)}, Incarnation: uint64(h) << 8}
}

func (f *fixture) expect(h datastorehb.HostID) Expect {
	return Expect{Cluster: f.id.Cluster, Datastore: f.id.Datastore, Writer: writer(h), LockDir: f.t.TempDir()}
}

func (f *fixture) open(h datastorehb.HostID) *Store { return f.openAs(f.expect(h)) }

func (f *fixture) openAs(want Expect) *Store {
	f.t.Helper()
	s, err := Open(f.path, want)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(s.Close)
	return s
}

func (s *Store) term(number uint64, nonce byte) datastorehb.Record {
	return datastorehb.Record{
		Register: datastorehb.TermsOf(s.want.Writer.Host), Number: number,
		Nonce: uuid.UUID{nonce}, Writer: s.want.Writer, Payload: []byte("term"),
	}
}

func TestSlotsAreSeenByOthers(t *testing.T) {
	f := newFixture(t)
	a, b := f.open(1), f.open(2)
	want := datastorehb.Slot{Writer: writer(1), Sequence: 1, Term: 3, Master: 2, Flags: datastorehb.SlotMaster,
		Vouches: []datastorehb.Vouch{{Host: 2, Boot: uuid.UUID{9}, Incarnation: 7, Sequence: 6}}}
	for range 5 {
		if err := a.WriteSlot(want); err != nil {
			t.Fatal(err)
		}
		slots, err := b.ReadRegion(nil)
		if err != nil || len(slots) != 8 {
			t.Fatalf("%d slots, %v", len(slots), err)
		}
		if diff := cmp.Diff(datastorehb.SlotReading{Host: 1, State: datastorehb.Valid, Slot: want}, slots[0]); diff != "" {
			t.Fatal(diff)
		}
		if slots[1].State != datastorehb.Absent {
			t.Fatalf("slot 2 is %v", slots[1].State)
		}
		one, err := b.ReadSlot(1)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(slots[0], one); diff != "" {
			t.Fatal(diff)
		}
		want.Sequence++
	}
}

func TestWriteSlotRefusals(t *testing.T) {
	f := newFixture(t)
	want := f.expect(1)
	a := f.openAs(want)
	if err := a.WriteSlot(datastorehb.Slot{Writer: writer(1), Sequence: 5}); err != nil {
		t.Fatal(err)
	}
	if err := a.WriteSlot(datastorehb.Slot{Writer: writer(1), Sequence: 5}); err == nil {
		t.Error("the same sequence was written twice")
	}
	if err := a.WriteSlot(datastorehb.Slot{Writer: writer(2), Sequence: 6}); err == nil {
		t.Error("another host's slot was written")
	}
	a.Close()
	if err := a.WriteSlot(datastorehb.Slot{Writer: writer(1), Sequence: 7}); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	next := f.openAs(want)
	if err := next.WriteSlot(datastorehb.Slot{Writer: writer(1), Sequence: 5}); err == nil {
		t.Error("the next incarnation wrote a sequence of its forerunner's")
	}
	if err := next.WriteSlot(datastorehb.Slot{Writer: writer(1), Sequence: 6}); err != nil {
		t.Error(err)
	}
}

func TestClaimAndRead(t *testing.T) {
	f := newFixture(t)
	a, b := f.open(1), f.open(2)
	reg := datastorehb.TermsOf(1)
	if _, state, err := b.Newest(reg); state != datastorehb.Absent || err != nil {
		t.Fatalf("before: %v, %v", state, err)
	}
	for n := uint64(1); n <= 3; n++ {
		rec := a.term(n, byte(n))
		res, err := a.Claim(rec)
		if err != nil || res.Outcome != datastorehb.ClaimWon {
			t.Fatalf("claim %d: %v, %v", n, res.Outcome, err)
		}
		other := rec
		other.Writer, other.Nonce = writer(2), uuid.UUID{0xff, byte(n)}
		res, err = b.Claim(other)
		if err != nil || res.Outcome != datastorehb.ClaimLost {
			t.Fatalf("second claim %d: %v, %v", n, res.Outcome, err)
		}
		if diff := cmp.Diff(&rec, res.Winner); diff != "" {
			t.Fatal(diff)
		}
		got, state, err := b.Newest(reg)
		if err != nil || state != datastorehb.Valid {
			t.Fatalf("newest: %v, %v", state, err)
		}
		if diff := cmp.Diff(rec, got); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestLateClaimBelowTheNewestIsVoid(t *testing.T) {
	f := newFixture(t)
	a := f.open(1)
	for n := uint64(1); n <= 5; n++ {
		if res, err := a.Claim(a.term(n, byte(n))); err != nil || res.Outcome != datastorehb.ClaimWon {
			t.Fatalf("claim %d: %v, %v", n, res.Outcome, err)
		}
	}
	if err := a.Remove(datastorehb.TermsOf(1), []uint64{2, 1}); err != nil {
		t.Fatal(err)
	}
	late := a.term(2, 99)
	res, err := a.Claim(late)
	if err != nil || res.Outcome != datastorehb.ClaimLost || res.Winner == nil || res.Winner.Number != 5 {
		t.Fatalf("late claim: %+v, %v", res, err)
	}
	if err := a.Remove(datastorehb.TermsOf(1), []uint64{3}); err == nil {
		t.Error("fewer than three values were left")
	}
}

func TestLists(t *testing.T) {
	f := newFixture(t)
	want := f.expect(1)
	a, b := f.openAs(want), f.open(2)
	if _, state, err := b.ReadList(1); state != datastorehb.Absent || err != nil {
		t.Fatalf("before: %v, %v", state, err)
	}
	for i, size := range []int{0, 10, 5000, 300_000, datastorehb.MaxPayload, 3, 20_000} {
		payload := []byte(strings.Repeat("x", size))
		if err := a.WriteList(payload, uint64(i+1)); err != nil {
			t.Fatal(err)
		}
		got, state, err := b.ReadList(1)
		if state != datastorehb.Valid || err != nil || string(got) != string(payload) {
			t.Fatalf("list of %d bytes: %v, %v, %d bytes", size, state, err, len(got))
		}
	}
	if err := a.WriteList(nil, 7); err == nil {
		t.Error("a revision was written twice")
	}
	if err := a.WriteList(make([]byte, datastorehb.MaxPayload+1), 8); err == nil {
		t.Error("a list that is too long was written")
	}
	a.Close()
	next := f.openAs(want)
	if err := next.WriteList([]byte("next"), 7); err == nil {
		t.Error("the next incarnation wrote a revision of its forerunner's")
	}
	if err := next.WriteList([]byte("next"), 9); err != nil {
		t.Error(err)
	}
	if got, _, _ := b.ReadList(1); string(got) != "next" {
		t.Errorf("read %q", got)
	}
}

func TestMachines(t *testing.T) {
	f := newFixture(t)
	a := f.open(1)
	vm := uuid.UUID{7}
	rec := datastorehb.Record{Register: datastorehb.GenerationsOf(vm), Number: 1, Nonce: uuid.UUID{1}, Writer: writer(1), Payload: []byte("g")}
	states := func() (generation, entry datastorehb.ReadState) {
		t.Helper()
		_, generation, err := a.Newest(datastorehb.GenerationsOf(vm))
		_, entry, also := a.Newest(datastorehb.EntriesOf(vm))
		if err != nil || also != nil {
			t.Fatal(err, also)
		}
		return generation, entry
	}
	if generation, entry := states(); generation != datastorehb.Absent || entry != datastorehb.Absent {
		t.Fatalf("before: generation %v, entry %v", generation, entry)
	}
	if _, err := a.Claim(rec); err != nil {
		t.Fatal(err)
	}
	if generation, entry := states(); generation != datastorehb.Valid || entry != datastorehb.Absent {
		t.Fatalf("after: generation %v, entry %v", generation, entry)
	}
	vms, err := a.Machines()
	if diff := cmp.Diff([]uuid.UUID{vm}, vms); diff != "" || err != nil {
		t.Fatal(diff, err)
	}
}

func TestOpenRefusals(t *testing.T) {
	other := uuid.MustParse("5c1e1eaf-0000-4000-8000-000000000002")
	tests := []struct {
		name  string
		spoil func(t *testing.T, f *fixture, want *Expect)
		err   error
	}{
		{"not mounted", func(t *testing.T, f *fixture, _ *Expect) { f.path = t.TempDir() }, ErrNotMounted},
		{"no such path", func(t *testing.T, f *fixture, _ *Expect) { f.path += "/none" }, ErrNotMounted},
		{"not initialised", func(t *testing.T, f *fixture, _ *Expect) {
			must(t, os.RemoveAll(filepath.Join(f.path, rootDir)))
			must(t, os.Mkdir(filepath.Join(f.path, "lost+found"), 0o700))
		}, ErrNotInitialised},
		{"interrupted init", func(t *testing.T, f *fixture, _ *Expect) {
			must(t, os.Rename(f.dir(), filepath.Join(f.path, rootDir, "init-x")))
		}, ErrNotInitialised},
		{"foreign cluster", func(_ *testing.T, _ *fixture, want *Expect) { want.Cluster = other }, ErrForeign},
		{"foreign identity", func(t *testing.T, f *fixture, want *Expect) {
			must(t, os.Rename(f.dir(), filepath.Join(f.path, rootDir, other.String())))
			want.Cluster = other
		}, ErrForeign},
		{"replaced", func(_ *testing.T, _ *fixture, want *Expect) { want.Datastore = other }, ErrReplaced},
		{"folder gone", func(t *testing.T, f *fixture, _ *Expect) { must(t, os.RemoveAll(f.dir())) }, ErrEmptied},
		{"identity gone", func(t *testing.T, f *fixture, _ *Expect) { must(t, os.Remove(filepath.Join(f.dir(), identityFile))) }, ErrEmptied},
		{"region gone", func(t *testing.T, f *fixture, _ *Expect) { must(t, os.Remove(filepath.Join(f.dir(), regionFile))) }, ErrEmptied},
		{"identity truncated", func(t *testing.T, f *fixture, _ *Expect) {
			must(t, os.Truncate(filepath.Join(f.dir(), identityFile), 100))
		}, datastorehb.ErrDamaged},
		{"region truncated", func(t *testing.T, f *fixture, _ *Expect) {
			must(t, os.Truncate(filepath.Join(f.dir(), regionFile), 8192))
		}, datastorehb.ErrDamaged},
		{"future version", func(t *testing.T, f *fixture, _ *Expect) { raiseVersion(t, filepath.Join(f.dir(), identityFile)) }, datastorehb.ErrFutureVersion},
		{"attribute differs", func(t *testing.T, f *fixture, _ *Expect) {
			if err := xattr.Set(f.dir(), identityAttribute, []byte("another")); err != nil {
				t.Skipf("no user attributes here: %v", err)
			}
		}, ErrMismatch},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			want := f.expect(1)
			tt.spoil(t, f, &want)
			s, err := Open(f.path, want)
			if !errors.Is(err, tt.err) {
				t.Fatalf("got %v, want %v", err, tt.err)
			}
			if s != nil {
				t.Fatal("a store came with the error")
			}
		})
	}
}

func TestCheckIdentityNotices(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(t *testing.T, f *fixture)
		err   error
	}{
		{"moved away", func(t *testing.T, f *fixture) {
			must(t, os.Rename(filepath.Join(f.path, rootDir), filepath.Join(f.path, "away")))
		}, ErrGone},
		{"nothing", func(*testing.T, *fixture) {}, nil},
		{"folder deleted", func(t *testing.T, f *fixture) { must(t, os.RemoveAll(filepath.Join(f.path, rootDir))) }, ErrNotMounted},
		{"cluster's folder deleted", func(t *testing.T, f *fixture) { must(t, os.RemoveAll(f.dir())) }, ErrEmptied},
		{"identity deleted", func(t *testing.T, f *fixture) { must(t, os.Remove(filepath.Join(f.dir(), identityFile))) }, ErrEmptied},
		{"region deleted", func(t *testing.T, f *fixture) { must(t, os.Remove(filepath.Join(f.dir(), regionFile))) }, ErrEmptied},
		{"region replaced", func(t *testing.T, f *fixture) { copyOver(t, filepath.Join(f.dir(), regionFile)) }, ErrReplaced},
		{"restored from a copy", func(t *testing.T, f *fixture) {
			old := f.dir() + ".old"
			must(t, os.Rename(f.dir(), old))
			must(t, os.CopyFS(f.dir(), os.DirFS(old)))
		}, ErrReplaced},
		{"initialised anew", func(t *testing.T, f *fixture) {
			must(t, os.RemoveAll(f.dir()))
			_, err := Init(f.path, testCluster, "alpha", 8)
			must(t, err)
		}, ErrReplaced},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			s := f.open(1)
			tt.spoil(t, f)
			if err := s.CheckIdentity(); !errors.Is(err, tt.err) {
				t.Fatalf("got %v, want %v", err, tt.err)
			}
		})
	}
}

func TestNothingIsAbsentOnADatastoreThatIsGone(t *testing.T) {
	f := newFixture(t)
	s := f.open(1)
	must(t, os.RemoveAll(filepath.Join(f.path, rootDir)))
	if _, state, err := s.Newest(datastorehb.TermsOf(2)); state != datastorehb.Unreadable || !errors.Is(err, ErrEmptied) {
		t.Errorf("Newest: %v, %v", state, err)
	}
	if _, state, err := s.ReadList(2); state != datastorehb.Unreadable || !errors.Is(err, ErrEmptied) {
		t.Errorf("ReadList: %v, %v", state, err)
	}
	if _, err := s.Machines(); !errors.Is(err, ErrEmptied) {
		t.Errorf("Machines: %v", err)
	}
	if res, err := s.Claim(s.term(1, 1)); err == nil || res.Outcome != datastorehb.ClaimFailed {
		t.Errorf("Claim: %v, %v", res.Outcome, err)
	}
	if err := s.WriteList([]byte("x"), 1); err == nil {
		t.Error("WriteList made the list anew")
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// copyOver replaces a file by a copy of itself.
func copyOver(t testing.TB, name string) {
	b, err := os.ReadFile(name)
	must(t, err)
	must(t, os.WriteFile(name+".copy", b, 0o600))
	must(t, os.Rename(name+".copy", name))
}
