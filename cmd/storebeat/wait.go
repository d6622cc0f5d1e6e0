package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"storebeat/agent/core"
)

// lookEvery is how often a waiting command looks.
const lookEvery = 250 * time.Millisecond

// await looks until every machine is in the state wanted, and tells on standard
// error how each gets there.
func (a *app) await(ctx context.Context, all []changed, wanted string, within time.Duration) error {
	deadline := time.Now().Add(within)
	told := map[string]string{}
	ticks := time.NewTicker(lookEvery)
	defer ticks.Stop()
	for {
		v, err := a.view(ctx, false)
		if err != nil {
			return err
		}
		missing := v.missing(all, wanted)
		for _, m := range missing {
			a.tellOnce(told, m)
		}
		if len(missing) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fail(exitUnavailable, "not %s after %v: %s: see `storebeat explain vm %s`", wanted, within, describe(missing), firstOf(missing[0].Name, missing[0].VM.String()))
		}
		select {
		case <-ctx.Done():
			return fail(exitUnavailable, "interrupted while waiting: what was asked for stays recorded; see `storebeat vm list`")
		case <-ticks.C:
		}
	}
}

// missing notes the state of every machine, and returns those that are not in
// the one wanted.
func (v cluster) missing(all []changed, wanted string) (missing []core.MachineView) {
	for i := range all {
		m, err := v.machine(all[i].Machine)
		if err != nil {
			m = core.MachineView{Name: all[i].Machine, State: "not known yet"}
		}
		all[i].State, all[i].Host = m.State, m.HostName
		if m.State != wanted {
			missing = append(missing, m)
		}
	}
	return missing
}

// tellOnce prints a machine's state when it is another than the last one told.
func (a *app) tellOnce(told map[string]string, m core.MachineView) {
	line := fmt.Sprintf("%s is %s", m.Name, stateOn(&m))
	if m.Why != "" {
		line += ": " + m.Why
	}
	if told[m.Name] != line {
		told[m.Name] = line
		fmt.Fprintln(a.errOut, line)
	}
}

func describe(machines []core.MachineView) string {
	var parts []string
	for i := range machines {
		parts = append(parts, machines[i].Name+" is "+stateOn(&machines[i]))
	}
	return strings.Join(parts, ", ")
}
