package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// runner is one run of the command.
type runner struct {
	root    string
	folders []string // that a copy of the tree holds
	limit   int      // of schedules, 0: as the patches say
	jobs    int
	began   time.Time
	mu      sync.Mutex // of the progress lines
}

type options struct {
	only, output, docs string
	limit, jobs        int
}

func main() {
	var o options
	flag.StringVar(&o.only, "only", "", "run only the mutants whose name contains one of these words, separated by commas")
	flag.IntVar(&o.limit, "limit", 0, "run at most this many random schedules for each mutant, not as many as its patch says")
	flag.IntVar(&o.jobs, "jobs", runtime.NumCPU(), "run this many mutants at once")
	flag.StringVar(&o.output, "o", "table", "form of the result: table, markdown or json")
	flag.StringVar(&o.docs, "docs", "", "also put the table into this Markdown file, between its marks")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out io.Writer) error {
	r, mutants, err := prepare(ctx, o)
	if err != nil {
		return err
	}
	verdicts, err := r.all(ctx, mutants)
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	if err := errors.Join(err, show(out, o.output, verdicts)); err != nil {
		return err
	}
	if bad := wrong(verdicts); len(bad) > 0 {
		return fmt.Errorf("%d of %d mutants are not what their patches say:\n%s", len(bad), len(verdicts), strings.Join(bad, "\n"))
	}
	if o.docs != "" {
		return putTable(o.docs, verdicts)
	}
	return nil
}

func prepare(ctx context.Context, o options) (*runner, []Mutant, error) {
	if o.limit < 0 || o.jobs < 1 || flag.NArg() > 0 {
		return nil, nil, fmt.Errorf("--limit %d --jobs %d %v: give a limit of schedules of at least 0, at least one job, and no arguments", o.limit, o.jobs, flag.Args())
	}
	if o.docs != "" && (o.only != "" || o.limit > 0) {
		return nil, nil, errors.New("--docs takes the table of all mutants: leave --only and --limit out")
	}
	root, err := findRoot(ctx)
	if err != nil {
		return nil, nil, err
	}
	folders, err := sources(ctx, root)
	if err != nil {
		return nil, nil, err
	}
	mutants, err := readMutants(filepath.Join(root, "test/mutants"))
	if err != nil {
		return nil, nil, err
	}
	chosen := choose(mutants, o.only)
	if len(chosen) == 0 {
		return nil, nil, fmt.Errorf("--only %s: no mutant in test/mutants has a name like that", o.only)
	}
	return &runner{root: root, folders: folders, limit: o.limit, jobs: o.jobs, began: time.Now()}, chosen, nil
}

// findRoot returns the folder of the module that the working directory belongs to.
func findRoot(ctx context.Context) (string, error) {
	out, err := command(ctx, ".", "go", "env", "GOMOD")
	file := strings.TrimSpace(out)
	if err != nil || file == "" || file == os.DevNull {
		return "", fmt.Errorf("the working directory is in no module (%w)", err)
	}
	return filepath.Dir(file), nil
}

func choose(mutants []Mutant, only string) (chosen []Mutant) {
	for _, m := range mutants {
		for word := range strings.SplitSeq(only, ",") {
			if strings.Contains(m.Name, word) {
				chosen = append(chosen, m)
				break
			}
		}
	}
	return chosen
}

// all judges the mutants, and the tree as it is, a few at once.
func (r *runner) all(ctx context.Context, mutants []Mutant) ([]Verdict, error) {
	verdicts := make([]Verdict, len(mutants))
	var unsound error
	work := make(chan func())
	var workers sync.WaitGroup
	for range r.jobs {
		workers.Go(func() {
			for do := range work {
				do()
			}
		})
	}
	work <- func() { unsound = r.sound(ctx, mutants) }
	for i := range mutants {
		work <- func() {
			verdicts[i] = r.judge(ctx, mutants[i])
			r.progress("%s: %s", mutants[i].Name, verdicts[i].words())
		}
	}
	close(work)
	workers.Wait()
	return verdicts, unsound
}

func (r *runner) progress(format string, arguments ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(os.Stderr, "%6.0f s  %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, arguments...))
}

func wrong(verdicts []Verdict) (bad []string) {
	for _, v := range verdicts {
		if v.Wrong != "" {
			bad = append(bad, v.Name+": "+v.Wrong)
		}
	}
	return bad
}

func show(out io.Writer, form string, verdicts []Verdict) error {
	switch form {
	case "table":
		return printTable(out, verdicts)
	case "markdown":
		_, err := io.WriteString(out, markdown(verdicts))
		return err
	case "json":
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(verdicts)
	}
	return fmt.Errorf("-o %s: the forms are table, markdown and json", form)
}
