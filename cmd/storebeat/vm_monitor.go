package main

import (
	"path/filepath"

	"github.com/spf13/cobra"

	"storebeat/agent"
	"storebeat/agent/hypervisor"
)

// protectRunning protects the QEMU guest behind a monitor.
func (a *app) protectRunning(cmd *cobra.Command, args []string, o protection) error {
	if o.monitor == "" || len(args) > 0 || o.all || o.datastore != "" || o.memory != "" || len(o.disks) > 0 || o.stopped {
		return fail(exitUsage, "--monitor SOCKET takes over the one guest behind it, which says what it has: beside it give --name, policy and rules alone")
	}
	monitor, err := filepath.Abs(o.monitor)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	var g hypervisor.Guest
	if err := a.call(ctx, agent.MethodExport, agent.ExportRequest{Name: o.name, Monitor: monitor, Offer: !o.dryRun}, &g); err != nil {
		return err
	}
	if err := a.judgeGuest(&g, o); err != nil || o.dryRun {
		return err
	}
	v, err := a.view(ctx, true)
	if err != nil {
		return err
	}
	text, err := a.protectGuest(ctx, agent.GuestsResult{Host: v.Host, Driver: "qemu"}, &g, o)
	if err != nil {
		return err
	}
	done := []changed{{Machine: g.Name, Done: text}}
	return a.print(done, func() error { return a.showChanged(done) })
}
