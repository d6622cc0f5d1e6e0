package agent

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"time"

	"storebeat/agent/control"
	"storebeat/agent/core"
	"storebeat/agent/logind"
	"storebeat/datastorehb"
)

// StopRequest asks the agent to stop in good order.
type StopRequest struct {
	Now      bool `json:"now"`      // without waiting until the machines are in custody
	Shutdown bool `json:"shutdown"` // the host shuts down: the machines are stopped and given up
}

// stop has the agent stop for a user. It answers when the agent is about to end,
// or when it goes on because not all machines can be left in custody.
func (a *Agent) stop(ctx context.Context, in StopRequest) (CommandResult, error) {
	user, _ := control.User(ctx)
	who := control.UserName(user)
	r, err := a.wish(ctx, func(id uint64) core.Observation {
		o := core.Leave{Command: id, Why: leaveNow(datastorehb.LeftByUser, user), Who: who, AtOnce: in.Now, OrStay: !in.Now}
		if in.Shutdown {
			o.Why, o.Who, o.OrStay = leaveNow(datastorehb.LeftByShutdown, 0), "", false
		}
		return o
	})
	return result(r, err, "it is still stopping", "look with `storebeat status`; `storebeat agent stop --now` does not wait")
}

// leaveNow says who stops the agent, and that it is now.
func leaveNow(by datastorehb.LeaveCause, user uint32) datastorehb.Leave {
	return datastorehb.Leave{By: by, User: user, Wall: time.Now().Unix()}
}

// askToWait asks the host's login manager to wait for the agent at a shutdown, and
// not to suspend the host while machines run: for the agent that is a service of this
// host, and for one whose bus is named. Others, such as a demo's, must not keep
// anybody's computer from sleeping.
func (a *Agent) askToWait(ctx context.Context) {
	if os.Getenv("NOTIFY_SOCKET") == "" && os.Getenv("DBUS_SYSTEM_BUS_ADDRESS") == "" {
		return
	}
	a.inhibitor = logind.New(logind.Options{
		Changed: func(s logind.State) {
			a.observe(core.HostInhibited{Delays: s.Delays, Longest: s.Longest, Blocks: s.Blocks, Why: s.Why})
		},
		Preparing: func(shutdown bool) { a.observe(core.HostPrepares{Shutdown: shutdown}) },
	})
	go a.inhibitor.Run(ctx)
}

func (a *Agent) inhibit(e core.Effect) {
	if a.inhibitor == nil {
		return
	}
	switch e := e.(type) {
	case core.KeepAwake:
		a.inhibitor.KeepAwake(e.On)
	case core.LetShutDown:
		a.inhibitor.LetShutDown()
	}
}

// askSystemd is how long systemd may take to say whether the host shuts down.
const askSystemd = 2 * time.Second

// stoppedBy tells why the agent has got a signal: the service manager's socket is
// handed to nobody but its services, and it knows whether it stops everything.
func stoppedBy() datastorehb.LeaveCause {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return datastorehb.LeftBySignal
	}
	ctx, cancel := context.WithTimeout(context.Background(), askSystemd)
	defer cancel()
	state, _ := exec.CommandContext(ctx, "systemctl", "is-system-running").Output() // fails for every state but "running"
	if strings.TrimSpace(string(state)) == "stopping" {
		return datastorehb.LeftByShutdown
	}
	return datastorehb.LeftBySystemd
}

// confirmDead takes an operator's word that a host is off to the master, who
// alone watches the others.
func (a *Agent) confirmDead(ctx context.Context, in core.ConfirmDead) (CommandResult, error) {
	own, err := a.view(ctx)
	if err != nil {
		return CommandResult{}, err
	}
	in.By = "an operator on " + own.Name
	if user, ok := control.User(ctx); ok {
		in.By = control.UserName(user) + " on " + own.Name
	}
	var r core.Reply
	if own.Leading || own.Master == 0 {
		r, err = a.confirmHere(ctx, in)
	} else {
		err = a.askWithin(ctx, own.Master, envelope{Confirm: &in}, &r)
	}
	return result(r, err, "the master did not answer in time", "look with `storebeat status` what was done, and repeat the command")
}

// confirmHere gives an operator's word to this host's core.
func (a *Agent) confirmHere(ctx context.Context, in core.ConfirmDead) (core.Reply, error) {
	return a.wish(ctx, func(id uint64) core.Observation {
		in.Command = id
		return in
	})
}
