package sim

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"storebeat/test/sim/scenario"
)

var update = flag.Bool("update", false, "rewrite testdata/wrong/*.txt")

func readScenario(t *testing.T, file string) *scenario.Scenario {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s, err := scenario.Parse(filepath.Base(file), content)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func scenarioFiles(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no files %s: %v", pattern, err)
	}
	return files
}

// TestScenarios plays every file of test/scenarios. STOREBEAT_SIM_SEED and
// STOREBEAT_SIM_SEEDS choose other seeds.
func TestScenarios(t *testing.T) {
	usual := uint64(scenarioSeeds)
	if testing.Short() {
		usual = min(usual, 5)
	}
	first, end := seeds(t, usual)
	for _, file := range scenarioFiles(t, "../scenarios/*.scenario") {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".scenario"), func(t *testing.T) {
			t.Parallel()
			s := readScenario(t, file)
			if s.Title == "" {
				t.Error("it has no title")
			}
			r := Series(t.Context(), s, first, int(end-first), Verdict, nil)
			failures(t, r)
		})
	}
}

func failures(t *testing.T, r *Report) {
	t.Helper()
	for i, run := range r.Runs {
		if i > 0 && len(r.Failed) > 0 && run.Seed > r.Failed[min(2, len(r.Failed)-1)] {
			break
		}
		for _, w := range run.Wrong {
			t.Errorf("seed %d %s", run.Seed, w)
		}
	}
	if len(r.Failed) > 0 {
		t.Errorf("%d of %d seeds failed", len(r.Failed), r.Seeds)
	}
}

// TestWrongExpectations asks that what does not come true is said, with the seed,
// the time and what was seen.
func TestWrongExpectations(t *testing.T) {
	t.Parallel()
	for _, file := range scenarioFiles(t, "testdata/wrong/*.scenario") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			r := Play(readScenario(t, file), 1, Verdict)
			if r.Passed {
				t.Fatal("it passed")
			}
			var b strings.Builder
			for _, w := range r.Wrong {
				fmt.Fprintf(&b, "seed %d %s\n\n", r.Seed, w)
			}
			got := withoutChance(b.String())
			golden := strings.TrimSuffix(file, ".scenario") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("another message; if it is right, run go test ./test/sim -run TestWrongExpectations -update (-want +got)\n%s", diff)
			}
		})
	}
}

// withoutChance takes out of a message what any change of the product may change:
// all that happens at odd instants.
func withoutChance(text string) string {
	odd := regexp.MustCompile(`^ +\d+\.\d+ `)
	var b strings.Builder
	for line := range strings.Lines(text) {
		if stamp := odd.FindString(line); stamp == "" || strings.HasSuffix(stamp, ".000000 ") {
			b.WriteString(line)
		}
	}
	return regexp.MustCompile(`\d+\.\d+s`).ReplaceAllString(b.String(), "some s")
}

// TestTraceIsOfThoseConcerned asks that the lines which go with a failure are about
// those that failed.
func TestTraceIsOfThoseConcerned(t *testing.T) {
	t.Parallel()
	r := Play(readScenario(t, "testdata/wrong/too-soon.scenario"), 1, Verdict)
	trace := strings.Join(r.Wrong[1].Trace, "\n") // of "h2 is dead"
	for _, want := range []string{"scenario power off h2", "h2       lost power", "host-unreachable: h2"} {
		if !strings.Contains(trace, want) {
			t.Errorf("%q is missing in\n%s", want, trace)
		}
	}
	if strings.Contains(trace, "vm1") || strings.Contains(trace, "h3") || len(r.Wrong[1].Trace) > evidenceLines {
		t.Errorf("there is more than what concerns h2:\n%s", trace)
	}
}

// TestPlayIsDeterministic asks for the same run again, whatever is kept of it.
func TestPlayIsDeterministic(t *testing.T) {
	t.Parallel()
	s := readScenario(t, "../scenarios/master-dies-while-restarting.scenario")
	a, b := Play(s, 7, Full), Play(s, 7, Full)
	if diff := cmp.Diff(a.Trace, b.Trace); diff != "" {
		t.Errorf("two traces of one seed\n%s", diff)
	}
	c := Play(s, 7, Verdict)
	if diff := cmp.Diff(a.Machines, c.Machines); diff != "" || cmp.Diff(a.Expected, c.Expected) != "" {
		t.Errorf("a run of which less is kept went another way\n%s", diff)
	}
	if slices.Equal(a.Trace, Play(s, 8, Full).Trace) {
		t.Error("two seeds have one trace")
	}
}

// TestEveryFormIsPlayed asks that the player knows every word of the language.
func TestEveryFormIsPlayed(t *testing.T) {
	t.Parallel()
	for _, f := range scenario.Actions {
		if actions[f] == nil {
			t.Errorf("nobody carries out %q", f.Syntax)
		}
	}
	for _, f := range scenario.Conditions {
		if conditions[f].holds == nil {
			t.Errorf("nobody judges %q", f.Syntax)
		}
	}
}

// TestPageExamples plays the scenarios of docs/scenarios.md.
func TestPageExamples(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/scenarios.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```scenario\n(.*?)```").FindAllSubmatch(page, -1)
	if len(blocks) < 3 {
		t.Fatalf("the page has %d examples", len(blocks))
	}
	for _, b := range blocks {
		s, err := scenario.Parse("docs/scenarios.md", b[1])
		if err != nil {
			t.Error(err)
			continue
		}
		failures(t, Series(t.Context(), s, 1, 10, Verdict, nil))
	}
}

// TestEveryFormIsUsed asks that no word of the language is left untried.
func TestEveryFormIsUsed(t *testing.T) {
	t.Parallel()
	used := map[*scenario.Form]bool{}
	for _, file := range slices.Concat(scenarioFiles(t, "../scenarios/*.scenario"), scenarioFiles(t, "testdata/wrong/*.scenario")) {
		s := readScenario(t, file)
		for _, e := range s.Events {
			used[e.When.Form], used[e.Do.Form] = true, true
			if e.When.Condition != nil {
				used[e.When.Condition.Form] = true
			}
		}
		for _, e := range s.Expected {
			used[e.When.Form], used[e.What.Form] = true, true
		}
	}
	for _, f := range slices.Concat(scenario.Moments, scenario.Actions, scenario.Expecting, scenario.Conditions) {
		if !used[f] {
			t.Errorf("no scenario has %q", f.Syntax)
		}
	}
}
