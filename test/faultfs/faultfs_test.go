package faultfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"storebeat/test/faultfs"
)

// twoMounts mounts one directory twice.
func twoMounts(t *testing.T) (a, b *faultfs.Mount) {
	t.Helper()
	if err := faultfs.Available(); err != nil {
		t.Skip(err)
	}
	directory := t.TempDir()
	mount := func() *faultfs.Mount {
		m, err := faultfs.New(directory, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		})
		return m
	}
	return mount(), mount()
}

func TestWhatOneMountWritesTheOtherReads(t *testing.T) {
	a, b := twoMounts(t)
	for _, text := range []string{"one", "two", "a longer one"} {
		if err := os.WriteFile(filepath.Join(a.Path(), "file"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(b.Path(), "file")); err != nil || string(got) != text {
			t.Errorf("read %q (%v), not %q", got, err, text)
		}
	}
}

func TestHangAndHeal(t *testing.T) {
	a, b := twoMounts(t)
	a.Hang()
	done := make(chan error, 1)
	go func() { done <- os.WriteFile(filepath.Join(a.Path(), "file"), []byte("late"), 0o644) }()
	for deadline := time.Now().Add(10 * time.Second); a.Hung() == 0; {
		if time.Now().After(deadline) {
			t.Fatal("nothing hangs")
		}
		select {
		case err := <-done:
			t.Fatalf("the write did not hang: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	if err := os.WriteFile(filepath.Join(b.Path(), "other"), nil, 0o644); err != nil {
		t.Errorf("the other mount does not work: %v", err)
	}
	a.Heal()
	if err := <-done; err != nil {
		t.Errorf("the healed write failed: %v", err)
	}
}

func TestFail(t *testing.T) {
	a, _ := twoMounts(t)
	a.Fail(syscall.EIO)
	if _, err := os.ReadDir(a.Path()); !errors.Is(err, syscall.EIO) {
		t.Errorf("reading a broken mount: %v, not %v", err, syscall.EIO)
	}
	a.Heal()
	if _, err := os.ReadDir(a.Path()); err != nil {
		t.Error(err)
	}
}

func TestCloseEndsWhatHangs(t *testing.T) {
	a, _ := twoMounts(t)
	f, err := os.Create(filepath.Join(a.Path(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a.Hang()
	done := make(chan error, 1)
	go func() {
		_, err := f.Write([]byte("x"))
		done <- err
	}()
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("a request hangs after Close")
	}
}
