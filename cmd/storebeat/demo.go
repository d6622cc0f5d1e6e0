package main

import (
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"storebeat/agent/demo"
)

func newDemo(a *app) *cobra.Command {
	o := demo.Options{Hosts: 3, Datastores: 2, VMs: 6, Profile: "default", Fault: demo.OneHost, Runs: 1}
	var fault, end string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a whole cluster on this computer, kill a host, and show what happens",
		Long: `Starts real agents with real guards on loopback addresses, with datastores in a
temporary directory and small QEMU guests (ordinary processes where QEMU is not
installed). Then it kills a host: agent, guard and machines at once. It prints a
timeline, checks on the guests' own consoles that each ran once at a time, and exits
with 1 if one did not.

With -o json it prints its measurements instead, as seconds since the kill.

It is no measurement of your storage: local directories stand in for shared ones. It
needs no root; without it, machines are frozen weakly, by SIGSTOP.`,
		Example: `  storebeat demo
  storebeat demo --profile fast --fault master+host
  storebeat demo --runs 20 -o json
  storebeat demo --keep`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if end != "" {
				return demo.End(cmd.Context(), end)
			}
			// A reader that has gone, as in "demo | head", must not end the demo before
			// it has ended its agents.
			signal.Ignore(syscall.SIGPIPE)
			o.Fault, o.JSON = demo.Fault(fault), a.output == "json"
			if err := o.Validate(); err != nil {
				return &failure{exitUsage, err}
			}
			return demo.Run(cmd.Context(), o, a.out)
		},
	}
	var faults []string
	for _, f := range demo.Faults {
		faults = append(faults, string(f))
	}
	f := cmd.Flags()
	f.IntVar(&o.Hosts, "hosts", o.Hosts, "`number` of hosts")
	f.IntVar(&o.Datastores, "datastores", o.Datastores, "`number` of datastores")
	f.IntVar(&o.VMs, "vms", o.VMs, "`number` of machines")
	f.StringVar(&o.Profile, "profile", o.Profile, "timing `profile`: fast, default or relaxed")
	f.StringVar(&o.Driver, "driver", "", "hypervisor `driver`: qemu or process; QEMU where it is installed")
	f.StringVar(&fault, "fault", string(o.Fault), "what to kill, `WHAT` is "+strings.Join(faults, ", "))
	f.IntVar(&o.Runs, "runs", o.Runs, "kill so many `times`, bringing the host back in between")
	f.BoolVar(&o.Keep, "keep", false, "leave the cluster running, and print commands to explore it")
	f.StringVar(&end, "end", "", "end a cluster that was kept in `DIR`")
	return cmd
}
