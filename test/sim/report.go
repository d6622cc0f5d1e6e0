package sim

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"storebeat/test/sim/scenario"
)

// Report is what the runs of a scenario with several seeds came to.
type Report struct {
	File     string         `json:"file"`
	Title    string         `json:"title"`
	Passed   bool           `json:"passed"`
	Seeds    int            `json:"seeds"`  // that were run
	Failed   []uint64       `json:"failed"` // those of them that failed
	Expected []Spread       `json:"expected"`
	Machines []WorstFate    `json:"machines"`
	Runs     []*Result      `json:"runs"`
	Events   map[string]int `json:"-"`
}

// Spread says when an expectation came true, over all seeds with which it did.
type Spread struct {
	Line     int            `json:"line"`
	Text     string         `json:"text"`
	Met      int            `json:"met"` // with how many seeds
	Earliest *time.Duration `json:"earliest,omitempty"`
	Latest   *time.Duration `json:"latest,omitempty"`
	Seed     uint64         `json:"seed,omitempty"` // of the latest
}

// WorstFate is what became of a machine at worst.
type WorstFate struct {
	Name    string        `json:"name"`
	Away    time.Duration `json:"away"` // the longest time, of all seeds
	Seed    uint64        `json:"seed"` // with which it was that long
	Started [2]int        `json:"started"`
}

// Series runs a scenario with count seeds from first on, several at once, and
// calls each, unless it is nil, with the number of runs that are over. Of each run as much is kept
// as detail says. It stops early when ctx ends.
func Series(ctx context.Context, s *scenario.Scenario, first uint64, count int, detail Detail, each func(done int)) *Report {
	results := make([]*Result, count)
	var group sync.WaitGroup
	var one sync.Mutex
	var next atomic.Int64
	done := 0
	for range min(count, runtime.GOMAXPROCS(0)) {
		group.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= count {
					return
				}
				results[i] = Play(s, first+uint64(i), detail)
				one.Lock()
				if done++; each != nil {
					each(done)
				}
				one.Unlock()
			}
		})
	}
	group.Wait()
	return report(s, results)
}

func report(s *scenario.Scenario, results []*Result) *Report {
	r := &Report{File: s.File, Title: s.Title, Failed: []uint64{}, Expected: []Spread{}, Machines: []WorstFate{}, Runs: []*Result{}, Events: map[string]int{}}
	for _, e := range s.Expected {
		r.Expected = append(r.Expected, Spread{Line: e.Pos.Line, Text: e.Text})
	}
	for _, result := range results {
		if result != nil {
			r.add(result)
		}
	}
	r.Passed = len(r.Failed) == 0
	return r
}

func (r *Report) add(result *Result) {
	r.Seeds++
	r.Runs = append(r.Runs, result)
	sum(r.Events, result.Events)
	if !result.Passed {
		r.Failed = append(r.Failed, result.Seed)
	}
	for _, e := range result.Expected {
		for i := range r.Expected {
			if r.Expected[i].Line == e.Line {
				r.Expected[i].add(e, result.Seed)
			}
		}
	}
	for i, f := range result.Machines {
		if i == len(r.Machines) {
			r.Machines = append(r.Machines, WorstFate{Name: f.Name, Away: f.Away, Seed: result.Seed, Started: [2]int{f.Started, f.Started}})
		}
		r.Machines[i].add(f, result.Seed)
	}
}

func (s *Spread) add(e Expected, seed uint64) {
	s.Met++
	if e.At == nil {
		return
	}
	if s.Latest == nil || *e.At > *s.Latest {
		s.Latest, s.Seed = e.At, seed
	}
	if s.Earliest == nil || *e.At < *s.Earliest {
		s.Earliest = e.At
	}
}

func (w *WorstFate) add(f Fate, seed uint64) {
	if f.Away > w.Away {
		w.Away, w.Seed = f.Away, seed
	}
	w.Started = [2]int{min(w.Started[0], f.Started), max(w.Started[1], f.Started)}
}
