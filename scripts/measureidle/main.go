// Command measureidle measures what an idle cluster costs: processor, memory and
// operations on the datastores, per agent. It runs a cluster of its own on this
// computer and ends it.
//
// Guarantees: times are those the kernel charged to each process, so other load
// on the computer changes them little. Non-guarantees: local directories stand in
// for shared storage, so the operations are counted and not timed.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"storebeat/agent"
	"storebeat/agent/demo/cluster"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "measureidle:", err)
		os.Exit(1)
	}
}

// options are what is measured.
type options struct {
	binary   string
	machines int
	span     time.Duration
	cluster  cluster.Options
}

func run(ctx context.Context) (err error) {
	var o options
	flag.StringVar(&o.binary, "binary", "bin/storebeat", "the program")
	flag.IntVar(&o.cluster.Hosts, "hosts", 3, "number of hosts")
	flag.IntVar(&o.cluster.Datastores, "datastores", 2, "number of datastores")
	flag.IntVar(&o.machines, "machines", 20, "number of machines")
	flag.StringVar(&o.cluster.Profile, "profile", "default", "timing profile")
	flag.DurationVar(&o.span, "for", time.Minute, "how long to measure")
	flag.Parse()
	if o.cluster.Dir, err = os.MkdirTemp("", "storebeat-idle-"); err != nil {
		return err
	}
	defer os.RemoveAll(o.cluster.Dir)
	o.cluster.Binary = o.binary
	c, err := cluster.Build(o.cluster)
	if err != nil {
		return err
	}
	defer c.End(context.WithoutCancel(ctx))
	if err := begin(ctx, c, o.machines); err != nil {
		return err
	}
	return measure(ctx, c, o.span)
}

// begin starts the cluster and its machines, and waits until all of them run.
func begin(ctx context.Context, c *cluster.Cluster, machines int) error {
	if err := c.Start(); err != nil {
		return err
	}
	if err := cluster.Await(ctx, time.Minute, "the cluster to form", func() (bool, string) { return c.Settled(ctx, 0) }); err != nil {
		return err
	}
	for i := range machines {
		m := cluster.NewMachine(fmt.Sprintf("vm%d", i+1), c.Datastores[i%len(c.Datastores)], "process")
		if err := c.Protect(ctx, c.Hosts[0], m); err != nil {
			return err
		}
	}
	return cluster.Await(ctx, time.Minute, "the machines to run", func() (bool, string) { return c.Settled(ctx, machines) })
}

// reading is what one host had used at one time.
type reading struct {
	agentTicks, guardTicks int
	agentRSS, guardRSS     int // KiB
	operations             map[string]agent.Operations
}

func measure(ctx context.Context, c *cluster.Cluster, span time.Duration) error {
	before, err := read(ctx, c)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "measuring for %v …\n", span)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(span):
	}
	after, err := read(ctx, c)
	if err != nil {
		return err
	}
	tell(c, before, after, span)
	return nil
}

func read(ctx context.Context, c *cluster.Cluster) (all []reading, err error) {
	for _, h := range c.Hosts {
		process, err := h.Agent()
		if err != nil {
			return nil, err
		}
		guard, err := h.Guard(ctx)
		if err != nil {
			return nil, err
		}
		var health agent.Health
		if err := h.Client.Call(ctx, agent.MethodHealth, struct{}{}, &health); err != nil {
			return nil, err
		}
		r := reading{operations: health.Operations}
		if r.agentTicks, r.agentRSS, err = usage(process.PID); err != nil {
			return nil, err
		}
		if r.guardTicks, r.guardRSS, err = usage(guard.PID); err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// usage returns the processor time that a process has used, in hundredths of a
// second, and its resident memory in KiB.
func usage(pid int) (ticks, rss int, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 22 {
		return 0, 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	pages, _ := strconv.Atoi(fields[21])
	return user + system, pages * os.Getpagesize() / 1024, nil
}

func tell(c *cluster.Cluster, before, after []reading, span time.Duration) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	percent := func(ticks int) float64 { return float64(ticks) / span.Seconds() }
	fmt.Fprintln(w, "host\tagent CPU %\tagent MiB\tguard CPU %\tguard MiB\t")
	for i, h := range c.Hosts {
		a, b := after[i], before[i]
		fmt.Fprintf(w, "%s\t%.2f\t%.1f\t%.2f\t%.1f\t\n", h.Name, percent(a.agentTicks-b.agentTicks), float64(a.agentRSS)/1024, percent(a.guardTicks-b.guardTicks), float64(a.guardRSS)/1024)
	}
	fmt.Fprintln(w, "\t\t\t\t\t")
	fmt.Fprintln(w, "per second\tdatastore\treads\tKiB read\twrites\tKiB written\tmetadata\t")
	for i, h := range c.Hosts {
		for _, d := range c.Datastores {
			a, b := after[i].operations[d.Name], before[i].operations[d.Name]
			per := func(n int64) float64 { return float64(n) / span.Seconds() }
			fmt.Fprintf(w, "%s\t%s\t%.2f\t%.1f\t%.2f\t%.1f\t%.2f\t\n", h.Name, d.Name, per(a.Reads-b.Reads), per(a.BytesRead-b.BytesRead)/1024,
				per(a.Writes-b.Writes), per(a.BytesWritten-b.BytesWritten)/1024, per(a.Metadata-b.Metadata))
		}
	}
	_ = w.Flush()
}
