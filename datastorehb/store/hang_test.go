package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"storebeat/datastorehb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLockKeepsOthersOut(t *testing.T) {
	f := newFixture(t)
	want := f.expect(1)
	s := f.openAs(want)
	_, err := Open(f.path, want)
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Fatalf("a second store: %v", err)
	}
	s.Close()
	s.Close()
	f.openAs(want)
	want.LockDir = ""
	if _, err := Open(f.path, want); err == nil {
		t.Error("a store was opened without a lock")
	}
}

// TestRefusedOpenGivesTheLockBack lets Open fail after it took the lock.
func TestRefusedOpenGivesTheLockBack(t *testing.T) {
	f := newFixture(t)
	want := f.expect(1)
	must(t, os.Rename(f.dir(), f.dir()+".away"))
	if _, err := Open(f.path, want); !errors.Is(err, ErrEmptied) {
		t.Fatal(err)
	}
	must(t, os.Rename(f.dir()+".away", f.dir()))
	f.openAs(want)
}

// TestHungWrite holds a write of the slot in the file system. Everything else goes
// on, a second write is refused, and the local lock stays taken until it returns,
// even when the store is closed.
func TestHungWrite(t *testing.T) {
	f := newFixture(t)
	hanging, release := make(chan struct{}), make(chan struct{})
	want := f.expect(1)
	hook := withHook(func(op, name string, do func() error) error {
		if op == "write" && name == regionFile {
			close(hanging)
			<-release
		}
		return do()
	})
	want.Wrap = hook
	s := f.openAs(want)
	result := make(chan error, 1)
	go func() { result <- s.WriteSlot(datastorehb.Slot{Writer: writer(1), Sequence: 1}) }()
	<-hanging
	if err := s.WriteSlot(datastorehb.Slot{Writer: writer(1), Sequence: 2}); !errors.Is(err, ErrBusy) {
		t.Errorf("a second write: %v", err)
	}
	if _, err := s.ReadRegion(nil); err != nil {
		t.Errorf("a read beside it: %v", err)
	}
	res, err := s.Claim(s.term(1, 1))
	checkOutcome(t, "a claim beside it", res, err, datastorehb.ClaimWon)
	s.Close()
	if _, err := Open(f.path, want); !errors.Is(err, ErrLocked) {
		t.Errorf("the lock of a store that hangs: %v", err)
	}
	close(release)
	must(t, <-result)
	want.Wrap = nil
	waitFor(t, "the lock", func() bool {
		next, err := Open(f.path, want)
		if err == nil {
			next.Close()
		}
		return err == nil
	})
}

// waitFor polls for a condition, with a generous limit.
func waitFor(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// TestFullDatastore fills a small file system to the last byte: slots, lists (the
// first one, too) and claims go on, until the ready files are used up.
func TestFullDatastore(t *testing.T) {
	path := t.TempDir()
	if err := unix.Mount("tmpfs", path, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("a small file system can't be mounted (needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	id, err := Init(path, testCluster, "small", 8)
	must(t, err)
	f := &fixture{t: t, path: path, id: id}
	s := f.open(1)
	must(t, s.Refill())
	fill(t, filepath.Join(path, "ballast"))
	must(t, s.WriteSlot(datastorehb.Slot{Writer: writer(1), Sequence: 1}))
	must(t, s.WriteList([]byte("full"), 1))
	for n := uint64(1); n <= readyFull; n++ {
		res, err := s.Claim(s.term(n, byte(n)))
		checkOutcome(t, "claim on a full datastore", res, err, datastorehb.ClaimWon)
	}
	res, err := s.Claim(s.term(readyFull+1, 99))
	checkOutcome(t, "claim without a ready file", res, err, datastorehb.ClaimFailed)
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("the error does not say that there is no space: %v", err)
	}
	if err := s.WriteList([]byte(strings.Repeat("x", 200_000)), 2); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a list that needs space: %v", err)
	}
	if got, state, err := s.ReadList(1); state != datastorehb.Valid || err != nil || string(got) != "full" {
		t.Errorf("the list before it: %d bytes, %v, %v", len(got), state, err)
	}
	must(t, os.Remove(filepath.Join(path, "ballast")))
	must(t, s.Refill())
	res, err = s.Claim(s.term(readyFull+1, 100))
	checkOutcome(t, "claim when there is space again", res, err, datastorehb.ClaimWon)
}

func fill(t *testing.T, name string) {
	f, err := os.Create(name)
	must(t, err)
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, unix.ENOSPC) {
			size /= 2
		} else {
			must(t, err)
		}
	}
}

// TestUnmountedLazily takes the file system away under an open store and puts
// nothing, or another one, in its place.
func TestUnmountedLazily(t *testing.T) {
	path := t.TempDir()
	if err := unix.Mount("tmpfs", path, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("a small file system can't be mounted (needs root): %v", err)
	}
	id, err := Init(path, testCluster, "small", 2)
	must(t, err)
	f := &fixture{t: t, path: path, id: id}
	s := f.open(1)
	must(t, s.CheckIdentity())
	must(t, unix.Unmount(path, unix.MNT_DETACH))
	if err := s.CheckIdentity(); !errors.Is(err, ErrNotMounted) {
		t.Errorf("after the unmount: %v", err)
	}
	if _, state, err := s.Newest(datastorehb.TermsOf(1)); state != datastorehb.Absent || err != nil {
		t.Errorf("the store did not stay on its file system: %v, %v", state, err)
	}
	_, err = Init(path, testCluster, "small", 2)
	must(t, err)
	if err := s.CheckIdentity(); !errors.Is(err, ErrReplaced) {
		t.Errorf("with another one in its place: %v", err)
	}
}
