package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"storebeat/datastorehb"
	"storebeat/datastorehb/device"
)

// Options say how a check is made. The zero Options are good.
type Options struct {
	Timing    datastorehb.Timing // to judge the latency by; the default profile when zero
	Fence     bool               // the configuration names fence as the write barrier
	NoBarrier bool               // the configuration takes the risk of having none
	Writes    int                // to measure the latency with; 200 when 0
	Budget    time.Duration      // for what is done many times over, such as measuring it; 5 s when 0
	Grace     time.Duration      // for tidying up once the context has ended; 2 s when 0
	Load      bool               // measure the latency under a bulk writer, too
	Peers     []Peer             // other hosts that take part

	// Progress, if set, is called from within Run as each step begins and ends.
	Progress func(Progress)
}

// Progress tells how far a check is.
type Progress struct {
	Step     string
	Number   int // of the step, from 1
	Of       int
	Done     bool
	Findings []Finding // of the step, when done
}

func (o Options) withDefaults() Options {
	if o.Timing == (datastorehb.Timing{}) {
		o.Timing = datastorehb.Timing{Interval: time.Second, Lease: 4 * time.Second, Freeze: 500 * time.Millisecond, Takeover: 5 * time.Second}
	}
	if o.Writes <= 0 {
		o.Writes = 200
	}
	if o.Budget <= 0 {
		o.Budget = 5 * time.Second
	}
	if o.Grace <= 0 {
		o.Grace = 2 * time.Second
	}
	return o
}

// step is one part of a check. It runs in the worker and may hang for ever.
type step struct {
	name    string
	scratch bool // it writes, so it needs the scratch folder
	run     func(*probe) []Finding
}

func allSteps() []step {
	return []step{
		{"mount", false, checkMount},
		{"scratch folder", false, checkScratch},
		{"free space", false, checkSpace},
		{"other hosts", true, checkHosts},
		{"direct I/O", true, checkDirect},
		{"write latency", true, checkLatency}, // before what takes long on slow storage
		{"exclusive names", true, checkLinkRace},
		{"exclusive names between processes", true, checkProcessRace},
		{"write latency under load", true, checkLoad},
		{"rename and fsync", true, checkRename},
		{"file locks", true, checkLocks},
		{"extended attributes", true, checkXattr},
		{"new names", true, checkVisibility},
		{"exclusive names between hosts", true, checkHostRace},
		{"other hosts' sight", true, checkSight},
		{"file locks between hosts", true, checkHostLocks},
		{"write barrier", false, checkBarrier},
	}
}

// probe is what the worker hands from step to step.
type probe struct {
	ctx       context.Context
	opts      Options
	root      string // the folder that is checked
	scratch   string // empty until there is one
	info      device.Info
	links     []*link
	rounds    int // that a race for names had time for
	latency   *Latency
	loaded    *Latency // measured under load
	seen      seen
	barrier   device.Barrier
	restart   Restart
	lockFault string // why image locks would not work; empty when they do
}

// seen is what was found out with other hosts.
type seen struct{ race, names bool }

// event is what the worker tells Run: a step began, or ended with findings, or
// nothing could be checked at all.
type event struct {
	Progress
	update func(*Report) // takes over what the step found besides the findings
	err    error
}

// Run checks the folder at path. The error says that the check could not be made
// or not finished; what was found until then is in the report. A datastore that
// was found unsafe is no error.
func Run(ctx context.Context, path string, opts Options) (Report, error) {
	return runSteps(ctx, path, opts.withDefaults(), allSteps())
}

// runSteps leaves the file system to a worker, since that may hang for ever.
func runSteps(ctx context.Context, path string, opts Options, steps []step) (Report, error) {
	events := make(chan event, 2*len(steps)+1) // the worker never waits for Run
	p := &probe{ctx: ctx, opts: opts, root: path}
	for _, peer := range opts.Peers {
		p.links = append(p.links, newLink(peer))
	}
	go work(p, steps, events)
	c := collector{opts: opts, running: "mount", report: Report{Path: path, Restart: Restart{Takeover: opts.Timing.Takeover}}}
	ended := ctx.Done()
	var grace <-chan time.Time
	for {
		select {
		case e, more := <-events:
			if !more {
				return c.report, c.err
			}
			c.take(e)
		case <-ended:
			ended, grace = nil, time.After(opts.Grace)
		case <-grace:
			return c.hung(ctx)
		}
	}
}

// collector builds the report, in the goroutine of Run.
type collector struct {
	opts    Options
	report  Report
	running string // the step that began last; looking at the mount comes before all
	err     error
}

func (c *collector) take(e event) {
	if e.err != nil {
		c.err = errors.Join(c.err, e.err)
		return
	}
	c.running = e.Step
	if e.Done {
		c.running = tidying // or the next step, which says so itself
	}
	c.report.Findings = append(c.report.Findings, e.Findings...)
	if e.update != nil {
		e.update(&c.report)
	}
	if c.opts.Progress != nil {
		c.opts.Progress(e.Progress)
	}
}

// tidying is what the worker does between two steps, if anything.
const tidying = "removing the scratch folder"

// hung ends a check whose worker does not come back.
func (c *collector) hung(ctx context.Context) (Report, error) {
	c.report.Findings = append(c.report.Findings, Finding{
		Name: c.running, Status: Unsafe, What: "the file system has not answered",
		Remedy: "see whether the server or the disk behind the mount is up; the scratch folder is removed when it answers, or by hand: rm -r " + filepath.Join(c.report.Path, scratchPrefix) + "*",
	})
	return c.report, fmt.Errorf("checking %s: step %q has not returned: %w", c.report.Path, c.running, context.Cause(ctx))
}

// work makes the steps one after the other and tidies up.
func work(p *probe, steps []step, events chan<- event) {
	defer close(events)
	for _, l := range p.links {
		defer close(l.quit)
	}
	defer func() {
		if err := p.removeScratch(); err != nil {
			events <- event{err: err}
		}
	}()
	var err error
	if p.info, err = inspectFolder(p.root); err != nil {
		events <- event{err: err}
		return
	}
	p.root = p.info.Path
	for i, s := range steps {
		if p.ctx.Err() != nil {
			events <- event{err: fmt.Errorf("checking %s: stopped before step %q: %w", p.root, s.name, context.Cause(p.ctx))}
			return
		}
		at := Progress{Step: s.name, Number: i + 1, Of: len(steps)}
		events <- event{Progress: at}
		at.Done = true
		if !s.scratch || p.scratch != "" {
			at.Findings = s.run(p)
		}
		events <- event{Progress: at, update: p.update(i == len(steps)-1 && p.ctx.Err() == nil)}
	}
}

// inspectFolder refuses what is no folder and finds out what lies under it.
func inspectFolder(path string) (device.Info, error) {
	st, err := os.Stat(path)
	if err != nil {
		return device.Info{}, fmt.Errorf("checking %s: %w: give the folder where the datastore is mounted", path, err)
	}
	if !st.IsDir() {
		return device.Info{}, fmt.Errorf("checking %s: it is no folder: give the folder where the datastore is mounted", path)
	}
	return device.Inspect(path)
}

// update returns a function that copies the worker's results into the report,
// by value, so that the two goroutines share nothing.
func (p *probe) update(complete bool) func(*Report) {
	path, info, latency, loaded, barrier, restart, seen := p.root, p.info, p.latency, p.loaded, p.barrier, p.restart, p.seen
	return func(r *Report) {
		r.Path, r.Device, r.Latency, r.Loaded, r.Barrier, r.Complete = path, info, latency, loaded, barrier, complete
		if restart.Takeover != 0 {
			r.Restart = restart
		}
		r.Unseen = unseen(info, seen)
	}
}

const scratchPrefix = ".storebeat-check-"

func checkScratch(p *probe) []Finding {
	const name = "scratch folder"
	dir, err := os.MkdirTemp(p.root, scratchPrefix)
	if err != nil {
		return one(name, Unsafe, fmt.Sprintf("nothing can be written here: %v; the steps that write were left out", err),
			"run the check as the user of the agent (root), on a mount that is not read-only and not full")
	}
	p.scratch = dir
	return nil
}

// removeScratch is called by the worker only, after the last step.
func (p *probe) removeScratch() error {
	if p.scratch == "" {
		return nil
	}
	if err := os.RemoveAll(p.scratch); err != nil {
		return fmt.Errorf("removing the scratch folder: %w; remove it by hand: rm -r %s", err, p.scratch)
	}
	return nil
}

func one(name string, status Status, what, remedy string) []Finding {
	return []Finding{{Name: name, Status: status, What: what, Remedy: remedy}}
}

// broken is the finding of a step that ran into an error.
func (p *probe) broken(name string, err error, remedy string) []Finding {
	if p.ctx.Err() != nil && errors.Is(err, p.ctx.Err()) {
		return one(name, Warning, "stopped before it was done", "give the check more time, such as --timeout 5m, and see why the storage is slow")
	}
	return one(name, Unsafe, err.Error(), cmp.Or(remedyOf(err), remedy))
}

// remedyOf is the remedy for an error that says nothing about what the step tried
// out, but that the storage is ill; "" for others.
func remedyOf(err error) string {
	for _, e := range []error{unix.EIO, unix.ESTALE, unix.ENOTCONN, unix.ETIMEDOUT, unix.EREMOTEIO} {
		if errors.Is(err, e) {
			return "see whether the server or the disk behind the mount is healthy, and what the kernel says of it (dmesg); then check again"
		}
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return "make room there, or raise the quota; then check again"
	}
	return ""
}
