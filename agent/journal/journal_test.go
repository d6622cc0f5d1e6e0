package journal

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
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

// check compares what is listed. What only the disk holds is asked for again where its
// process was too slow to answer in time.
func check(t *testing.T, j *Journal, f Filter, wanted []string) {
	t.Helper()
	d := cmp.Diff(wanted, contents(j.List(f)))
	for deadline := time.Now().Add(patienceInTests); d != "" && time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		d = cmp.Diff(wanted, contents(j.List(f)))
	}
	if d != "" {
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
	r := newRing("run", 1000, 100_000)
	for range 1000 {
		r.append(core.Event{Text: strings.Repeat("t", 4000)})
	}
	if got, _ := r.list(Filter{}); len(got) == 0 || len(got) > 25 {
		t.Errorf("%d entries of 4,000 bytes are in memory", len(got))
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
