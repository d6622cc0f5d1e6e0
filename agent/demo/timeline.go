package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"storebeat/agent"
	"storebeat/agent/core"
	"storebeat/agent/demo/cluster"
	"storebeat/agent/journal"
	"storebeat/datastorehb"
)

// recorder follows the journals of all agents.
type recorder struct {
	demo *demo

	mu      sync.Mutex
	events  []core.Event
	from    int       // the first event of this run
	telling time.Time // tell events as they come, with times since then; zero: don't
}

func newRecorder(ctx context.Context, d *demo) *recorder {
	r := &recorder{demo: d}
	for _, h := range d.cluster.Hosts {
		go r.follow(ctx, h)
	}
	return r
}

// follow follows one agent's journal, through its restarts.
func (r *recorder) follow(ctx context.Context, h *cluster.Host) {
	var request agent.FollowRequest
	for ctx.Err() == nil {
		_ = h.Client.Stream(ctx, agent.MethodFollow, request, func(value json.RawMessage) error {
			var item agent.FollowItem
			if err := json.Unmarshal(value, &item); err != nil {
				return err
			}
			request.After = map[datastorehb.HostID]journal.Position{item.Journal: item.At}
			if item.Entry != nil {
				r.take(h, item.Entry.Event)
			}
			return nil
		})
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (r *recorder) take(h *cluster.Host, e core.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	if !r.telling.IsZero() {
		r.demo.say("  %+7.2fs  %-6s %s", e.Wall.Sub(r.telling).Seconds(), h.Name, e.Text)
	}
}

func (r *recorder) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.from = len(r.events)
}

func (r *recorder) live(since time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.telling = since
}

func (r *recorder) quiet() { r.live(time.Time{}) }

// first returns the first event of this run that matches.
func (r *recorder) first(match func(e *core.Event) bool) (core.Event, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.events[r.from:] {
		if e := &r.events[r.from+i]; match(e) {
			return *e, true
		}
	}
	return core.Event{}, false
}

// Result is what one run measured. Times are seconds since the kill.
type Result struct {
	Run      int             `json:"run"`
	Fault    Fault           `json:"fault"`
	Profile  string          `json:"profile"`
	Driver   string          `json:"driver"`
	Killed   []string        `json:"killed"`
	Machines []MachineResult `json:"machines"`
}

// MachineResult is how one machine came back. A step that was not seen is zero.
type MachineResult struct {
	Name          string  `json:"name"`
	From          string  `json:"from"`
	To            string  `json:"to"`
	LastHeartbeat float64 `json:"last_heartbeat"`
	Verdict       float64 `json:"verdict"`
	TermClosed    float64 `json:"term_closed"`
	Claimed       float64 `json:"claimed"`
	Started       float64 `json:"started"`
	FirstOutput   float64 `json:"first_output"`
}

// measure gathers the steps of every lost machine's way back.
func (d *demo) measure(run int, names []string, killed time.Time, lost []*machine) Result {
	r := Result{Run: run + 1, Fault: d.Fault, Profile: d.Profile, Driver: d.Driver, Killed: names, Machines: []MachineResult{}}
	since := func(at time.Time) float64 {
		if at.IsZero() {
			return 0
		}
		return at.Sub(killed).Seconds()
	}
	for _, m := range lost {
		newest, _ := m.Console.Newest()
		row := MachineResult{Name: m.Name, FirstOutput: since(newest.First)}
		if e, ok := d.journal.first(func(e *core.Event) bool { return e.Kind == "start-ordered" && e.VM == m.VM }); ok {
			row.To = d.cluster.Hosts[e.Host-1].Name
		}
		if e, ok := d.journal.first(func(e *core.Event) bool { return e.Kind == "generation-won" && e.VM == m.VM }); ok {
			row.Claimed = since(e.Wall)
		}
		if e, ok := d.journal.first(func(e *core.Event) bool { return e.Kind == "machine-started" && e.VM == m.VM }); ok {
			row.Started = since(e.Wall)
		}
		d.measureLoss(&row, m.Home.ID, m.owner, since)
		r.Machines = append(r.Machines, row)
	}
	return r
}

// measureLoss fills in how the loss of the machine's host was noticed.
func (d *demo) measureLoss(row *MachineResult, home uuid.UUID, owner datastorehb.HostID, since func(time.Time) float64) {
	row.From = d.cluster.Hosts[owner-1].Name
	if e, ok := d.journal.first(func(e *core.Event) bool {
		return e.Host == owner && (e.Kind == "host-dead" || e.Kind == "host-agent-down" || e.Kind == "host-unreachable")
	}); ok {
		row.Verdict = since(e.Wall)
	}
	if e, ok := d.journal.first(func(e *core.Event) bool { return e.Kind == "term-closed" && e.Host == owner && e.Datastore == home }); ok {
		row.TermClosed = since(e.Wall)
		row.LastHeartbeat = since(e.Wall.Add(-e.At.Sub(e.LastSign)))
	}
}

// tell prints the timeline of one run.
func (d *demo) tell(r Result) {
	if d.JSON {
		return
	}
	fmt.Fprintf(d.out, "\nSeconds since the kill:\n")
	w := tabwriter.NewWriter(d.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "machine\tfrom\tto\tlast heartbeat\tverdict\tterm closed\tclaimed\tlet go\tguest's first output\t")
	for _, m := range r.Machines {
		fmt.Fprintf(w, "%s\t%s\t%s\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t\n", m.Name, m.From, m.To, m.LastHeartbeat, m.Verdict, m.TermClosed, m.Claimed, m.Started, m.FirstOutput)
	}
	_ = w.Flush()
}

// Summary is the outcome of all runs.
type Summary struct {
	Results []Result `json:"results"`
	Count   int      `json:"machines_restarted"`
	Min     float64  `json:"min"`
	Median  float64  `json:"median"`
	Max     float64  `json:"max"`
	Faults  []string `json:"faults"`
}

// conclude checks from outside that every guest ran once at a time and was
// started once per loss, and sums up.
func (d *demo) conclude() error {
	s := Summary{Results: d.results, Faults: []string{}}
	for _, m := range d.machines {
		boots, faults := m.Console.State()
		s.Faults = append(s.Faults, faults...)
		if len(boots) != 1+m.struck {
			s.Faults = append(s.Faults, fmt.Sprintf("%s was started %d times, though its host died %d times", m.Name, len(boots), m.struck))
		}
	}
	var times []float64
	for _, r := range d.results {
		for _, m := range r.Machines {
			times = append(times, m.FirstOutput)
		}
	}
	slices.Sort(times)
	if s.Count = len(times); s.Count > 0 {
		s.Min, s.Median, s.Max = times[0], times[len(times)/2], times[len(times)-1]
	}
	return d.report(s)
}

func (d *demo) report(s Summary) error {
	if d.JSON {
		if err := json.NewEncoder(d.out).Encode(s); err != nil {
			return err
		}
	} else if s.Count > 0 {
		fmt.Fprintf(d.out, "\n%d machines restarted in %d runs: from the kill to the guest's first output min %.2f s, median %.2f s, max %.2f s.\n", s.Count, len(s.Results), s.Min, s.Median, s.Max)
	}
	if len(s.Faults) > 0 {
		return errors.Join(errors.New("the guests' consoles show that the product failed"), fmt.Errorf("%s", s.Faults))
	}
	d.say("Checked from outside, on the guests' own consoles: each ran once at a time, and was started exactly once per loss.")
	return nil
}
