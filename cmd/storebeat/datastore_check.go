package main

import (
	"context"
	"errors"
	"fmt"
	"io"
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

// checkPeersTime is the same with other hosts, each of which may need a minute to
// see a new name.
const checkPeersTime = 5 * time.Minute

func newDatastoreCheck(a *app) *cobra.Command {
	var o checkOptions
	c := &cobra.Command{
		Use:   "check NAME|PATH",
		Short: "Try out from this host, or several, whether a directory can be a datastore",
		Long: `Tries out on a mounted directory everything that Storebeat relies on, measures how
long a heartbeat takes there, and finds out its write barrier and the restart time to
expect. It writes to a scratch folder of its own and removes it; a datastore that is in
use is not disturbed. What one host alone can't find out is listed as such.

With --peer, other hosts take part: they go for the same names at the same time, look
for what is made here, and try locks that are held here. On each, this program is started
by ssh, with the same name or path unless another path is given; agents need not run.
With --load, latency is measured once more while every host writes in bulk.

It takes some seconds, and stops after a minute, or five with --peer, unless --timeout
says otherwise; storage that hangs can't hold it up. It ends with status 1 if the
directory is unsafe, so that it can stand in a script.`,
		Example: `storebeat datastore check /mnt/nfs1
storebeat datastore check /mnt/nfs1 --peer beta --peer gamma --load
storebeat datastore check nfs1 --peer admin@beta:/srv/nfs1 --rsh "ssh -p 2222"`,
		Args:              arguments(1, 1),
		ValidArgsFunction: a.completeDatastores,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.answer {
				return a.answerCheck(cmd.Context(), args[0], cmd.InOrStdin())
			}
			within := checkTime
			if len(o.peers) > 0 {
				within = checkPeersTime
			}
			if cmd.Flags().Changed("timeout") {
				within = a.timeout
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), within)
			defer cancel()
			return a.checkDatastore(ctx, args[0], o)
		},
	}
	c.Flags().StringArrayVar(&o.peers, "peer", nil, "another `host` that takes part, HOST or HOST:PATH, an IPv6 address as [ADDRESS]:PATH; may be repeated")
	c.Flags().StringVar(&o.rsh, "rsh", "ssh -o BatchMode=yes", "`command` that runs a program on another host, given the host and the program's words")
	c.Flags().BoolVar(&o.load, "load", false, "measure latency under bulk writers, too")
	c.Flags().BoolVar(&o.answer, "answer", false, "")
	_ = c.Flags().MarkHidden("answer") // what a check asks of its peers
	return c
}

// checkOptions are the flags of a check.
type checkOptions struct {
	peers  []string
	rsh    string
	load   bool
	answer bool
}

// answerCheck takes part in the check of another host.
func (a *app) answerCheck(ctx context.Context, nameOrPath string, in io.Reader) error {
	path, _, err := a.checkTarget(nameOrPath)
	if err != nil {
		return err
	}
	return check.Answer(ctx, path, in, a.out)
}

func (a *app) checkDatastore(ctx context.Context, nameOrPath string, o checkOptions) error {
	path, options, err := a.checkTarget(nameOrPath)
	if err != nil {
		return err
	}
	peers, end, err := o.start(ctx, nameOrPath)
	defer end()
	if err != nil {
		return err
	}
	options.Progress, options.Load, options.Peers = a.checkProgress(), o.load, peers
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
			o.NoBarrier = d.AcceptNoBarrier
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
	if l := r.Loaded; l != nil {
		fmt.Fprintf(a.out, "… under load     median %s, 99 %% within %s, at most %s (%s writes)\n", short(l.Median), short(l.P99), short(l.Max), humanize.Comma(int64(l.Writes)))
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
