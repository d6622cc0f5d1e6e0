package ticker

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

type lines struct{ text strings.Builder }

func (l *lines) Write(p []byte) (int, error) { return l.text.Write(p) }

func TestTicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		stop := make(chan os.Signal, 1)
		time.AfterFunc(250*time.Millisecond, func() { stop <- syscall.SIGTERM })
		if err := tick(&log, "h1", 100*time.Millisecond, stop); err != nil {
			t.Fatal(err)
		}
		at := regexp.MustCompile(`\d\d:\d\d:\d\d\.\d{3}`)
		got := at.ReplaceAllString(log.text.String(), "TIME")
		want := "BOOT TIME h1\nT 00000001 TIME h1\nT 00000002 TIME h1\nT 00000003 TIME h1\nDOWN TIME h1\n"
		if got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
	})
}

func TestRunSaysThatItEnded(t *testing.T) {
	dir := t.TempDir()
	exit := filepath.Join(dir, "exit")
	t.Setenv(exitVariable, exit)
	stop := make(chan os.Signal, 1)
	stop <- syscall.SIGTERM
	if err := run(filepath.Join(dir, "log"), "", time.Hour, stop); err != nil {
		t.Fatal(err)
	}
	if said, err := os.ReadFile(exit); err != nil || string(said) != "0\n" {
		t.Errorf("exit file holds %q, %v", said, err)
	}
}

func TestMainRefuses(t *testing.T) {
	for _, args := range [][]string{{}, {"a", "b"}, {"-every", "0", "a"}, {"-abacus", "a"}} {
		if code := Main(args); code != 2 {
			t.Errorf("%q: status %d, want 2", args, code)
		}
	}
	if code := Main([]string{filepath.Join(t.TempDir(), "no", "log")}); code != 1 {
		t.Errorf("log that can't be made: status %d, want 1", code)
	}
}

type full struct{}

var errFull = errors.New("full")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestWriteFails(t *testing.T) {
	if err := tick(full{}, "", time.Hour, nil); !errors.Is(err, errFull) {
		t.Errorf("got %v, want %v", err, errFull)
	}
}
