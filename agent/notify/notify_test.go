package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"storebeat/agent/core"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come. It is no measurement.
const patience = 30 * time.Second

// bench is a notifier and what its commands have left behind.
type bench struct {
	*testing.T
	*Notifier
	dir string

	mu      sync.Mutex
	results map[Result]int
	log     bytes.Buffer
}

func newBench(t *testing.T) *bench {
	b := &bench{T: t, dir: t.TempDir(), results: map[Result]int{}}
	b.Notifier = New(hclog.New(&hclog.LoggerOptions{Output: b}), func(_ string, r Result) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.results[r]++
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		b.Close(ctx)
	})
	return b
}

// Write takes the log.
func (b *bench) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.Write(p)
}

func (b *bench) logged() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.String()
}

func (b *bench) count(r Result) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.results[r]
}

func (b *bench) await(what string, ok func() bool) {
	b.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			b.Fatalf("%s: not within %v; the log is\n%s", what, patience, b.logged())
		case <-tick.C:
		}
	}
}

// rule runs a shell script for every event. In it, $DIR is the bench's directory.
func (b *bench) rule(script string) Rule {
	return Rule{Name: "test", Severity: core.Info, Command: []string{"/bin/sh", "-c", script, "sh", b.dir}, Timeout: patience, Rate: Rate{1000, time.Second}}
}

func (b *bench) read(name string) string {
	content, _ := os.ReadFile(filepath.Join(b.dir, name))
	return string(content)
}

func event(kind core.Kind) core.Event {
	a, _ := core.AboutKind(kind)
	return core.Event{Kind: kind, Severity: a.Severity, Wall: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), By: 1, Text: "it happened",
		VM: uuid.UUID{1}, Evidence: []string{"seen"}}
}

func TestACommandGetsTheEvent(t *testing.T) {
	b := newBench(t)
	b.Configure([]Rule{b.rule(`cat > $1/json; env | grep ^STOREBEAT | sort > $1/env; pwd > $1/pwd; echo > $1/done`)})
	b.Event(event("machine-held"), Names{Cluster: "main", By: "alpha", Machine: "web", Datastore: "nfs"})
	b.await("the command", func() bool { return b.count(Delivered) == 1 })
	var got Notification
	if err := json.Unmarshal([]byte(b.read("json")), &got); err != nil {
		t.Fatal(err)
	}
	about, _ := core.AboutKind("machine-held")
	want := Notification{Cluster: "main", By: "alpha", Kind: "machine-held", Severity: core.Error, Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Text: "it happened", Machine: "web", Datastore: "nfs", VM: uuid.UUID{1}, Evidence: []string{"seen"}, Meaning: about.Meaning, Remedy: about.Remedy}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("on standard input (-want +got):\n%s", diff)
	}
	for _, line := range []string{"STOREBEAT_EVENT=machine-held", "STOREBEAT_SEVERITY=error", "STOREBEAT_BY=alpha", "STOREBEAT_MACHINE=web", "STOREBEAT_HOST=",
		"STOREBEAT_TEXT=it happened", "STOREBEAT_TIME=2026-01-02T03:04:05Z", "STOREBEAT_REMEDY=" + about.Remedy} {
		if !slices.Contains(strings.Split(b.read("env"), "\n"), line) {
			t.Errorf("%s is not in the environment:\n%s", line, b.read("env"))
		}
	}
	if b.read("pwd") != "/\n" {
		t.Errorf("it ran in %s", b.read("pwd"))
	}
}

func TestOnlyWhatIsWanted(t *testing.T) {
	for _, c := range []struct {
		rule Rule
		want []core.Kind
	}{
		{Rule{Kinds: []core.Kind{"term-won", "host-dead"}}, []core.Kind{"term-won"}},
		{Rule{Severity: core.Warning}, []core.Kind{"guard-gone", "machine-crashed"}},
		{Rule{Kinds: []core.Kind{"term-won"}, Severity: core.Error}, []core.Kind{"guard-gone", "term-won"}},
		{Rule{}, nil},
	} {
		var got []core.Kind
		for _, kind := range []core.Kind{"generation-won", "guard-gone", "machine-crashed", "term-won"} {
			if e := event(kind); c.rule.wants(&e) {
				got = append(got, kind)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", c.rule, diff)
		}
	}
}

// A command that hangs is killed with all that it has started, and the next event is told.
func TestAHangingCommandIsKilled(t *testing.T) {
	b := newBench(t)
	r := b.rule(`if [ $STOREBEAT_EVENT = guard-gone ]; then sleep 1000 & echo $! > $1/child; trap "" TERM; wait; else echo told > $1/next; fi`)
	r.Timeout = 5 * time.Second // a busy computer may take its time over what is quick else
	b.Configure([]Rule{r})
	b.Event(event("guard-gone"), Names{})
	b.Event(event("guard-back"), Names{})
	b.await("the next event", func() bool { return b.read("next") == "told\n" })
	if b.count(TimedOut) != 1 || b.count(Delivered)+b.count(TimedOut) > 2 {
		t.Errorf("the results are %v", b.results)
	}
	child, err := strconv.Atoi(strings.TrimSpace(b.read("child")))
	if err != nil {
		t.Fatal(err)
	}
	b.await("the end of the child", func() bool { return gone(child) })
	b.await("the log to say so", func() bool { return strings.Contains(b.logged(), "longer than 5s") })
}

// gone reports whether a process has ended, whoever has to reap it.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || bytes.Contains(stat, []byte(") Z "))
}

// What a command leaves behind holding its output does not hold up the next one.
func TestAChildThatKeepsTheOutput(t *testing.T) {
	b := newBench(t)
	b.Configure([]Rule{b.rule(`sleep 1000 & echo $! >> $1/children`)})
	t.Cleanup(func() {
		for _, field := range strings.Fields(b.read("children")) {
			if pid, err := strconv.Atoi(field); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	b.Event(event("guard-gone"), Names{})
	b.Event(event("guard-back"), Names{})
	b.await("both", func() bool { return b.count(Delivered) == 2 })
}

func TestAFailingCommandIsLogged(t *testing.T) {
	for name, c := range map[string]struct {
		command []string
		says    string
	}{
		"exit status": {[]string{"/bin/sh", "-c", "echo no such mailbox >&2; exit 3"}, `exit status 3, saying`},
		"not there":   {[]string{"/nonexistent/program"}, "no such file or directory"},
		"a directory": {[]string{"/tmp"}, "permission denied"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			r := b.rule("")
			r.Command = c.command
			b.Configure([]Rule{r})
			b.Event(event("guard-gone"), Names{})
			b.Event(event("guard-back"), Names{})
			b.await("both failures", func() bool { return b.count(Failed) == 2 })
			b.await("the log", func() bool { return strings.Contains(b.logged(), c.says) })
			if n := strings.Count(b.logged(), "could not be given"); n != 1 {
				t.Errorf("%d lines in the log for two failures at once:\n%s", n, b.logged())
			}
		})
	}
}

// A command that talks without end, and does not read what it is given, is no matter.
func TestACommandThatFloods(t *testing.T) {
	b := newBench(t)
	b.Configure([]Rule{b.rule(`head -c 10000000 /dev/zero; exit 0`)})
	e := event("guard-gone")
	e.Evidence = []string{strings.Repeat("x", 1<<20)}
	b.Event(e, Names{})
	b.await("its end", func() bool { return b.count(Delivered) == 1 })
}

// Nothing is lost without a word: each of a flood of events was told, or counted
// in a summary that was.
func TestAFloodIsSummarised(t *testing.T) {
	b := newBench(t)
	r := b.rule(`if [ $STOREBEAT_EVENT = notifications-suppressed ]; then cat >> $1/summaries; else echo >> $1/told; fi`)
	r.Rate = Rate{5, time.Second}
	b.Configure([]Rule{r})
	const flood = 400
	for range flood {
		b.Event(event("datastore-slow"), Names{By: "alpha"})
	}
	told := func() (one, summed int) {
		for line := range strings.Lines(b.read("summaries")) {
			var n Notification
			var count int
			if json.Unmarshal([]byte(line), &n) != nil {
				continue
			}
			if _, err := fmt.Sscanf(n.Text, "%d events of alpha", &count); err != nil || n.Severity != core.Warning {
				t.Fatalf("a summary makes no sense: %+v", n)
			}
			summed += count
		}
		return strings.Count(b.read("told"), "\n"), summed
	}
	b.await("every event to be told or summed up", func() bool { one, summed := told(); return one+summed >= flood })
	if one, summed := told(); one+summed != flood || one == 0 || summed == 0 {
		t.Errorf("%d were told and %d summed up, of %d", one, summed, flood)
	}
	if b.count(Suppressed)+b.count(Dropped) == 0 || !strings.Contains(b.logged(), "held back") {
		t.Errorf("nothing was counted or logged: %v\n%s", b.results, b.logged())
	}
}

// While a command hangs, telling goes on at once, and what finds no room is counted.
func TestTellingNeverWaits(t *testing.T) {
	b := newBench(t)
	r := b.rule(`[ -e $1/go ] || sleep 1000`)
	b.Configure([]Rule{r})
	for range 3 * mostWaiting {
		b.Event(event("datastore-slow"), Names{})
	}
	b.await("drops", func() bool { return b.count(Dropped) >= 2*mostWaiting-1 })
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // no time for what runs
	b.Close(ctx)
	b.Event(event("guard-gone"), Names{}) // after the end
	b.Configure([]Rule{r})
}

// A rule that stays the same goes on; one that is gone, or another, does not.
func TestRulesChangeWhileTheyAreUsed(t *testing.T) {
	b := newBench(t)
	first, second := b.rule(`echo >> $1/first`), b.rule(`echo >> $1/second`)
	second.Name = "second"
	b.Configure([]Rule{first, second})
	kept := b.workers[1]
	other := b.rule(`echo >> $1/other`)
	b.Configure([]Rule{other, second})
	if b.workers[1] != kept {
		t.Error("a rule that did not change was begun anew")
	}
	b.Event(event("guard-gone"), Names{})
	b.await("both rules", func() bool { return b.count(Delivered) == 2 })
	if b.read("first") != "" || b.read("other") != "\n" || b.read("second") != "\n" {
		t.Errorf("first %q, other %q, second %q", b.read("first"), b.read("other"), b.read("second"))
	}
	b.Configure(nil)
	b.Event(event("guard-gone"), Names{})
}

func TestBucket(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	b := newBucket(Rate{10, time.Minute}, now)
	take := func(after time.Duration) (n int) {
		now = now.Add(after)
		for b.take(now) {
			n++
		}
		return n
	}
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{0, 10}, {0, 0}, {5 * time.Second, 0}, {time.Second, 1}, {12 * time.Second, 2}, {time.Hour, 10}, {-time.Hour, 0}, {time.Minute, 0}} {
		if got := take(c.after); got != c.want {
			t.Errorf("after %v more: %d may be told, want %d", c.after, got, c.want)
		}
	}
}

// In virtual time: which shared events one host tells.
func TestSharedEventsAreToldOnce(t *testing.T) {
	dead := func() core.Event { e := event("host-dead"); e.Host = 2; return e }
	election := func() core.Event { e := event("election"); e.Host = 1; return e }
	for _, c := range []struct {
		name string
		do   func(n *Notifier)
		want int
	}{
		{"by the master", func(n *Notifier) { n.Master(1, true); n.Event(dead(), Names{}) }, 1},
		{"not by who follows another", func(n *Notifier) { n.Master(3, false); n.Event(dead(), Names{}) }, 0},
		{"the death of the master, by the next one", func(n *Notifier) {
			n.Master(2, false)
			n.Event(dead(), Names{})
			n.Master(0, false)
			n.Master(1, true)
		}, 1},
		{"the death of the master, not by who follows the next one", func(n *Notifier) {
			n.Master(2, false)
			n.Event(dead(), Names{})
			n.Master(0, false)
			n.Master(3, false)
		}, 0},
		{"found while there is no master, by who becomes it", func(n *Notifier) { n.Event(dead(), Names{}); n.Master(1, true) }, 1},
		{"nobody becomes master", func(n *Notifier) { n.Event(dead(), Names{}); time.Sleep(Undecided + time.Second) }, 1},
		{"the master was only slow", func(n *Notifier) {
			n.Master(2, false)
			n.Event(dead(), Names{})
			time.Sleep(Undecided + time.Second)
			n.Master(1, true)
		}, 0},
		{"who becomes master says so", func(n *Notifier) { n.Master(1, true); n.Event(election(), Names{}) }, 1},
		{"who follows does not", func(n *Notifier) {
			n.Master(1, false)
			n.Event(election(), Names{})
			time.Sleep(Undecided + time.Second)
		}, 0},
		{"what concerns one host is told by it", func(n *Notifier) { n.Master(3, false); n.Event(event("lease-lapsed"), Names{}) }, 1},
		{"a thousand of them", func(n *Notifier) {
			for range 1000 {
				n.Event(dead(), Names{})
			}
			n.Master(1, true)
		}, 128},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := New(hclog.New(&hclog.LoggerOptions{Output: io.Discard}), func(string, Result) {})
				w := &worker{rule: Rule{Severity: core.Info}, log: n.log, count: n.count, waiting: make(chan Notification, mostWaiting), quit: make(chan struct{}), done: make(chan struct{})}
				_, w.cancel = context.WithCancel(context.Background())
				close(w.done) // it runs nothing: what it is given is counted
				n.workers = []*worker{w}
				c.do(n)
				synctest.Wait()
				if got := len(w.waiting); got != c.want {
					t.Errorf("%d were told, want %d", got, c.want)
				}
				n.Close(context.Background())
			})
		})
	}
}
