package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"storebeat/test/sim"
	"storebeat/test/sim/scenario"
)

// maxSeeds bounds what --seeds may ask for.
const maxSeeds = 100_000

// simulateOptions are the flags of simulate.
type simulateOptions struct {
	seed  uint64
	seeds int
	trace bool
}

func newSimulate(a *app) *cobra.Command {
	o := simulateOptions{seed: 1}
	cmd := &cobra.Command{
		Use:   "simulate FILE...",
		Short: "Play scenario files: what Storebeat does when this or that fails",
		Long: `Plays a scenario: a text file that describes a cluster, what befalls it, and what must
become of its machines. The agents' own decisions are run, in virtual time and without
touching any host; a minute takes a few milliseconds. docs/scenarios.md describes the
language. FILE may be - for standard input.

It shows what happened, where every machine runs in the end and how long it was away,
and whether all that the file expects came true. Everything that a file leaves open, such
as the phase of heartbeats, follows from the seed: the same seed gives the same run. With
--seeds it runs as many, and shows what was worst.

It ends with status 1 if an expectation fails or a machine ever runs twice, and with 2 if
a file makes no sense. With -o json it prints an object with "passed" and "scenarios";
each of these has "file", "title", "passed", "seeds", "failed" (seeds), "expected" and
"machines" over all seeds, and "runs" with what each seed came to: "wrong", "expected",
"machines", and, for a single seed, "timeline" and, with --trace, "trace".`,
		Example: `  storebeat simulate host-dies.scenario
  storebeat simulate --seeds 1000 *.scenario
  storebeat simulate --seed 37 --trace host-dies.scenario`,
		Args: arguments(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(cmd.Flags().Changed); err != nil {
				return err
			}
			return a.simulate(cmd.Context(), o, args)
		},
	}
	f := cmd.Flags()
	f.Uint64Var(&o.seed, "seed", o.seed, "run with this `seed`")
	f.IntVar(&o.seeds, "seeds", 0, "run with the seeds from 1 to this `number`")
	f.BoolVar(&o.trace, "trace", false, "show everything that happened")
	return cmd
}

// check judges the flags.
func (o simulateOptions) check(changed func(flag string) bool) error {
	switch {
	case !changed("seeds"):
		return nil
	case o.seeds < 1 || o.seeds > maxSeeds:
		return fail(exitUsage, "--seeds %d: give it from 1 to %d", o.seeds, maxSeeds)
	case changed("seed"):
		return fail(exitUsage, "--seed is for one run and --seeds for many: take one of them out")
	case o.trace:
		return fail(exitUsage, "--trace shows one run: choose it with --seed, without --seeds")
	}
	return nil
}

// simulation is what -o json prints.
type simulation struct {
	Passed    bool          `json:"passed"`
	Scenarios []*sim.Report `json:"scenarios"`
}

func (a *app) simulate(ctx context.Context, o simulateOptions, files []string) error {
	scenarios, err := a.readScenarios(files)
	if err != nil {
		return err
	}
	result := simulation{Passed: true, Scenarios: []*sim.Report{}}
	for _, s := range scenarios {
		r := a.play(ctx, o, s)
		result.Scenarios = append(result.Scenarios, r)
		result.Passed = result.Passed && r.Passed
		if a.output == "table" {
			a.showReportOf(r, o, len(files) == 1)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("interrupted: what was shown is what was run up to then")
		}
	}
	if a.output == "json" {
		if err := a.printJSON(result); err != nil {
			return err
		}
	}
	return result.failure()
}

// play runs one scenario with the seeds that are asked for.
func (a *app) play(ctx context.Context, o simulateOptions, s *scenario.Scenario) *sim.Report {
	if o.seeds == 0 {
		detail := sim.Timeline
		if o.trace {
			detail = sim.Full
		}
		return sim.Series(ctx, s, o.seed, 1, detail, nil)
	}
	var progress func(int)
	if isTerminal(a.errOut) {
		progress = func(done int) { fmt.Fprintf(a.errOut, "\r\x1b[K%s: %d of %d seeds", s.File, done, o.seeds) }
		defer a.clearProgress()
	}
	return sim.Series(ctx, s, 1, o.seeds, sim.Verdict, progress)
}

// failure names the scenarios that failed.
func (r *simulation) failure() error {
	var failed []string
	for _, s := range r.Scenarios {
		if !s.Passed {
			failed = append(failed, fmt.Sprintf("%s with seed %d", s.File, s.Failed[0]))
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return fail(exitFailed, "%d of %d scenarios failed (%s): run one with that --seed and with --trace to see all of it", len(failed), len(r.Scenarios), strings.Join(failed, ", "))
}

// readScenarios reads all files before any is played.
func (a *app) readScenarios(files []string) (scenarios []*scenario.Scenario, err error) {
	var errs []error
	for _, file := range files {
		content, err := a.readScenario(file)
		if err != nil {
			errs = append(errs, fmt.Errorf("%w: name a scenario file, or - for standard input", err))
			continue
		}
		s, err := scenario.Parse(file, content)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		scenarios = append(scenarios, s)
	}
	if len(errs) > 0 {
		return nil, &failure{exitUsage, errors.Join(errs...)}
	}
	return scenarios, nil
}

func (a *app) readScenario(file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(io.LimitReader(a.in, scenario.MaxSize+1))
	}
	if info, err := os.Stat(file); err == nil && info.IsDir() {
		return nil, fmt.Errorf("%s is a directory", file)
	}
	return readSome(file, scenario.MaxSize+1)
}
