package main

import (
	"context"
	"strings"
	"time"

	"storebeat/agent/core"
	"storebeat/poweron"
	"storebeat/test/faultfs"
	"storebeat/test/lab"
)

// stallLength is for how long all storage stands still.
const stallLength = 10 * time.Second

// fault is what strikes a lab.
type fault struct {
	Name   string
	master bool // strikes the master's host, and not another one
	moves  bool // its host's machines start elsewhere
	// response is each machine's, to isolation; "" for the default.
	response poweron.IsolationResponse
	// strike does it. Every fault ends by heal, but for what it waits for itself.
	strike func(ctx context.Context, b *bench, h *lab.Host) error
	// noticed are the events by which somebody first tells of it, and lost those
	// that say that nobody runs the machines any more.
	noticed, lost []core.Kind
}

var (
	silent  = []core.Kind{"host-unreachable", "host-dead", "host-agent-down"}
	closed  = []core.Kind{"term-closed"}
	powered = func(_ context.Context, _ *bench, h *lab.Host) error { return h.PowerOff() }
)

var faults = []fault{
	{Name: "power-off", moves: true, strike: powered, noticed: silent, lost: closed},
	{Name: "master-power-off", master: true, moves: true, strike: powered, noticed: silent, lost: closed},
	{Name: "dark-host", moves: true, strike: darken, noticed: silent, lost: closed},
	{Name: "link-down", moves: true, response: poweron.PowerOff, noticed: []core.Kind{"isolated"}, lost: []core.Kind{"machine-released"},
		strike: func(_ context.Context, _ *bench, h *lab.Host) error { return h.LinkDown() }},
	{Name: "storage-stall", strike: stall},
}

// described says what each fault is, for the table.
var described = map[string]string{
	"power-off":        "host power off",
	"master-power-off": "power off, the master's host",
	"dark-host":        "dark host: network and storage gone, it lives on",
	"link-down":        "link down, response “power off”",
	"storage-stall":    "all storage stands still for 10 s: longest silence of each guest",
}

func faultNames() string {
	var names []string
	for _, f := range faults {
		names = append(names, f.Name)
	}
	return strings.Join(names, ",")
}

// darken takes a host's network and storage away. The file server gives its locks
// up at once, so that what is measured is the product and not the server's lease.
func darken(_ context.Context, b *bench, h *lab.Host) error {
	b.lab.Network.Isolate(h)
	for _, d := range b.lab.Datastores {
		h.Storage(d).Hang()
	}
	for _, d := range b.lab.Datastores {
		h.Storage(d).Revoke()
	}
	return nil
}

// stall lets all storage stand still for everybody.
func stall(ctx context.Context, b *bench, _ *lab.Host) error {
	b.lab.Watch.ResetGaps()
	b.eachPath((*faultfs.Mount).Hang)
	select {
	case <-ctx.Done():
	case <-time.After(stallLength):
	}
	b.eachPath((*faultfs.Mount).Heal)
	return ctx.Err()
}
