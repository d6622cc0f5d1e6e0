package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"storebeat/agent/core"
	"storebeat/poweron"
)

// stallLength is for how long all storage stands still.
const stallLength = 10 * time.Second

// fault is what strikes a lab.
type fault struct {
	Name   string
	master bool // strikes the master's host, and not another one
	moves  bool // its host's machines start elsewhere
	apart  bool // needs storage that does not go by the network's cable
	// response is each machine's, to isolation; "" for the default.
	response poweron.IsolationResponse
	// lockLease is how long a server must keep the locks of hosts that it does not hear; 0
	// for what it does.
	lockLease time.Duration
	// strike does it. Every fault ends by heal, but for what it waits for itself.
	strike func(ctx context.Context, b *bench, h *host) error
	// noticed are the events by which somebody first tells of it, and lost those
	// that say that nobody runs the machines any more.
	noticed, lost []core.Kind
}

var (
	silent  = []core.Kind{"host-unreachable", "host-dead", "host-agent-down"}
	closed  = []core.Kind{"term-closed"}
	powered = func(_ context.Context, _ *bench, h *host) error { return h.powerOff() }
)

var faults = []fault{
	{Name: "power-off", moves: true, strike: powered, noticed: silent, lost: closed},
	{Name: "master-power-off", master: true, moves: true, strike: powered, noticed: silent, lost: closed},
	{Name: "dark-host", moves: true, strike: func(_ context.Context, b *bench, h *host) error { return b.darken(h) }, noticed: silent, lost: closed},
	{Name: "link-down", moves: true, apart: true, response: poweron.PowerOff, noticed: []core.Kind{"isolated"}, lost: []core.Kind{"machine-released"},
		strike: func(_ context.Context, _ *bench, h *host) error { return h.linkDown() }},
	{Name: "storage-stall", lockLease: 6 * stallLength, strike: stall},
}

// described says what each fault is, for the table.
var described = map[string]string{
	"power-off":        "host power off",
	"master-power-off": "power off, the master's host",
	"dark-host":        "dark host: network and storage gone, it lives on",
	"link-down":        "link down, response “power off”",
	"storage-stall":    "all storage stands still for 10 s: longest silence of each guest",
}

func faultNames(of []fault) string {
	var names []string
	for _, f := range of {
		names = append(names, f.Name)
	}
	return strings.Join(names, ",")
}

// stall lets all storage stand still for everybody.
func stall(ctx context.Context, b *bench, _ *host) error {
	b.watch.ResetGaps()
	if err := b.stall(true); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-time.After(stallLength):
	}
	return errors.Join(b.stall(false), ctx.Err())
}
