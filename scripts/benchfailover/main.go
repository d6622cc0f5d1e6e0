package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"storebeat/test/lab"
)

func main() {
	lab.Main()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "benchfailover:", err)
		os.Exit(1)
	}
}

// options are what is measured, and where it is written.
type options struct {
	binary   string
	runs     int
	storage  string
	profiles []string
	faults   []fault
	data     string // the file of all measurements
	page     string // the page that has the table; "" for none
}

func parse(args []string) (o options, err error) {
	flags := flag.NewFlagSet("benchfailover", flag.ContinueOnError)
	profiles, names := "default,fast", ""
	flags.StringVar(&o.binary, "binary", "bin/storebeat", "the program")
	flags.IntVar(&o.runs, "runs", 20, "how often each fault strikes")
	flags.StringVar(&o.storage, "storage", "local", "what the lab's hosts share: local, or NFS, for which they are computers in emulation")
	flags.StringVar(&profiles, "profiles", profiles, "timing profiles, with commas")
	flags.StringVar(&names, "faults", "", "what strikes, with commas, of "+faultNames(faults)+"; all that this storage has when empty")
	flags.StringVar(&o.data, "data", "docs/failover.json", "`file` of all measurements, brought up to date")
	flags.StringVar(&o.page, "page", "docs/performance.md", "`page` whose table is written anew; empty for none")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.runs < 1 {
		return o, fmt.Errorf("-runs %d: give a number above 0", o.runs)
	}
	if places[o.storage] == nil {
		return o, fmt.Errorf("-storage %q: choose local or NFS", o.storage)
	}
	o.profiles = strings.Split(profiles, ",")
	if o.faults, err = choose(names, o.storage); err != nil {
		return o, err
	}
	o.binary, err = filepath.Abs(o.binary)
	return o, err
}

// choose finds faults by their names. Without any it is all that there are: with NFS
// a host's storage goes by the cable of its network, and none strikes that alone.
func choose(names, storage string) ([]fault, error) {
	can := slices.DeleteFunc(slices.Clone(faults), func(f fault) bool { return f.apart && storage == "NFS" })
	if names == "" {
		return can, nil
	}
	var chosen []fault
	for name := range strings.SplitSeq(names, ",") {
		at := slices.IndexFunc(can, func(f fault) bool { return f.Name == name })
		if at < 0 {
			return nil, fmt.Errorf("-faults %q: with storage %s choose from %s", name, storage, faultNames(can))
		}
		chosen = append(chosen, can[at])
	}
	return chosen, nil
}

func run(ctx context.Context) error {
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, profile := range o.profiles {
		for _, f := range o.faults {
			rows, err := o.measure(ctx, profile, f)
			if err == nil {
				err = o.write(summarize(o.storage, profile, f.Name, o.runs, rows))
			}
			if err != nil {
				return fmt.Errorf("%s, profile %s: %w", f.Name, profile, err)
			}
		}
	}
	return nil
}

// measure has one fault strike a lab of one profile again and again.
func (o options) measure(ctx context.Context, profile string, f fault) (rows []row, err error) {
	b, err := newBench(ctx, o.storage, o.binary, profile, f)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.end()) }()
	for i := range o.runs {
		more, err := b.strike(ctx, f)
		if err != nil {
			return nil, fmt.Errorf("run %d: %w", i+1, err)
		}
		rows = append(rows, more...)
		fmt.Fprintf(os.Stderr, "%s, %s, run %d of %d: %s\n", f.Name, profile, i+1, o.runs, tell(more))
	}
	return rows, nil
}

// write adds a case to the file of measurements and writes the table anew.
func (o options) write(s summary) error {
	all, err := readMeasurements(o.data)
	if err != nil {
		return err
	}
	all = all.with(s)
	if err := all.write(o.data); err != nil || o.page == "" {
		return err
	}
	page, err := os.ReadFile(o.page)
	if err != nil {
		return err
	}
	text, err := replaceTable(string(page), all.table())
	if err != nil {
		return fmt.Errorf("%s: %w", o.page, err)
	}
	return os.WriteFile(o.page, []byte(text), 0o644)
}
