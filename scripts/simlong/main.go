// Command simlong runs many random schedules of the simulator on all processors, shows
// how far it is, and sums up what was injected and what met.
//
// A schedule in which something goes wrong is reported at once with its seed;
// "simlong -from SEED -seeds 1 -trace" shows it again, event by event. It exits
// with 1 when there was one, or when something that the schedules must bring about never happened.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"storebeat/test/sim"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "simlong:", err)
		os.Exit(1)
	}
}

// options are what is run.
type options struct {
	from, seeds uint64
	workers     int
	trace       bool
	report      string
	every       time.Duration
}

func run(ctx context.Context) error {
	var o options
	flag.Uint64Var(&o.from, "from", 1, "the first seed")
	flag.Uint64Var(&o.seeds, "seeds", 10_000, "how many seeds")
	flag.IntVar(&o.workers, "workers", runtime.GOMAXPROCS(0), "how many schedules at once")
	flag.BoolVar(&o.trace, "trace", false, "print the trace of each schedule; for few seeds")
	flag.StringVar(&o.report, "report", "", "write the sums to this file, as JSON")
	flag.DurationVar(&o.every, "every", 10*time.Second, "how often to say how far it is")
	flag.Parse()
	if o.seeds == 0 || o.workers < 1 {
		return fmt.Errorf("%d seeds on %d workers: give at least one of each", o.seeds, o.workers)
	}
	debug.SetGCPercent(400) // a schedule needs little memory, and time matters
	l := &long{options: o, began: time.Now(), out: os.Stdout, progress: os.Stderr}
	return l.run(ctx)
}

// long is one long run.
type long struct {
	options
	began    time.Time
	said     time.Time
	out      io.Writer // what was found and the sums
	progress io.Writer
	sim.Tally
	Wrong []wrong `json:"wrong"`
}

// wrong is a schedule in which something went wrong.
type wrong struct {
	Seed uint64   `json:"seed"`
	Why  []string `json:"why"`
}

func (l *long) run(ctx context.Context) error {
	if l.trace {
		for seed := l.from; seed < l.from+l.seeds && ctx.Err() == nil; seed++ {
			f := sim.Find(sim.RandomSetup(seed))
			fmt.Fprintln(l.out, f.Trace)
			l.take(f)
		}
	} else {
		sim.Search(ctx, l.from, l.from+l.seeds, l.workers, l.take)
	}
	l.say()
	l.sums()
	if err := l.write(); err != nil {
		return err
	}
	switch missing := l.Uncovered(); {
	case len(l.Wrong) > 0:
		return fmt.Errorf("%d of %d schedules went wrong", len(l.Wrong), l.Schedules)
	case ctx.Err() != nil:
		return errors.New("interrupted")
	case l.seeds >= 2000 && len(missing) > 0:
		return fmt.Errorf("%d schedules never brought about: %s", l.Schedules, strings.Join(missing, "; "))
	}
	return nil
}

// take takes in what one schedule came to.
func (l *long) take(f sim.Finding) {
	l.Add(f)
	if len(f.Wrong) > 0 {
		l.Wrong = append(l.Wrong, wrong{f.Seed, f.Wrong})
		fmt.Fprintf(l.out, "seed %d: %s\n", f.Seed, strings.Join(f.Wrong, "\n\t"))
	}
	if time.Since(l.said) >= l.every {
		l.say()
	}
}

// say says how far the run is.
func (l *long) say() {
	l.said = time.Now()
	took := l.said.Sub(l.began)
	rate := float64(l.Schedules) / took.Seconds()
	left := time.Duration(float64(l.seeds-uint64(l.Schedules)) / rate * float64(time.Second))
	fmt.Fprintf(l.progress, "%d of %d schedules, %.0f a second, %.0f simulated hours (%.0f an hour), %d wrong, %v to go\n",
		l.Schedules, l.seeds, rate, l.Virtual.Hours(), l.Virtual.Hours()/took.Hours(), len(l.Wrong), left.Round(time.Second))
}

// sums prints the sums, the most frequent first.
func (l *long) sums() {
	table := tabwriter.NewWriter(l.out, 0, 0, 2, ' ', 0)
	for _, part := range []struct {
		title  string
		counts map[string]int
	}{{"FAULT", l.Faults}, {"COVERAGE", l.Coverage}, {"EVENT", l.Events}} {
		fmt.Fprintf(table, "%s\tTIMES\n", part.title)
		names := slices.SortedFunc(maps.Keys(part.counts), func(a, b string) int {
			return cmp.Or(cmp.Compare(part.counts[b], part.counts[a]), cmp.Compare(a, b))
		})
		for _, n := range names {
			fmt.Fprintf(table, "%s\t%d\n", n, part.counts[n])
		}
		fmt.Fprintln(table, "\t")
	}
	_ = table.Flush()
}

func (l *long) write() error {
	if l.report == "" {
		return nil
	}
	text, err := json.MarshalIndent(struct {
		*sim.Tally
		From  uint64        `json:"from"`
		Took  time.Duration `json:"took_ns"`
		Wrong []wrong       `json:"wrong"`
	}{&l.Tally, l.from, time.Since(l.began), l.Wrong}, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the report: %w", err)
	}
	if err := os.WriteFile(l.report, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}
