package main

import (
	"context"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"storebeat/agent"
	"storebeat/agent/control"
	"storebeat/agent/core"
)

// tellSystemd says that the agent is ready once its loop has answered, feeds the
// unit's watchdog while it goes on answering, and says when it stops, which ctx
// does. From then on until it has ended it asks for time, for as long as it answers.
// Not run by systemd, it does nothing.
func tellSystemd(ctx, ended context.Context, socket string) {
	if sent, err := daemon.SdNotify(false, "STATUS=starting"); !sent || err != nil {
		return
	}
	client := control.NewClient(socket)
	defer client.Close()
	every := time.Second
	if limit, err := daemon.SdWatchdogEnabled(false); err == nil && limit > 0 {
		every = limit / 3
	}
	for state := daemon.SdNotifyReady; ; {
		pause := every
		if v, ok := answers(ctx, client, every); ok {
			_, _ = daemon.SdNotify(false, state+"\nSTATUS="+inBrief(v))
			state = daemon.SdNotifyWatchdog
		} else if state != daemon.SdNotifyWatchdog {
			pause = min(every, 100*time.Millisecond)
		}
		select {
		case <-ctx.Done():
			stopUnderSystemd(ended, client)
			return
		case <-time.After(pause):
		}
	}
}

// moreTime is for how much longer the unit's stop may take after each answer.
const moreTime = 30 * time.Second

func stopUnderSystemd(ended context.Context, client *control.Client) {
	_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
	for {
		select {
		case <-ended.Done():
			return
		case <-time.After(time.Second):
		}
		if _, ok := answers(ended, client, time.Second); ok {
			_, _ = daemon.SdNotify(false, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", moreTime.Microseconds()))
		}
	}
}

// tell passes a state on to systemd without waiting for it. Not run by systemd,
// it does nothing.
func tell(state string) {
	go func() { _, _ = daemon.SdNotify(false, state) }()
}

// answers asks the agent's loop itself, the way a user would.
func answers(ctx context.Context, client *control.Client, within time.Duration) (v core.View, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	err := client.Call(ctx, agent.MethodView, agent.ViewRequest{Local: true}, &v)
	return v, err == nil
}

// inBrief is the line that "systemctl status" shows.
func inBrief(v core.View) string {
	master, machines := v.MasterName, 0
	if master == "" {
		master = "none"
	}
	for _, h := range v.Hosts {
		if h.ID == v.Host {
			machines = h.Machines
		}
	}
	text := fmt.Sprintf("host %s, master %s, %s here", v.Name, master, count(machines, "machine"))
	if !v.GuardUp {
		text += ", no guard"
	}
	return text
}
