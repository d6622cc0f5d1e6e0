package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"storebeat/agent"
	"storebeat/agent/config"
	"storebeat/agent/control"
	"storebeat/agent/hypervisor/libvirt"
)

const (
	// hookLimit is how long the agent may take to answer. libvirtd does nothing else
	// with the domain meanwhile.
	hookLimit = 5 * time.Second
	// receiveLimit is the same for a machine that is moved here.
	receiveLimit = agent.ReceiveTime + 10*time.Second
)

// newLibvirtHook is what libvirt runs when it does something with a guest. It must
// not ask libvirt anything: libvirtd waits for it.
func newLibvirtHook(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "libvirt-hook NAME OPERATION SUB-OPERATION EXTRA", Short: "Tell libvirt whether it may start a guest", Hidden: true,
		Args: arguments(2, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch operation := args[1]; operation {
			case libvirt.HookMigrate, libvirt.HookRestore, libvirt.HookPrepare, libvirt.HookStarted:
				return a.libvirtHook(cmd.Context(), operation)
			}
			return nil
		},
	}
}

func (a *app) libvirtHook(ctx context.Context, operation string) error {
	o, err := libvirt.ReadOffer(a.in)
	if err != nil || operation == libvirt.HookStarted && o.Marker != "" {
		return err // what an agent has ordered was asked about before
	}
	switch operation {
	case libvirt.HookMigrate:
		protected, err := a.askAgent(ctx, hookLimit, &o, agent.MethodMayReceive, agent.OfferRequest{VM: o.VM, Offered: []byte(o.XML)})
		if err == nil && (protected || o.Marker != "") {
			_, err = fmt.Fprint(a.out, o.Received())
		}
		return err
	case libvirt.HookStarted:
		pid, _ := o.PID() // the agent asks for it if it has to know
		_, err = a.askAgent(ctx, receiveLimit, &o, agent.MethodReceive, agent.ReceiveRequest{VM: o.VM, PID: pid})
		return err
	}
	_, err = a.askAgent(ctx, hookLimit, &o, agent.MethodMayStart, agent.MayStartRequest{VM: o.VM, Marker: o.Marker})
	return err
}

// askAgent asks the agent of this host whether libvirt may go on, and whether the guest is a protected
// machine. Without an agent it goes by what was protected when one last looked.
func (a *app) askAgent(ctx context.Context, limit time.Duration, o *libvirt.Offer, method string, question any) (protected bool, err error) {
	cfg, err := a.readConfig()
	if err != nil {
		// Perhaps no cluster; perhaps one whose configuration has just been broken.
		cfg = config.Default()
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	client := control.NewClient(firstOf(a.socket, cfg.ControlSocket, filepath.Join(cfg.RunDirectory, "control.sock")))
	defer client.Close()
	var answer agent.MayStartResult
	err = client.Call(ctx, method, question, &answer)
	switch {
	case err == nil && answer.Allowed:
		return answer.Protected, nil
	case err == nil:
		return true, fail(exitRefused, "%s", answer.Why)
	case o.Marker == "" && !agent.KnownProtected(cfg.StateDirectory, o.VM):
		return false, nil
	}
	return true, fail(exitUnavailable, "%s is protected by Storebeat, whose agent does not answer: %v: %s", o.VM, err, remedyFor(method, o.VM))
}

func remedyFor(method string, vm uuid.UUID) string {
	if method == agent.MethodMayStart {
		return fmt.Sprintf("start the agent (systemctl start storebeat), and then the machine with `storebeat vm start %s`", vm)
	}
	return "start the agent (systemctl start storebeat), and repeat what was begun"
}
