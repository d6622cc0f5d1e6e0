package notify

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"

	"storebeat/agent/core"
	"storebeat/datastorehb"
)

// Undecided is how long a shared event is kept while nobody is master.
const Undecided = 30 * time.Second

// mostKept is how many shared events are kept meanwhile.
const mostKept = 256

// Rate is how many notifications may be given in what time.
type Rate struct {
	Count int
	Per   time.Duration
}

// String writes the rate as it stands in the configuration, such as "10/m".
func (r Rate) String() string {
	unit := map[time.Duration]string{time.Second: "s", time.Minute: "m", time.Hour: "h"}[r.Per]
	return fmt.Sprintf("%d/%s", r.Count, unit)
}

// Rule says which events a command is run for.
type Rule struct {
	Name     string
	Kinds    []core.Kind   // these, and
	Severity core.Severity // those of this severity or more; "" for none
	Command  []string      // the program and its arguments; no shell is involved
	Timeout  time.Duration
	Rate     Rate
}

func (r *Rule) wants(e *core.Event) bool {
	return slices.Contains(r.Kinds, e.Kind) || r.Severity != "" && e.Severity.AtLeast(r.Severity)
}

func (r *Rule) same(other *Rule) bool {
	return r.Name == other.Name && slices.Equal(r.Kinds, other.Kinds) && r.Severity == other.Severity &&
		slices.Equal(r.Command, other.Command) && r.Timeout == other.Timeout && r.Rate == other.Rate
}

// Result is what became of a notification.
type Result string

// The results.
const (
	Delivered  Result = "delivered"  // its command ended with 0
	Failed     Result = "failed"     // it could not be started, or ended otherwise
	TimedOut   Result = "timeout"    // it was killed
	Suppressed Result = "suppressed" // for the sake of the rate; a summary follows
	Dropped    Result = "dropped"    // too many wait for their command
)

// Notification is what a command reads as JSON on its standard input. Hosts and
// datastores are given by name.
type Notification struct {
	Cluster    string        `json:"cluster"`
	By         string        `json:"by"` // the host that recorded the event
	Kind       core.Kind     `json:"kind"`
	Severity   core.Severity `json:"severity"`
	Time       time.Time     `json:"time"`
	Text       string        `json:"text"`
	Host       string        `json:"host,omitempty"` // that the event is about
	Datastore  string        `json:"datastore,omitempty"`
	Machine    string        `json:"machine,omitempty"`
	VM         uuid.UUID     `json:"vm,omitzero"`
	Term       uint64        `json:"term,omitempty"`
	Generation uint64        `json:"generation,omitempty"`
	Rule       string        `json:"rule,omitempty"` // of docs/safety.md
	Evidence   []string      `json:"evidence,omitempty"`
	Meaning    string        `json:"meaning"`
	Remedy     string        `json:"remedy,omitempty"`
}

// Names are those that stand for the numbers of an event.
type Names struct{ Cluster, By, Host, Datastore, Machine string }

// Describe puts an event into words for a command.
func Describe(e *core.Event, n Names) Notification {
	about, _ := core.AboutKind(e.Kind)
	return Notification{Cluster: n.Cluster, By: n.By, Kind: e.Kind, Severity: e.Severity, Time: e.Wall, Text: e.Text,
		Host: n.Host, Datastore: n.Datastore, Machine: n.Machine, VM: e.VM, Term: e.Term, Generation: e.Generation,
		Rule: e.Rule, Evidence: e.Evidence, Meaning: about.Meaning, Remedy: about.Remedy}
}

// Notifier gives notifications by the rules of the configuration.
type Notifier struct {
	log   hclog.Logger
	count func(rule string, r Result)

	mu      sync.Mutex
	workers []*worker
	master  datastorehb.HostID
	leading bool
	kept    []kept // shared events that nobody may tell yet, oldest first
	decide  *time.Timer
	ended   bool
}

type kept struct {
	event core.Event
	names Names
	until time.Time
}

// New returns a notifier without rules. It calls count, which must not wait,
// with what became of each notification.
func New(log hclog.Logger, count func(rule string, r Result)) *Notifier {
	return &Notifier{log: log, count: count}
}

// Configure takes over rules. Those that stay the same go on with what waits for
// them; what waits for the others is let go.
func (n *Notifier) Configure(rules []Rule) {
	n.mu.Lock()
	defer n.mu.Unlock()
	before := n.workers
	n.workers = nil
	if n.ended {
		return
	}
	for i := range rules {
		at := slices.IndexFunc(before, func(w *worker) bool { return w.rule.same(&rules[i]) })
		if at < 0 {
			n.workers = append(n.workers, newWorker(rules[i], n.log, n.count))
			continue
		}
		n.workers = append(n.workers, before[at])
		before = slices.Delete(slices.Clone(before), at, at+1)
	}
	for _, w := range before {
		w.end()
	}
}

// Event tells of an event, or keeps it until it is clear whose part that is.
func (n *Notifier) Event(e core.Event, names Names) {
	n.mu.Lock()
	defer n.mu.Unlock()
	about, _ := core.AboutKind(e.Kind)
	ofMaster := e.Host != 0 && e.Host == n.master && e.Kind != "election"
	switch {
	case !about.Shared || n.leading:
		n.tell(&e, names)
	case n.master == 0 || ofMaster:
		n.keep(e, names)
	}
}

// Master says who is master, 0 while nobody is, and whether it is this host.
func (n *Notifier) Master(master datastorehb.HostID, leading bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if master == n.master && leading == n.leading {
		return
	}
	n.master, n.leading = master, leading
	if master != 0 {
		n.settle()
	}
}

// settle tells what was kept, or leaves it to the master.
func (n *Notifier) settle() {
	for _, k := range n.kept {
		if n.leading || n.master == 0 {
			n.tell(&k.event, k.names)
		}
	}
	n.kept = nil
}

func (n *Notifier) keep(e core.Event, names Names) {
	if n.ended || !slices.ContainsFunc(n.workers, func(w *worker) bool { return w.rule.wants(&e) }) {
		return
	}
	if len(n.kept) == mostKept {
		n.kept = n.kept[1:]
	}
	n.kept = append(n.kept, kept{e, names, time.Now().Add(Undecided)})
	if n.decide == nil {
		n.decide = time.AfterFunc(Undecided, n.overdue)
	}
}

// overdue ends the wait for a master.
func (n *Notifier) overdue() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.decide = nil
	now, due := time.Now(), []kept(nil)
	for len(n.kept) > 0 && !n.kept[0].until.After(now) {
		due, n.kept = append(due, n.kept[0]), n.kept[1:]
	}
	for _, k := range due {
		// With another master still there, it was about that one, and has passed.
		if n.leading || n.master == 0 {
			n.tell(&k.event, k.names)
		}
	}
	if len(n.kept) > 0 && !n.ended {
		n.decide = time.AfterFunc(n.kept[0].until.Sub(now), n.overdue)
	}
}

func (n *Notifier) tell(e *core.Event, names Names) {
	for _, w := range n.workers {
		if w.rule.wants(e) {
			w.add(Describe(e, names))
		}
	}
}

// Close ends every worker, giving the commands that run until ctx is done.
func (n *Notifier) Close(ctx context.Context) {
	n.mu.Lock()
	n.ended = true
	workers := n.workers
	n.workers, n.kept = nil, nil
	if n.decide != nil {
		n.decide.Stop()
	}
	n.mu.Unlock()
	for _, w := range workers {
		w.end()
	}
	for _, w := range workers {
		select {
		case <-w.done:
		case <-ctx.Done():
			w.cancel()
		}
	}
}
