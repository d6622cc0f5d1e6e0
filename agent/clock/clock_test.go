package clock

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"storebeat/datastorehb"
)

func TestNowIsBootTimeAndDoesNotGoBack(t *testing.T) {
	var before, after unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &before); err != nil {
		t.Fatal(err)
	}
	last := Now()
	for range 1000 {
		now := Now()
		if now < last {
			t.Fatalf("the clock went from %v back to %v", last, now)
		}
		last = now
	}
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &after); err != nil {
		t.Fatal(err)
	}
	if int64(last) < before.Nano() || int64(last) > after.Nano() {
		t.Errorf("%v is not between %v and %v", last, before, after)
	}
}

func TestMachineID(t *testing.T) {
	const good = "3d1219c7c4c5404aaa1f6d2a48adfda4"
	for _, c := range []struct {
		name, text string
		want       string // "" when an error is wanted
	}{
		{"plain", good + "\n", "3d1219c7-c4c5-404a-aa1f-6d2a48adfda4"},
		{"without newline", good, "3d1219c7-c4c5-404a-aa1f-6d2a48adfda4"},
		{"empty", "", ""},
		{"first boot", "uninitialized\n", ""},
		{"zeros", strings.Repeat("0", 32), ""},
		{"no hexadecimal", strings.Repeat("z", 32), ""},
		{"too long", good + good, ""},
		{"endless", strings.Repeat(good, 1000), ""},
		{"urn", "urn:uuid:3d1219c7-c4c5-404a-aa1f-6d2a48adfda4", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "machine-id")
			if err := os.WriteFile(path, []byte(c.text), 0o644); err != nil {
				t.Fatal(err)
			}
			id, err := machineIDFrom(path)
			if c.want == "" {
				if err == nil || !strings.Contains(err.Error(), "systemd-machine-id-setup") {
					t.Fatalf("got %v, %v; want an error that names the remedy", id, err)
				}
				return
			}
			if err != nil || id.String() != c.want {
				t.Errorf("got %v, %v; want %s", id, err, c.want)
			}
		})
	}
}

func TestMissingMachineIDNamesFileAndRemedy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "machine-id")
	_, err := machineIDFrom(path)
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "systemd-machine-id-setup") {
		t.Errorf("got %v", err)
	}
}

func TestBootID(t *testing.T) {
	first, err := BootID()
	if err != nil {
		t.Fatal(err)
	}
	second, err := BootID()
	if err != nil || first != second {
		t.Errorf("got %v, then %v, %v", first, second, err)
	}
}

func TestIncarnationsDiffer(t *testing.T) {
	seen := map[uint64]bool{0: true}
	for range 1000 {
		n := NewIncarnation()
		if seen[n] {
			t.Fatalf("%d came twice, or is zero", n)
		}
		seen[n] = true
	}
}

func TestPaceHoldsBackAndCounts(t *testing.T) {
	p := Pace{Every: time.Second}
	at := func(d time.Duration) datastorehb.Instant { return datastorehb.Instant(0).Add(d) }
	for _, c := range []struct {
		at   time.Duration
		ok   bool
		held uint64
	}{
		{0, true, 0},
		{100 * time.Millisecond, false, 0},
		{999 * time.Millisecond, false, 0},
		{time.Second, true, 2},
		{3 * time.Second, true, 0},
	} {
		if ok, held := p.Allow(at(c.at)); ok != c.ok || held != c.held {
			t.Errorf("at %v: got %v, %d; want %v, %d", c.at, ok, held, c.ok, c.held)
		}
	}
}
