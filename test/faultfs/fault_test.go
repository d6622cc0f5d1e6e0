package faultfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"storebeat/test/faultfs"
)

func inject(t *testing.T, m *faultfs.Mount, faults ...faultfs.Fault) {
	t.Helper()
	if err := m.Inject(faults...); err != nil {
		t.Fatal(err)
	}
}

// written opens a new file through a mount and writes to it.
func written(t *testing.T, m *faultfs.Mount, text string) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(m.Path(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	return f
}

func holds(t *testing.T, m *faultfs.Mount, want string) {
	t.Helper()
	if got, err := os.ReadFile(filepath.Join(m.Path(), "file")); err != nil || string(got) != want {
		t.Errorf("the file holds %q (%v), not %q", got, err, want)
	}
}

func TestFaultOfOneOperation(t *testing.T) {
	a, b := twoMounts(t)
	f := written(t, a, "before")
	for _, c := range []struct {
		name  string
		fault faultfs.Fault
		errno error
		after string
	}{
		{"error", faultfs.Fault{Kind: faultfs.Error, Ops: []faultfs.Op{faultfs.Write}, Errno: syscall.ENOSPC}, syscall.ENOSPC, "before"},
		{"torn", faultfs.Fault{Kind: faultfs.Torn, Bytes: 2}, syscall.EIO, "AFfore"},
		{"lying", faultfs.Fault{Kind: faultfs.Lying}, nil, "before"},
		{"lost reply", faultfs.Fault{Kind: faultfs.LostReply}, syscall.EIO, "AFTER!"},
		{"of another operation", faultfs.Fault{Kind: faultfs.Error, Ops: []faultfs.Op{faultfs.Link}}, nil, "AFTER!"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inject(t, a)
			if _, err := f.WriteAt([]byte("before"), 0); err != nil {
				t.Fatal(err)
			}
			inject(t, a, c.fault)
			if _, err := f.WriteAt([]byte("AFTER!"), 0); !errors.Is(err, c.errno) {
				t.Errorf("writing: %v, not %v", err, c.errno)
			}
			holds(t, a, c.after)
			holds(t, b, c.after)
		})
	}
}

func TestLostReplyOfALink(t *testing.T) {
	a, b := twoMounts(t)
	written(t, a, "x")
	inject(t, a, faultfs.Fault{Kind: faultfs.LostReply, Ops: []faultfs.Op{faultfs.Link}, Errno: syscall.ETIMEDOUT})
	if err := os.Link(filepath.Join(a.Path(), "file"), filepath.Join(a.Path(), "name")); !errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("linking: %v", err)
	}
	if _, err := os.Stat(filepath.Join(b.Path(), "name")); err != nil {
		t.Errorf("the link was not made: %v", err)
	}
}

// TestLostReplyOfEach has the reply of each operation lost that changes something: it is
// reported as failed, and there; and what was made can be used by those who find it.
func TestLostReplyOfEach(t *testing.T) {
	a, b := twoMounts(t)
	at := func(m *faultfs.Mount, name string) string { return filepath.Join(m.Path(), name) }
	there := func(name string) bool { _, err := os.Lstat(at(b, name)); return err == nil }
	for _, c := range []struct {
		op   faultfs.Op
		do   func() error
		done func() bool
	}{
		{faultfs.Create, func() error { return os.WriteFile(at(a, "created"), nil, 0o644) }, func() bool { return there("created") }},
		{faultfs.Mkdir, func() error { return os.Mkdir(at(a, "directory"), 0o755) }, func() bool { return there("directory") }},
		{faultfs.Link, func() error { return os.Link(at(a, "created"), at(a, "linked")) }, func() bool { return there("linked") }},
		{faultfs.Rename, func() error { return os.Rename(at(a, "linked"), at(a, "renamed")) }, func() bool { return there("renamed") && !there("linked") }},
		{faultfs.Unlink, func() error { return unix.Unlink(at(a, "renamed")) }, func() bool { return !there("renamed") }},
		{faultfs.Rmdir, func() error { return unix.Rmdir(at(a, "directory")) }, func() bool { return !there("directory") }},
		{faultfs.SetAttr, func() error { return os.Truncate(at(a, "created"), 5) }, func() bool { info, err := os.Stat(at(b, "created")); return err == nil && info.Size() == 5 }},
	} {
		inject(t, a, faultfs.Fault{Kind: faultfs.LostReply, Ops: []faultfs.Op{c.op}})
		if err := c.do(); !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: %v", c.op, err)
		}
		inject(t, a)
		if !c.done() {
			t.Errorf("%s was not carried out", c.op)
		}
	}
	if err := os.WriteFile(at(a, "created"), []byte("again"), 0o644); err != nil {
		t.Errorf("what was made can't be written: %v", err)
	}
}

func TestSlow(t *testing.T) {
	a, _ := twoMounts(t)
	const delay = 50 * time.Millisecond
	inject(t, a, faultfs.Fault{Kind: faultfs.Slow, Delay: delay, Ops: []faultfs.Op{faultfs.Mkdir}})
	began := time.Now()
	if err := os.Mkdir(filepath.Join(a.Path(), "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < delay {
		t.Errorf("it took %v", took)
	}
}

func TestNonsenseIsRefused(t *testing.T) {
	for _, f := range []faultfs.Fault{{}, {Kind: "x"}, {Kind: faultfs.Hang, Ops: []faultfs.Op{"x"}}, {Kind: faultfs.Slow, Delay: -1}} {
		if f.Validate() == nil {
			t.Errorf("%+v is taken", f)
		}
	}
}

func TestCounts(t *testing.T) {
	a, _ := twoMounts(t)
	f := written(t, a, "x")
	before := a.Counts()
	for range 3 {
		if _, err := f.WriteAt([]byte("y"), 0); err != nil {
			t.Fatal(err)
		}
	}
	if n := a.Counts()[faultfs.Write] - before[faultfs.Write]; n != 3 {
		t.Errorf("3 writes were counted as %d", n)
	}
}

// lock takes an exclusive lock of an open file, as QEMU does.
func lock(f *os.File) error {
	return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Len: 1})
}

// rival opens the file through another mount.
func rival(t *testing.T, m *faultfs.Mount) *os.File {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(m.Path(), "file"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestRevokedLock(t *testing.T) {
	a, b := twoMounts(t)
	old, other := written(t, a, "x"), rival(t, b)
	if err := lock(old); err != nil {
		t.Fatal(err)
	}
	if err := lock(other); !errors.Is(err, syscall.EAGAIN) {
		t.Fatalf("two mounts have the lock: %v", err)
	}
	a.Hang()
	late := make(chan error, 1)
	go func() {
		_, err := old.WriteAt([]byte("late"), 0)
		late <- err
	}()
	for deadline := time.Now().Add(10 * time.Second); a.Hung() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing hangs")
		}
	}
	a.Revoke()
	if err := lock(other); err != nil {
		t.Errorf("the lock is not free: %v", err)
	}
	a.Heal()
	if err := <-late; !errors.Is(err, syscall.EIO) {
		t.Errorf("the late write: %v", err)
	}
	holds(t, b, "x")
}

func TestCloseFreesLocks(t *testing.T) {
	a, b := twoMounts(t)
	old, other := written(t, a, "x"), rival(t, b)
	if err := lock(old); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-a.Ended():
	case <-time.After(10 * time.Second):
		t.Fatal("the mount goes on")
	}
	if err := lock(other); err != nil {
		t.Errorf("the lock of a closed mount is not free: %v", err)
	}
}
