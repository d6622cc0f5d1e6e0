package sim

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// Finding is what one random schedule came to.
type Finding struct {
	Seed     uint64
	Wrong    []string       // what the observer objects to, and what kept the cluster from rest; empty when all was well
	Virtual  time.Duration  // how much time passed in the cluster
	Faults   map[string]int // injected, by kind
	Events   map[string]int // in the journals, by kind
	Coverage map[string]int // see Coverage
	Trace    *Trace
}

const (
	// calm is how long a cluster may take to come to rest once everything has healed. Machines that
	// have failed many times are left alone for two minutes of it.
	calm = 3 * time.Minute
	// dust is how long those who are at rest with their machines may go on settling the rest: a host whose
	// slot is damaged waits for T before it writes, and once more if somebody ceases to vouch for it.
	dust = 20 * time.Second
	// Faults rage for the shortest time at least, usually for as long again and half more, and seldom for the longest.
	shortest, usual, longest = 15 * time.Second, 25 * time.Second, 5 * time.Minute
)

// stirring are the events that have no business in a healthy cluster at rest (I6).
var stirring = []string{"lease-lapsed", "term-closed", "term-won", "machine-started", "machine-thawed", "machines-frozen", "election", "start-ordered"}

// Find runs one random schedule from beginning to end: the cluster comes up, faults of
// the kinds that the seed picks rage for a while, everything heals, and nothing may be
// wrong after that. Sometimes a host is lost in the end.
func Find(s Setup) Finding {
	w := New(s)
	w.PowerOn()
	w.Run(w.between(0, 10*time.Second))
	x := NewChaos(w)
	x.Rage(min(longest, shortest+time.Duration(w.rng.ExpFloat64()*float64(usual))))
	w.Run(x.most)
	w.heal()
	w.tidyUp()
	wrong := w.rest()
	if len(wrong) == 0 && w.chance(0.1) {
		w.repeatOrders()
	}
	if len(wrong) == 0 && w.lateUntil > w.now {
		wrong = w.lastLanding()
	}
	if len(wrong) == 0 && w.chance(0.3) {
		wrong = w.loseOne()
	}
	return Finding{Seed: s.Seed, Wrong: wrong, Virtual: w.now, Faults: x.Done, Events: w.counts, Coverage: w.covered, Trace: &w.trace}
}

// rest asks that the cluster comes to rest, now that everything has healed, and stays there.
// What was reported as failed may land for a while yet.
func (w *World) rest() (wrong []string) {
	_, ok := w.RunUntil(calm, func() bool { return len(w.Unsettled()) == 0 && w.disagreement() == "" })
	seen := len(w.Violations())
	wrong = append(wrong, w.Violations()...)
	if !ok {
		return append(wrong, fmt.Sprintf("rest: not at rest %v after everything healed: %q %s", calm, w.Unsettled(), w.disagreement()))
	}
	began := w.now
	w.Run(dust)
	starts, before := fmt.Sprint(w.starts), maps.Clone(w.counts)
	quiet := 15 * time.Second
	if w.chance(0.1) {
		quiet = 70 * time.Second // over a minute, after which looks that come seldom come again
	}
	w.Run(quiet)
	if w.landed >= began { // news to everybody
		return w.rest()
	}
	for _, kind := range stirring {
		if n := w.counts[kind] - before[kind]; n > 0 {
			wrong = append(wrong, fmt.Sprintf("I6: %d × %s at rest", n, kind))
		}
	}
	w.seeListed()
	wrong = append(wrong, w.Violations()[seen:]...)
	if why := w.Unsettled(); len(why) > 0 {
		wrong = append(wrong, fmt.Sprintf("rest: it did not last: %q", why))
	}
	if again := fmt.Sprint(w.starts); again != starts {
		wrong = append(wrong, fmt.Sprintf("I2: machines were started at rest: %s, then %s", starts, again))
	}
	return wrong
}

// Search runs the random schedules of the seeds from first to before end, several at once,
// without their traces, and reports each as it ends: one call of each at a time, in no particular
// order. It stops early when ctx ends.
func Search(ctx context.Context, first, end uint64, workers int, each func(Finding)) {
	var group sync.WaitGroup
	var one sync.Mutex
	var next atomic.Uint64
	next.Store(first)
	for range workers {
		group.Go(func() {
			for ctx.Err() == nil {
				seed := next.Add(1) - 1
				if seed >= end {
					return
				}
				s := RandomSetup(seed)
				s.Quiet = true
				f := Find(s)
				one.Lock()
				each(f)
				one.Unlock()
			}
		})
	}
	group.Wait()
}

// Tally adds up what random schedules came to.
type Tally struct {
	Schedules int            `json:"schedules"`
	Virtual   time.Duration  `json:"virtual_ns"`
	Faults    map[string]int `json:"faults"`
	Events    map[string]int `json:"events"`
	Coverage  map[string]int `json:"coverage"`
}

// Add counts one more.
func (t *Tally) Add(f Finding) {
	if t.Faults == nil {
		t.Faults, t.Events, t.Coverage = map[string]int{}, map[string]int{}, map[string]int{}
	}
	t.Schedules++
	t.Virtual += f.Virtual
	sum(t.Faults, f.Faults)
	sum(t.Events, f.Events)
	sum(t.Coverage, f.Coverage)
}

func sum(to, from map[string]int) {
	for k, n := range from {
		to[k] += n
	}
}

// Uncovered returns the faults that were never injected and the coverage counters
// that stayed at 0: what the schedules prove nothing about.
func (t *Tally) Uncovered() (names []string) {
	for _, m := range allMischief() {
		if t.Faults[m.name] == 0 {
			names = append(names, "fault: "+m.name)
		}
	}
	for _, c := range Coverage() {
		if t.Coverage[c] == 0 {
			names = append(names, c)
		}
	}
	return names
}
