package journal

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"storebeat/agent/core"
)

// Store processes that misbehave, as the test binary plays them.
const (
	hangingStore  = "store-that-hangs"
	crashingStore = "store-that-crashes"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case StoreCommand:
			if err := StoreMain(os.Args[2], os.Stdin, os.Stdout); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		case hangingStore:
			syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		case crashingStore:
			fmt.Fprintln(os.Stderr, "unexpected fault address")
			os.Exit(2)
		}
	}
	// Under the race detector every process sleeps for a second at its end.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	goleak.VerifyTestMain(m)
}

const patienceInTests = 60 * time.Second

func quick() Options {
	return Options{Command: SelfCommand(), Delay: time.Millisecond, Idle: 50 * time.Millisecond, Retry: 10 * time.Millisecond, Reserve: 1}
}

func start(t *testing.T, dir string, o Options) *Journal {
	t.Helper()
	j, err := Open(dir, nil, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(patienceInTests)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func allWritten(t *testing.T, j *Journal) {
	t.Helper()
	until(t, "everything is written", func() bool {
		h := j.Health()
		return h.Stored && h.Settled && h.Waiting == 0
	})
}

func event(n int) core.Event {
	return core.Event{Kind: "test", Text: fmt.Sprintf("event %d", n), Host: 7, Evidence: []string{"seen"}}
}

func add(j *Journal, from, to int) {
	for n := from; n <= to; n++ {
		j.Append(event(n))
	}
}

// contents prints entries as "id:text" for comparisons.
func contents(entries []Entry) []string {
	out := []string{}
	for _, e := range entries {
		out = append(out, fmt.Sprintf("%d:%s", e.ID, e.Text))
	}
	return out
}

func want(from, to int) []string {
	out := []string{}
	for n := from; n <= to; n++ {
		out = append(out, fmt.Sprintf("%d:event %d", n, n))
	}
	return out
}

func check(t *testing.T, j *Journal, f Filter, wanted []string) {
	t.Helper()
	if d := cmp.Diff(wanted, contents(j.List(f))); d != "" {
		t.Errorf("entries (-want +got):\n%s", d)
	}
}

func TestReopenedWithIdsContinuing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "journal")
	for round := range 3 {
		j := start(t, dir, quick())
		add(j, round*10+1, round*10+10) // before the store has been read
		allWritten(t, j)
		check(t, j, Filter{}, want(1, round*10+10))
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCloseWritesWhatWaits(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	o := quick()
	o.Delay = time.Hour
	j := start(t, dir, o)
	until(t, "the store has been read", func() bool { return j.Health().Settled })
	add(j, 1, 250)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = start(t, dir, quick())
	allWritten(t, j)
	check(t, j, Filter{}, want(1, 250))
}

func TestBurstIsWrittenBeforeMemoryIsFull(t *testing.T) {
	o := quick()
	o.Delay, o.InMemory = time.Hour, 100
	j := start(t, filepath.Join(t.TempDir(), "journal"), o)
	until(t, "the store has been read", func() bool { return j.Health().Settled })
	add(j, 1, 40)
	if h := j.Health(); h.Waiting == 0 {
		t.Error("a few events were written before the delay")
	}
	add(j, 41, 60)
	allWritten(t, j)
}

func TestListReachesBeyondMemory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	o := quick()
	o.InMemory = 20
	j := start(t, dir, o)
	for n := 1; n <= 100; n += 10 {
		add(j, n, n+9)
		allWritten(t, j)
	}
	check(t, j, Filter{}, want(1, 100))
	check(t, j, Filter{Limit: 50}, want(51, 100))
	check(t, j, Filter{Limit: 5}, want(96, 100))
	check(t, j, Filter{Kind: "other"}, []string{})
	if h := j.Health(); h.Dropped != 0 {
		t.Errorf("%d entries were dropped", h.Dropped)
	}
}

func TestFilter(t *testing.T) {
	vm, ds := uuid.New(), uuid.New()
	now := time.Now()
	j := start(t, "", Options{})
	for _, e := range []core.Event{
		{Text: "a", Host: 1, Wall: now.Add(-time.Hour)},
		{Text: "b", Host: 2, VM: vm, Kind: "k", Wall: now},
		{Text: "c", Datastore: ds, VM: vm, Wall: now},
	} {
		j.Append(e)
	}
	for _, c := range []struct {
		name string
		f    Filter
		want []string
	}{
		{"all", Filter{}, []string{"1:a", "2:b", "3:c"}},
		{"host", Filter{Host: 1}, []string{"1:a"}},
		{"machine", Filter{VM: vm}, []string{"2:b", "3:c"}},
		{"datastore", Filter{Datastore: ds}, []string{"3:c"}},
		{"kind", Filter{Kind: "k"}, []string{"2:b"}},
		{"since", Filter{Since: now}, []string{"2:b", "3:c"}},
		{"newest", Filter{VM: vm, Limit: 1}, []string{"3:c"}},
		{"nothing", Filter{Host: 9}, []string{}},
	} {
		t.Run(c.name, func(t *testing.T) { check(t, j, c.f, c.want) })
	}
}

func TestMemoryOnly(t *testing.T) {
	j := start(t, "", Options{InMemory: 10})
	add(j, 1, 25)
	check(t, j, Filter{}, want(16, 25))
	if h := j.Health(); h.Stored || h.Reason == "" {
		t.Errorf("health %+v", h)
	}
	if _, err := Open("", nil, Options{Command: SelfCommand()}); err == nil {
		t.Error("a journal without a directory was opened")
	}
}

func TestFollow(t *testing.T) {
	j := start(t, "", Options{})
	add(j, 1, 3)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	first, second := j.Follow(ctx), j.Follow(context.Background())
	add(j, 4, 20)
	for n := 4; n <= 20; n++ {
		if e := <-first; e.ID != uint64(n) || e.Text != fmt.Sprintf("event %d", n) {
			t.Fatalf("got %+v; want event %d", e, n)
		}
	}
	cancel()
	until(t, "the first is closed", func() bool { _, open := <-first; return !open })
	// The second has read nothing and held nobody up. Closing the journal ends it.
	j.Close()
	for range second {
	}
}

func TestLargeEventsAreClipped(t *testing.T) {
	j := start(t, "", Options{})
	lines := make([]string, 10_000)
	for k := range lines {
		lines[k] = strings.Repeat("e", 100)
	}
	j.Append(core.Event{Text: strings.Repeat("t", 1<<20), Evidence: lines})
	e := j.List(Filter{})[0]
	if size := sizeOf(&e.Event); size > 64<<10 {
		t.Errorf("%d bytes were kept", size)
	}
	if !strings.Contains(e.Text, "left out") || !strings.Contains(e.Evidence[len(e.Evidence)-1], "left out") {
		t.Error("it does not say that something was left out")
	}
}

func TestMemoryIsBoundedBySize(t *testing.T) {
	r := newRing(1000, 100_000)
	for range 1000 {
		r.append(core.Event{Text: strings.Repeat("t", 4000)})
	}
	if got, _ := r.list(Filter{}); len(got) == 0 || len(got) > 25 {
		t.Errorf("%d entries of 4,000 bytes are in memory", len(got))
	}
}

func TestDeletedWhileRunning(t *testing.T) {
	for name, remove := range map[string]func(dir string) error{
		"directory": os.RemoveAll,
		"files": func(dir string) error {
			files, _ := filepath.Glob(filepath.Join(dir, "*"))
			for _, f := range files {
				if err := os.Remove(f); err != nil {
					return err
				}
			}
			return nil
		},
		"everything around": func(dir string) error { return os.RemoveAll(filepath.Dir(dir)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state", "journal")
			o := quick()
			o.Idle = time.Hour // the store stays open while it is deleted
			j := start(t, dir, o)
			add(j, 1, 10)
			allWritten(t, j)
			if err := remove(dir); err != nil {
				t.Fatal(err)
			}
			add(j, 11, 20)
			allWritten(t, j)
			check(t, j, Filter{}, want(1, 20))
			j.Close()
			j = start(t, dir, quick())
			allWritten(t, j)
			check(t, j, Filter{}, want(1, 20))
		})
	}
}

// Whatever is done to the files, the journal opens and works, and what it had
// is either still readable or moved aside.
func TestCorruptFiles(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "whole")
	o := quick()
	j := start(t, whole, o)
	for n := 1; n <= 6000; n += 1000 { // enough for tables on disk
		add(j, n, n+999)
		allWritten(t, j)
	}
	j.Close()
	damages := map[string]func([]byte) []byte{
		"truncated": func(b []byte) []byte { return b[:len(b)/2] },
		"empty":     func([]byte) []byte { return nil },
		"zeros":     func(b []byte) []byte { return make([]byte, len(b)) },
		"noise":     func(b []byte) []byte { return bytes.Repeat([]byte{0xa5, 0x5a, 0x13}, len(b)/3+1)[:len(b)] },
	}
	for damage, apply := range damages {
		for _, which := range []string{"MANIFEST", "KEYREGISTRY", "*.sst", "*.vlog", "*"} {
			t.Run(damage+" "+strings.Trim(which, "*."), func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "journal")
				if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
					t.Fatal(err)
				}
				files, _ := filepath.Glob(filepath.Join(dir, which))
				if len(files) == 0 {
					t.Fatal("nothing to damage")
				}
				for _, f := range files {
					raw, err := os.ReadFile(f)
					if err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(f, apply(raw), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				j := start(t, dir, quick())
				add(j, 6001, 6010)
				allWritten(t, j)
				got := j.List(Filter{Limit: 10})
				if len(got) != 10 || got[9].Text != "event 6010" {
					t.Errorf("got %v", contents(got))
				}
				if h := j.Health(); h.MovedAside == "" && got[0].ID != 6001 {
					t.Errorf("the old entries are neither there nor moved aside: %+v, %v", h, contents(got))
				}
			})
		}
	}
}

func TestDirectoryIsAFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	if err := os.WriteFile(dir, []byte("no directory"), 0o644); err != nil {
		t.Fatal(err)
	}
	j := start(t, dir, quick())
	add(j, 1, 3)
	until(t, "health tells", func() bool { h := j.Health(); return h.Reason != "" || h.Stored })
	check(t, j, Filter{}, want(1, 3))
}

func TestStoreThatCanNotBeOpened(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T) (string, Options){
		"no such program": func(t *testing.T) (string, Options) {
			o := quick()
			o.Command = []string{"/nonexistent/storebeat", StoreCommand}
			return t.TempDir(), o
		},
		"locked": func(t *testing.T) (string, Options) {
			dir := filepath.Join(t.TempDir(), "journal")
			lock, err := lockStore(dir)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { lock.Close() })
			return dir, quick()
		},
		"parent is a file": func(t *testing.T) (string, Options) {
			file := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(file, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			return filepath.Join(file, "journal"), quick()
		},
		"always crashes": func(t *testing.T) (string, Options) {
			o := quick()
			o.Command = []string{"/proc/self/exe", crashingStore}
			return t.TempDir(), o
		},
		"too little space": func(t *testing.T) (string, Options) {
			o := quick()
			o.Reserve = 1 << 60
			return filepath.Join(t.TempDir(), "journal"), o
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, o := prepare(t)
			o.InMemory = 50
			var lines bytes.Buffer
			j, err := Open(dir, hclog.New(&hclog.LoggerOptions{Output: &lines}), o)
			if err != nil {
				t.Fatal(err)
			}
			add(j, 1, 100)
			until(t, "health tells why", func() bool { return j.Health().Reason != "" })
			check(t, j, Filter{}, want(51, 100))
			j.Close()
			if n := strings.Count(lines.String(), "memory only"); n != 1 {
				t.Errorf("logged %d times; want once:\n%s", n, lines.String())
			}
		})
	}
}

func TestLockedStoreIsUsedOnceItIsFree(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	lock, err := lockStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	o := quick()
	o.InMemory = 50
	j := start(t, dir, o)
	add(j, 1, 100)
	until(t, "health tells why", func() bool { return strings.Contains(j.Health().Reason, "another process") })
	lock.Close()
	allWritten(t, j)
	check(t, j, Filter{}, want(51, 100))
	if h := j.Health(); h.Dropped != 50 {
		t.Errorf("%d dropped; want 50", h.Dropped)
	}
}

// A store process that hangs, as on a hung disk, holds nobody up.
func TestHungStore(t *testing.T) {
	o := quick()
	o.Command = []string{"/proc/self/exe", hangingStore}
	o.openWithin, o.closeWithin = 3*time.Second, 10*time.Millisecond
	j, err := Open(t.TempDir(), nil, o)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		add(j, 1, 10_000)
		check(t, j, Filter{Limit: 3}, want(9998, 10_000))
	}()
	select {
	case <-done:
	case <-time.After(patienceInTests):
		t.Fatal("the journal waits for its disk")
	}
	if err := j.Close(); err == nil || !strings.Contains(err.Error(), "hang") {
		t.Errorf("closing: got %v", err)
	}
	<-j.keeper.done // once its own patience ends
}

func TestRetention(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	o := quick()
	o.MaxEntries, o.InMemory = 1000, 10
	o.MaxBytes = 1 << 40
	j := start(t, dir, o)
	for n := 1; n <= 2500; n += 10 {
		add(j, n, n+9)
		allWritten(t, j)
	}
	got := j.List(Filter{Limit: MaxLimit})
	if len(got) < 500 || len(got) > 1000 || got[len(got)-1].ID != 2500 {
		t.Errorf("%d entries are left, up to %d", len(got), got[len(got)-1].ID)
	}
}

func TestSizeOnDiskIsBounded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	o := quick()
	o.MaxBytes = 8 << 20
	j := start(t, dir, o)
	text := strings.Repeat("x", 4000)
	for range 100 { // 40 MB in all
		for range 100 {
			j.Append(core.Event{Kind: "test", Text: text})
		}
		allWritten(t, j)
	}
	j.Close()
	if out, err := exec.Command("du", "-sk", dir).Output(); err == nil {
		var kib int
		fmt.Sscan(string(out), &kib)
		if kib > 16<<10 {
			t.Errorf("%d KiB are on disk", kib)
		}
	}
}

// Really full: no reserve is kept, so that Badger runs into the wall.
func TestFullFileSystem(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a tmpfs")
	}
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=3m"); err != nil {
		t.Skipf("no tmpfs can be mounted: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	for name, reserve := range map[string]int64{"with reserve": 2 << 20, "without": 1} {
		t.Run(name, func(t *testing.T) {
			o := quick()
			o.Reserve = reserve
			j := start(t, filepath.Join(dir, name), o)
			n := 0
			until(t, "health tells that it is full", func() bool {
				for range 50 {
					n++
					j.Append(core.Event{Kind: "test", Text: fmt.Sprint(n, strings.Repeat(" full", 400))})
				}
				time.Sleep(10 * time.Millisecond)
				return j.Health().Reason != ""
			})
			t.Logf("after %d events: %s", n, j.Health().Reason)
			if got := j.List(Filter{Limit: 1}); len(got) != 1 || !strings.HasPrefix(got[0].Text, fmt.Sprint(n)) {
				t.Errorf("the newest event is not %d: %v", n, contents(got))
			}
			// Space comes back.
			if err := syscall.Mount("none", dir, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
				t.Fatal(err)
			}
			allWritten(t, j)
			j.Close()
			os.RemoveAll(filepath.Join(dir, name))
			os.Remove(filepath.Join(dir, name+".lock"))
			if err := syscall.Mount("none", dir, "tmpfs", syscall.MS_REMOUNT, "size=3m"); err != nil {
				t.Skipf("the tmpfs can't be made small again: %v", err)
			}
		})
	}
}

// The store process ends by itself when there is nothing to do.
func TestIdleStoreProcessEnds(t *testing.T) {
	j := start(t, filepath.Join(t.TempDir(), "journal"), quick())
	add(j, 1, 3)
	allWritten(t, j)
	until(t, "no store process runs", func() bool {
		out, _ := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", os.Getpid()))
		return len(bytes.TrimSpace(out)) == 0
	})
	add(j, 4, 6)
	allWritten(t, j)
	check(t, j, Filter{}, want(1, 6))
}

func BenchmarkAppend(b *testing.B) {
	j, err := Open("", nil, Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	b.ReportAllocs()
	for n := range b.N {
		j.Append(event(n))
	}
}
