package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"storebeat/agent/core"
	"storebeat/agent/journal"
	"storebeat/poweron"
	"storebeat/test/lab"
)

// patience is how long anything may take.
const patience = 3 * time.Minute

// bench is a place with its machines.
type bench struct {
	*place
	guests []*lab.Machine
}

// newBench makes a lab and waits until its machines run.
func newBench(ctx context.Context, storage, binary, profile string, f fault) (*bench, error) {
	p, err := build(ctx, storage, binary, profile, f.lockLease)
	if err != nil {
		return nil, err
	}
	b := &bench{place: p}
	if err := b.begin(ctx, f.response); err != nil {
		return nil, errors.Join(err, p.end())
	}
	return b, nil
}

func (b *bench) begin(ctx context.Context, response poweron.IsolationResponse) error {
	if err := b.awaitWhole(ctx); err != nil {
		return err
	}
	for i := range b.machines {
		m, err := lab.MakeMachine(fmt.Sprintf("vm%d", i+1), b.datastores[i%len(b.datastores)])
		if err != nil {
			return err
		}
		b.watch.Add(m)
		m.Policy.Isolation = cmp.Or(response, m.Policy.Isolation)
		if err := b.hosts[0].protect(ctx, m); err != nil {
			return err
		}
		b.guests = append(b.guests, m)
	}
	return b.awaitWhole(ctx)
}

// row is how one machine came through one strike, in seconds since then. A step
// that there was not is 0.
type row struct {
	Machine                                 string
	Noticed, Lost, Claimed, Started, Output float64
}

// strike has a fault strike, waits until all machines run again, and tells how
// each machine that it concerned came through.
func (b *bench) strike(ctx context.Context, f fault) ([]row, error) {
	victim, err := b.victim(ctx, f.master)
	for ; err == nil && victim == nil; victim, err = b.victim(ctx, f.master) {
		if err := b.shuffle(ctx, f.master); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, err
	}
	return b.hit(ctx, f, victim)
}

// shuffle moves machines to where a fault can strike them, by the loss of the host where they are.
// It is not measured.
func (b *bench) shuffle(ctx context.Context, master bool) error {
	other, err := b.victim(ctx, !master)
	if err == nil && other == nil {
		err = errors.New("no host runs a machine")
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "machines run on the wrong hosts; %s is switched off once, which is not measured\n", other.Name)
	_, err = b.hit(ctx, faults[0], other)
	return err
}

// hit has a fault strike a host.
func (b *bench) hit(ctx context.Context, f fault, victim *host) ([]row, error) {
	lost := b.on(victim, f.moves)
	before := b.starts()
	at := time.Now()
	if err := f.strike(ctx, b, victim); err != nil {
		return nil, err
	}
	for _, m := range lost {
		if f.moves {
			before[m]++
		}
		if err := b.await(ctx, m.Name+" to run", func() (bool, string) { return b.runs(m, before[m]) }); err != nil {
			return nil, err
		}
	}
	rows, err := b.gather(ctx, f, victim, at, lost)
	if err != nil {
		return nil, err
	}
	return rows, errors.Join(b.recover(ctx, victim), b.judge(before))
}

// victim returns the master's host, or another one, that runs a machine; nil if none does.
func (b *bench) victim(ctx context.Context, master bool) (*host, error) {
	v, err := b.hosts[0].view(ctx)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(b.hosts, func(h *host) bool {
		return (h.ID == v.Master) == master && len(b.on(h, true)) > 0
	})
	if at < 0 {
		return nil, nil
	}
	return b.hosts[at], nil
}

// on lists the machines that run on a host, or all.
func (b *bench) on(h *host, only bool) (on []*lab.Machine) {
	for _, m := range b.guests {
		if newest, _ := b.watch.Newest(m); !only || newest.Host == h.Name {
			on = append(on, m)
		}
	}
	return on
}

// starts is how often each machine was started, by its own words.
func (b *bench) starts() map[*lab.Machine]int {
	all := map[*lab.Machine]int{}
	for _, m := range b.guests {
		_, all[m] = b.watch.Newest(m)
	}
	return all
}

// runs reports whether a machine is in its run of that number, and speaks.
func (b *bench) runs(m *lab.Machine, number int) (bool, string) {
	newest, runs := b.watch.Newest(m)
	return runs >= number && time.Since(newest.Last) < time.Second, fmt.Sprintf("it is in run %d, at %d", runs, newest.Count)
}

// recover undoes everything and waits until the lab is whole.
func (b *bench) recover(ctx context.Context, victim *host) error {
	if err := b.heal(); err != nil {
		return err
	}
	if !victim.isOn() {
		if err := victim.powerOn(ctx); err != nil {
			return err
		}
	}
	return b.awaitWhole(ctx)
}

// judge returns what the guests show to be wrong.
func (b *bench) judge(want map[*lab.Machine]int) (err error) {
	for _, fault := range b.watch.Faults() {
		err = errors.Join(err, errors.New(fault))
	}
	for m, runs := range b.starts() {
		if runs != want[m] {
			err = errors.Join(err, fmt.Errorf("%s was started %d times, not %d times", m.Name, runs, want[m]))
		}
	}
	return err
}

// gather puts together what happened, from consoles and recorded events.
func (b *bench) gather(ctx context.Context, f fault, victim *host, at time.Time, lost []*lab.Machine) (rows []row, err error) {
	var events []journal.Entry
	for _, h := range b.hosts {
		if !h.isOn() {
			continue
		}
		its, err := h.events(ctx, at)
		if err != nil && (h != victim || f.Name != "dark-host") {
			return nil, err
		}
		events = append(events, its...)
	}
	first := func(kinds []core.Kind, match func(e core.Event) bool) (earliest float64) {
		for _, e := range events {
			since := e.Wall.Sub(at).Seconds()
			if slices.Contains(kinds, e.Kind) && match(e.Event) && (earliest == 0 || since < earliest) {
				earliest = since
			}
		}
		return earliest
	}
	for _, m := range lost {
		newest, _ := b.watch.Newest(m)
		if !f.moves {
			rows = append(rows, row{Machine: m.Name, Output: newest.Gap.Seconds()})
			continue
		}
		its := func(e core.Event) bool { return e.VM == m.VM }
		rows = append(rows, row{Machine: m.Name, Output: newest.At.Sub(at).Seconds(),
			Noticed: first(f.noticed, func(e core.Event) bool { return e.Host == victim.ID || e.By == victim.ID }),
			Lost: first(f.lost, func(e core.Event) bool {
				return e.VM == m.VM || e.Host == victim.ID && e.Datastore == m.Home.ID
			}),
			Claimed: first([]core.Kind{"generation-won"}, its), Started: first([]core.Kind{"machine-started"}, its)})
	}
	return rows, nil
}

// awaitWhole waits until the cluster is whole and every guest speaks.
func (b *bench) awaitWhole(ctx context.Context) error {
	return b.await(ctx, "the cluster to be whole", func() (bool, string) {
		if ok, why := b.settled(ctx, len(b.guests)); !ok {
			return false, why
		}
		for _, m := range b.guests {
			if ok, why := b.runs(m, 1); !ok {
				return false, m.Name + ": " + why
			}
		}
		return true, ""
	})
}

func (b *bench) await(ctx context.Context, what string, ok func() (bool, string)) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		done, why := ok()
		switch {
		case done:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case len(b.watch.Faults()) > 0:
			return fmt.Errorf("while waiting for %s the guests showed that the product failed: %v", what, b.watch.Faults())
		case time.Now().After(deadline):
			return fmt.Errorf("waited %v for %s: %s", patience, what, why)
		}
	}
}
