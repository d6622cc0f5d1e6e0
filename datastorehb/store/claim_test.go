package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"storebeat/datastorehb"
)

func (f *fixture) openWith(h datastorehb.HostID, k hook) *Store {
	f.t.Helper()
	want := f.expect(h)
	want.Wrap = withHook(k)
	return f.openAs(want)
}

func checkOutcome(t *testing.T, what string, res Result, err error, want datastorehb.Outcome) {
	t.Helper()
	if res.Outcome != want || (err != nil) != (want == datastorehb.ClaimFailed) {
		t.Fatalf("%s: %v, %v; want %v", what, res.Outcome, err, want)
	}
}

func TestClaimWhateverLinkReturns(t *testing.T) {
	tests := []struct {
		name string
		link func(do func() error) error
		want datastorehb.Outcome
	}{
		{"the reply is lost", func(do func() error) error { _ = do(); return unix.EIO }, datastorehb.ClaimWon},
		{"the order is repeated", func(do func() error) error { _ = do(); return do() }, datastorehb.ClaimWon},
		{"the order is lost", func(func() error) error { return unix.EIO }, datastorehb.ClaimFailed},
		{"the order is lost, the reply is not", func(func() error) error { return nil }, datastorehb.ClaimFailed},
		{"the directory is full", func(func() error) error { return unix.ENOSPC }, datastorehb.ClaimFailed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			s := f.openWith(1, onLink("terms/1", tt.link))
			rec := s.term(1, 1)
			res, err := s.Claim(rec)
			checkOutcome(t, "claim", res, err, tt.want)
			if tt.want == datastorehb.ClaimWon {
				if diff := cmp.Diff(&rec, res.Winner); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// TestLinkLandsAfterTheCall is the reason why a claim that failed proves nothing:
// here it wins afterwards.
func TestLinkLandsAfterTheCall(t *testing.T) {
	f := newFixture(t)
	var late func() error
	s := f.openWith(1, onLink("terms/1", func(do func() error) error {
		if late == nil {
			late = do
			return unix.ETIMEDOUT
		}
		return do()
	}))
	res, err := s.Claim(s.term(1, 1))
	checkOutcome(t, "first claim", res, err, datastorehb.ClaimFailed)
	must(t, late())
	got, state, err := s.Newest(datastorehb.TermsOf(1))
	if state != datastorehb.Valid || err != nil || got.Nonce != (uuid.UUID{1}) {
		t.Fatalf("newest: %v, %v", state, err)
	}
	res, err = s.Claim(s.term(1, 2))
	checkOutcome(t, "second claim", res, err, datastorehb.ClaimLost)
	if res.Winner.Nonce != (uuid.UUID{1}) {
		t.Errorf("the winner is %v", res.Winner.Nonce)
	}
}

// TestLateLinkFailsAfterRefill shows that a used claim file, once unlinked, can't
// be linked any more.
func TestLateLinkFailsAfterRefill(t *testing.T) {
	f := newFixture(t)
	var late func() error
	s := f.openWith(1, onLink("terms/1", func(do func() error) error {
		late = do
		return unix.ETIMEDOUT
	}))
	if res, err := s.Claim(s.term(1, 1)); err == nil || res.Outcome != datastorehb.ClaimFailed {
		t.Fatalf("%v, %v", res.Outcome, err)
	}
	must(t, s.Refill())
	if err := late(); !isAbsent(err) {
		t.Errorf("the late link: %v", err)
	}
}

// TestStaleLookup lets the first look at the final name find nothing, as an NFS
// client does that remembers an earlier one.
func TestStaleLookup(t *testing.T) {
	f := newFixture(t)
	looks := 0
	s := f.openWith(1, func(op, name string, do func() error) error {
		if strings.HasPrefix(op, "open") && strings.HasPrefix(name, "terms/1/") {
			if looks++; looks == 1 {
				return unix.ENOENT
			}
		}
		return do()
	})
	res, err := s.Claim(s.term(1, 1))
	checkOutcome(t, "claim", res, err, datastorehb.ClaimWon)
}

// TestClaimRace lets several hosts, each with several attempts at once, claim the
// same numbers: each number has exactly one winner, and nobody doubts it.
func TestClaimRace(t *testing.T) {
	const hosts, attempts, numbers = 4, 3, 12
	f := newFixture(t)
	reg := datastorehb.GenerationsOf(uuid.UUID{7})
	var stores []*Store
	for h := range hosts {
		stores = append(stores, f.open(datastorehb.HostID(h+1)))
	}
	for n := uint64(1); n <= numbers; n++ {
		var mu sync.Mutex
		var wins []uuid.UUID
		var winners []uuid.UUID
		var wg sync.WaitGroup
		for h, s := range stores {
			for a := range attempts {
				wg.Go(func() {
					nonce := uuid.UUID{byte(h + 1), byte(a + 1), byte(n)}
					res, err := s.Claim(datastorehb.Record{Register: reg, Number: n, Nonce: nonce, Writer: s.want.Writer})
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						t.Errorf("claim: %v", err)
						return
					}
					winners = append(winners, res.Winner.Nonce)
					if res.Outcome == datastorehb.ClaimWon {
						wins = append(wins, nonce)
					}
				})
			}
		}
		wg.Wait()
		if len(wins) != 1 {
			t.Fatalf("number %d has %d winners", n, len(wins))
		}
		for _, w := range winners {
			if w != wins[0] {
				t.Errorf("number %d: somebody takes %v for the winner, it is %v", n, w, wins[0])
			}
		}
	}
}

// TestRefillDisturbsNoClaim refills all the time while claims are made: the file
// of a claim under way is not to be unlinked under it.
func TestRefillDisturbsNoClaim(t *testing.T) {
	f := newFixture(t)
	s := f.open(1)
	stop := make(chan struct{})
	var refilling, claiming sync.WaitGroup
	refilling.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if err := s.Refill(); err != nil {
					t.Errorf("refill: %v", err)
					return
				}
			}
		}
	})
	for vm := range byte(8) {
		claiming.Go(func() {
			for n := uint64(1); n <= 20; n++ {
				res, err := s.Claim(datastorehb.Record{Register: datastorehb.GenerationsOf(uuid.UUID{vm + 1}), Number: n, Nonce: uuid.UUID{vm + 1, byte(n)}, Writer: s.want.Writer})
				if err != nil || res.Outcome != datastorehb.ClaimWon {
					t.Errorf("claim %d of machine %d: %v, %v", n, vm, res.Outcome, err)
				}
			}
		})
	}
	claiming.Wait()
	close(stop)
	refilling.Wait()
}

// TestClaimFailsAtEveryStep lets each operation of a claim fail, with and without
// effect, alone and as a crash. Whatever happens, no value is ever held twice, a win
// that was reported lasts, and the next agent can go on.
func TestClaimFailsAtEveryStep(t *testing.T) {
	everyFault(t, claimFailsAt)
}

func claimFailsAt(t *testing.T, step int, c *countdown) (fired bool) {
	f := newFixture(t)
	want := f.expect(1)
	want.Wrap = withHook(c.hook)
	s := f.openAs(want)
	rec := datastorehb.Record{Register: datastorehb.GenerationsOf(uuid.UUID{7}), Number: 1, Nonce: uuid.UUID{1}, Writer: writer(1)}
	c.arm(step)
	res, err := s.Claim(rec)
	fired = c.fired()
	c.arm(never)
	if !fired && (err != nil || res.Outcome != datastorehb.ClaimWon) {
		t.Fatalf("nothing failed: %v, %v", res.Outcome, err)
	}
	if res.Outcome == datastorehb.ClaimLost {
		t.Fatalf("step %d: lost to nobody", step)
	}
	s.Close()
	next := want
	next.Wrap = nil
	s = f.openAs(next)
	held, state, err := s.Newest(rec.Register)
	if err != nil || state == datastorehb.Valid && held.Nonce != rec.Nonce {
		t.Fatalf("step %d: %v, %v", step, state, err)
	}
	if res.Outcome == datastorehb.ClaimWon && state != datastorehb.Valid {
		t.Fatalf("step %d: the win is gone", step)
	}
	rec.Nonce = uuid.UUID{2}
	again, err := s.Claim(rec)
	want2 := datastorehb.ClaimWon
	if state == datastorehb.Valid {
		want2 = datastorehb.ClaimLost
	}
	checkOutcome(t, fmt.Sprintf("step %d: the next claim", step), again, err, want2)
	return fired
}

func TestClaimsOfLargeRecords(t *testing.T) {
	f := newFixture(t)
	s := f.open(1)
	rec := datastorehb.Record{Register: datastorehb.EntriesOf(uuid.UUID{7}), Nonce: uuid.UUID{1}, Writer: writer(1)}
	for _, size := range []int{0, 3936, 3937, 8000, 8033, 100_000, datastorehb.MaxPayload} {
		rec.Number++
		rec.Payload = []byte(strings.Repeat("e", size))
		res, err := s.Claim(rec)
		checkOutcome(t, fmt.Sprint(size), res, err, datastorehb.ClaimWon)
		got, state, err := s.Newest(rec.Register)
		if state != datastorehb.Valid || err != nil || string(got.Payload) != string(rec.Payload) {
			t.Fatalf("%d bytes: %v, %v", size, state, err)
		}
	}
	rec.Payload = make([]byte, datastorehb.MaxPayload+1)
	if _, err := s.Claim(rec); err == nil {
		t.Error("a payload that is too long was claimed")
	}
}

// TestMetadataOperations counts what one takeover asks of the file server, from the
// record that it follows to the last look at the entry: it stays within ten,
// however many machines there are.
func TestMetadataOperations(t *testing.T) {
	f := newFixture(t)
	s := f.open(1)
	must(t, s.Refill())
	first := int64(0)
	for n := range 40 {
		vm := uuid.UUID{7, byte(n)}
		for _, reg := range []datastorehb.Register{datastorehb.GenerationsOf(vm), datastorehb.EntriesOf(vm)} {
			res, err := s.Claim(datastorehb.Record{Register: reg, Number: 1, Nonce: uuid.UUID{1}, Writer: writer(1)})
			checkOutcome(t, "prepare", res, err, datastorehb.ClaimWon)
		}
		must(t, s.Refill())
		before := s.Counter().Metadata()
		if _, state, err := s.Value(datastorehb.GenerationsOf(vm), 1); state != datastorehb.Valid || err != nil {
			t.Fatal(state, err)
		}
		res, err := s.Claim(datastorehb.Record{Register: datastorehb.GenerationsOf(vm), Number: 2, Nonce: uuid.UUID{2}, Writer: writer(1)})
		checkOutcome(t, "takeover", res, err, datastorehb.ClaimWon)
		if _, state, err := s.Newest(datastorehb.EntriesOf(vm)); state != datastorehb.Valid || err != nil {
			t.Fatal(state, err)
		}
		for _, name := range s.ready.takeUsed() { // what Refill will do later counts as well
			must(t, s.fs.Unlink(name))
		}
		took := s.Counter().Metadata() - before
		if n == 0 {
			first = took
			t.Logf("%d metadata operations", took)
		}
		if took > 10 || took != first {
			t.Fatalf("machine %d took %d metadata operations, the first one %d", n, took, first)
		}
		must(t, s.Refill())
	}
}

func TestClaimFilesAreUsedOnce(t *testing.T) {
	f := newFixture(t)
	var names []string
	want := f.expect(1)
	s := f.openAs(want)
	other := f.open(2)
	for range 3 {
		must(t, s.Refill())
		if got := s.ready.missing(readyFull); got != 0 {
			t.Fatalf("%d files are missing", got)
		}
		for range readyFull + 2 {
			file, err := s.stage(alignedBuffer(datastorehb.BlockSize))
			must(t, err)
			names = append(names, file.name)
			s.ready.spent(file)
		}
	}
	seen := map[string]bool{}
	for _, n := range names {
		if seen[n] {
			t.Fatalf("%s was used twice", n)
		}
		seen[n] = true
	}
	s.Close()
	want.Writer.Incarnation++
	f.openAs(want)
	left, err := os.ReadDir(filepath.Join(f.dir(), readyDir))
	must(t, err)
	own := 0
	for _, e := range left {
		if strings.HasPrefix(e.Name(), "1-") {
			own++
		}
	}
	if own != readyAtOpen || len(left)-own != readyAtOpen {
		t.Errorf("%d own claim files and %d others", own, len(left)-own)
	}
	must(t, other.Refill())
}

func TestBadRegisters(t *testing.T) {
	f := newFixture(t)
	s := f.open(1)
	for n := uint64(1); n <= 4; n++ {
		res, err := s.Claim(s.term(n, byte(n)))
		checkOutcome(t, "claim", res, err, datastorehb.ClaimWon)
	}
	dir := filepath.Join(f.dir(), "terms", "1")
	must(t, os.WriteFile(filepath.Join(dir, ".nfs00001234"), nil, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, strings.Repeat("0", 20)), nil, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "9"), nil, 0o600))
	newest := filepath.Join(dir, fmt.Sprintf("%020d", 4))
	good, err := os.ReadFile(newest)
	must(t, err)
	future := append([]byte{}, good...)
	raiseVersionIn(future)
	for name, tt := range map[string]struct {
		raw []byte
		err error
	}{
		"good":           {good, nil},
		"empty":          {nil, datastorehb.ErrDamaged},
		"truncated":      {good[:1000], datastorehb.ErrDamaged},
		"too long":       {append(append([]byte{}, good...), good...), datastorehb.ErrDamaged},
		"a little long":  {append(append([]byte{}, good...), 0), datastorehb.ErrDamaged},
		"zeros":          {make([]byte, 4096), datastorehb.ErrDamaged},
		"future version": {future, datastorehb.ErrFutureVersion},
	} {
		must(t, os.WriteFile(newest, tt.raw, 0o600))
		_, state, err := s.Newest(datastorehb.TermsOf(1))
		if !errors.Is(err, tt.err) || (state == datastorehb.Valid) != (tt.err == nil) || tt.err != nil && state != datastorehb.Corrupt {
			t.Errorf("%s: %v, %v", name, state, err)
		}
		res, err := s.Claim(s.term(4, 99))
		want := datastorehb.ClaimLost
		if tt.err != nil {
			want = datastorehb.ClaimFailed
		}
		checkOutcome(t, name, res, err, want)
	}
}
