package diskfault

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestOneLookAtADiskHangs: of a disk that hangs, as a pipe does that nobody opens at
// its other end, one look is left behind, however often it is asked about; and once
// it answers it is looked at anew.
func TestOneLookAtADiskHangs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if Answers(path) {
		t.Error("what hangs is said to answer")
	}
	const times = 50
	before := runtime.NumGoroutine()
	for range times {
		if Answers(path) {
			t.Fatal("what hangs still is said to answer")
		}
	}
	if more := runtime.NumGoroutine() - before; more > times/2 {
		t.Errorf("%d looks are left behind", more)
	}
	other, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, make([]byte, 512), 0o600); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); !Answers(path); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the disk answers again, and nobody looks")
		}
	}
}
