package main

import (
	"context"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"storebeat/agent"
	"storebeat/agent/config"
	"storebeat/agent/control"
	"storebeat/agent/hypervisor/libvirt"
)

// hookLimit is how long the agent may take to answer. libvirtd does nothing else
// with the domain meanwhile.
const hookLimit = 5 * time.Second

// newLibvirtHook is what libvirt runs when it does something with a guest. It must
// not ask libvirt anything: libvirtd waits for it.
func newLibvirtHook(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "libvirt-hook NAME OPERATION SUB-OPERATION EXTRA", Short: "Tell libvirt whether it may start a guest", Hidden: true,
		Args: arguments(2, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !libvirt.HookAsks(args[1]) {
				return nil
			}
			return a.libvirtHook(cmd.Context())
		},
	}
}

func (a *app) libvirtHook(ctx context.Context) error {
	vm, marker, err := libvirt.HookInput(a.in)
	if err != nil {
		return err
	}
	cfg, err := a.readConfig()
	if err != nil {
		// Perhaps no cluster; perhaps one whose configuration has just been broken.
		cfg = config.Default()
	}
	ctx, cancel := context.WithTimeout(ctx, hookLimit)
	defer cancel()
	client := control.NewClient(firstOf(a.socket, cfg.ControlSocket, filepath.Join(cfg.RunDirectory, "control.sock")))
	defer client.Close()
	var answer agent.MayStartResult
	err = client.Call(ctx, agent.MethodMayStart, agent.MayStartRequest{VM: vm, Marker: marker}, &answer)
	switch {
	case err == nil && answer.Allowed:
		return nil
	case err == nil:
		return fail(exitRefused, "%s", answer.Why)
	case marker == "" && !agent.KnownProtected(cfg.StateDirectory, vm):
		return nil
	}
	return fail(exitUnavailable, "%s is protected by Storebeat, whose agent does not answer: %v: start the agent (systemctl start storebeat), and then the machine with `storebeat vm start %s`", vm, err, vm)
}
