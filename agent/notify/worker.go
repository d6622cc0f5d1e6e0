package notify

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"storebeat/agent/core"
)

// mostWaiting is how many notifications may wait for the command of a rule.
const mostWaiting = 128

// complainEvery is how often a rule's trouble is logged at most.
const complainEvery = 10 * time.Second

// worker runs the command of one rule, one at a time.
type worker struct {
	rule  Rule
	log   hclog.Logger
	count func(string, Result)

	ctx     context.Context // until a running command has to end
	cancel  context.CancelFunc
	waiting chan Notification
	quit    chan struct{}
	ending  sync.Once
	done    chan struct{}

	mu   sync.Mutex
	held summary // what was not told

	bucket     bucket
	complained time.Time
	unsaid     int // complaints that were not logged
}

// summary counts what was not told, for one notification about all of it.
type summary struct {
	kinds    map[core.Kind]int
	severity core.Severity
	last     Notification
}

func newWorker(r Rule, log hclog.Logger, count func(string, Result)) *worker {
	w := &worker{rule: r, log: log, count: count, waiting: make(chan Notification, mostWaiting), quit: make(chan struct{}), done: make(chan struct{}),
		bucket: newBucket(r.Rate, time.Now())}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	go w.work()
	return w
}

func (w *worker) end() { w.ending.Do(func() { close(w.quit) }) }

// add never waits.
func (w *worker) add(n Notification) {
	select {
	case w.waiting <- n:
	default:
		w.hold(n, Dropped)
	}
}

func (w *worker) work() {
	defer close(w.done)
	defer w.cancel()
	for {
		due := (<-chan time.Time)(nil)
		if w.holds() {
			due = time.After(w.bucket.wait())
		}
		select {
		case <-w.quit:
			w.leave()
			return
		default:
		}
		select {
		case <-w.quit:
			w.leave()
			return
		case n := <-w.waiting:
			w.summarise()
			if w.bucket.take(time.Now()) {
				w.run(n)
			} else {
				w.hold(n, Suppressed)
			}
		case <-due:
			w.summarise()
		}
	}
}

// leave says what is not told any more.
func (w *worker) leave() {
	if n := len(w.waiting); n > 0 {
		w.log.Warn("notifications are not given any more, because the agent ends or their rule has changed", "notify", w.rule.Name, "notifications", n)
	}
}

func (w *worker) hold(n Notification, as Result) {
	w.count(w.rule.Name, as)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held.kinds == nil {
		w.held.kinds = map[core.Kind]int{}
		w.log.Warn("notifications are held back; a summary follows", "notify", w.rule.Name, "because", as, "rate", w.rule.Rate)
	}
	w.held.kinds[n.Kind]++
	if w.held.severity == "" || n.Severity.AtLeast(w.held.severity) {
		w.held.severity = n.Severity
	}
	w.held.last = n
}

func (w *worker) holds() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.held.kinds != nil
}

// summarise tells of what was held back, if there is something and the rate has room.
func (w *worker) summarise() {
	if !w.holds() || !w.bucket.take(time.Now()) {
		return
	}
	w.mu.Lock()
	held := w.held
	w.held = summary{}
	w.mu.Unlock()
	w.run(held.notification())
}

// notification puts the summary into the form of an event.
func (s summary) notification() Notification {
	total, parts := 0, []string{}
	for _, kind := range slices.Sorted(maps.Keys(s.kinds)) {
		total += s.kinds[kind]
		parts = append(parts, fmt.Sprintf("%d × %s", s.kinds[kind], kind))
	}
	about, _ := core.AboutKind("notifications-suppressed")
	return Notification{Cluster: s.last.Cluster, By: s.last.By, Kind: about.Kind, Severity: s.severity, Time: s.last.Time,
		Text:     fmt.Sprintf("%d events of %s were not told one by one: %s", total, s.last.By, strings.Join(parts, ", ")),
		Evidence: []string{"the newest: " + s.last.Text}, Meaning: about.Meaning, Remedy: about.Remedy}
}

// run runs the command and notes what became of it.
func (w *worker) run(n Notification) {
	result, err := execute(w.ctx, &w.rule, &n)
	w.count(w.rule.Name, result)
	if err == nil {
		return
	}
	now := time.Now()
	if w.unsaid++; now.Sub(w.complained) < complainEvery {
		return
	}
	w.log.Warn("a notification could not be given", "notify", w.rule.Name, "event", n.Kind, "error", err, "such", w.unsaid)
	w.complained, w.unsaid = now, 0
}
