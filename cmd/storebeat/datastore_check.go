package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"storebeat/datastorehb"
	"storebeat/datastorehb/check"
)

// checkTime is how long a check may take unless --timeout says otherwise.
const checkTime = time.Minute

func newDatastoreCheck(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "check NAME|PATH",
		Short: "Try out from this host whether a directory can be a datastore",
		Long: `Tries out on a mounted directory everything that Storebeat relies on, measures how
long a heartbeat takes there, and finds out its write barrier and the restart time to
expect. It writes to a scratch folder of its own and removes it; a datastore that is in
use is not disturbed. What one host alone can't find out is listed as such.

It ends with status 1 if the directory is unsafe, so that it can stand in a script.`,
		Args:              arguments(1, 1),
		ValidArgsFunction: a.completeDatastores,
		RunE: func(cmd *cobra.Command, args []string) error {
			within := checkTime
			if cmd.Flags().Changed("timeout") {
				within = a.timeout
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), within)
			defer cancel()
			return a.checkDatastore(ctx, args[0])
		},
	}
}

func (a *app) checkDatastore(ctx context.Context, nameOrPath string) error {
	path, options, err := a.checkTarget(nameOrPath)
	if err != nil {
		return err
	}
	options.Progress = a.checkProgress()
	report, err := check.Run(ctx, path, options)
	a.clearProgress()
	switch {
	case errors.Is(err, os.ErrNotExist):
		return &failure{exitNotFound, err}
	case err != nil && len(report.Findings) == 0:
		return err
	}
	printErr := a.print(report, func() error { return a.showReport(&report) })
	switch {
	case err != nil:
		return &failure{exitUnavailable, err}
	case printErr == nil && report.Status() == check.Unsafe:
		return fail(exitFailed, "%s is not safe as a datastore as it is: the findings marked unsafe say what to do", path)
	}
	return printErr
}

// checkTarget takes path and timing from the configuration. A path can be
// checked without one.
func (a *app) checkTarget(nameOrPath string) (string, check.Options, error) {
	var o check.Options
	isPath := isPath(nameOrPath)
	cfg, err := a.readConfig()
	if err != nil {
		if isPath {
			return nameOrPath, o, nil
		}
		return "", o, err
	}
	o.Timing = cfg.Timing
	for _, d := range cfg.Datastores {
		if d.Name == nameOrPath || isPath && d.Path == absolute(nameOrPath) {
			o.Fence = d.WriteBarrier != nil && *d.WriteBarrier == datastorehb.BarrierFence
			return d.Path, o, nil
		}
	}
	if isPath {
		return nameOrPath, o, nil
	}
	return "", o, fail(exitNotFound, "%s has no datastore %q: name another one, or give a path such as ./%s", a.config, nameOrPath, nameOrPath)
}

// checkProgress shows the step under way, to people only.
func (a *app) checkProgress() func(check.Progress) {
	if !isTerminal(a.errOut) {
		return nil
	}
	return func(p check.Progress) { fmt.Fprintf(a.errOut, "\r\x1b[K%d/%d %s", p.Number, p.Of, p.Step) }
}

func (a *app) clearProgress() {
	if isTerminal(a.errOut) {
		fmt.Fprint(a.errOut, "\r\x1b[K")
	}
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (a *app) showReport(r *check.Report) error {
	fmt.Fprintf(a.out, "%s: %s\n\n", r.Path, r.Status())
	for _, f := range r.Findings {
		fmt.Fprintf(a.out, "%-8s %s: %s\n", f.Status, f.Name, f.What)
		if f.Remedy != "" {
			fmt.Fprintf(a.out, "         → %s\n", f.Remedy)
		}
	}
	fmt.Fprintln(a.out)
	if l := r.Latency; l != nil {
		fmt.Fprintf(a.out, "Heartbeat write  median %s, 99 %% within %s, at most %s (%s writes)\n", short(l.Median), short(l.P99), short(l.Max), humanize.Comma(int64(l.Writes)))
	}
	fmt.Fprintf(a.out, "Write barrier    %s\n", r.Barrier.Kind)
	if r.Restart.Expected > 0 {
		fmt.Fprintf(a.out, "Restart          machines of a lost host can start elsewhere within %v\n", r.Restart.Expected)
	}
	for _, u := range r.Unseen {
		fmt.Fprintf(a.out, "Not seen here    %s\n", u)
	}
	return nil
}
