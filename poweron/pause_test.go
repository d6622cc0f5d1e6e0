package poweron

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What goes without saying is not written, so that programs which know nothing of it read
// the entry; what was said is read back.
func TestPauseInEntries(t *testing.T) {
	e := sampleEntry()
	plain, err := EncodeEntry(e, 1)
	if err != nil || bytes.Contains(plain, []byte("pause")) {
		t.Fatalf("%s, %v", plain, err)
	}
	e.Policy.Pause = Automatic
	if automatic, err := EncodeEntry(e, 1); err != nil || !bytes.Equal(automatic, plain) {
		t.Errorf("%s, %v", automatic, err)
	}
	if read, err := DecodeEntry(plain); err != nil || read.Policy.Pause != "" || read.Policy.Complete().Pause != Automatic {
		t.Errorf("%+v, %v", read.Policy, err)
	}
	for _, p := range []PauseResponse{Freeze, StopThenFreeze} {
		e.Policy.Pause = p
		b, err := EncodeEntry(e, 1)
		if err != nil {
			t.Fatal(err)
		}
		if read, err := DecodeEntry(b); err != nil || cmp.Diff(e, read) != "" {
			t.Errorf("%s: %v\n%s", p, err, cmp.Diff(e, read))
		}
	}
	said := bytes.Replace(plain, []byte(`},"driver"`), []byte(`,"pause":"auto"},"driver"`), 1)
	if _, err := DecodeEntry(said); err == nil || bytes.Equal(said, plain) {
		t.Error("an entry of two encodings is taken")
	}
}

func TestChangeOfPolicy(t *testing.T) {
	e := sampleEntry()
	pause, attempts, never, isolation, guest := StopThenFreeze, 0, false, PowerOff, StartAgain
	got, err := Change{Policy: PolicyChange{Pause: &pause, Attempts: &attempts, Restart: &never, Isolation: &isolation, OnGuestShutDown: &guest}}.Of(e)
	want := e
	want.Policy = e.Policy.Complete()
	want.Policy.Pause, want.Policy.Attempts, want.Policy.Restart, want.Policy.Isolation, want.Policy.OnGuestShutDown = pause, attempts, never, isolation, guest
	if err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("%v\n%s", err, cmp.Diff(want, got))
	}
	bad := PauseResponse("sleep")
	if _, err := (Change{Policy: PolicyChange{Pause: &bad}}).Of(e); err == nil || !strings.Contains(err.Error(), `pause is "sleep": use one of`) {
		t.Errorf("%v", err)
	}
}
