package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"storebeat/agent"
	"storebeat/agent/control"
	"storebeat/agent/core"
	"storebeat/agent/freeze"
	"storebeat/agent/guard"
	"storebeat/agent/hypervisor"
	"storebeat/datastorehb"
)

// Host is one agent with its guard and machines.
type Host struct {
	Name    string
	ID      datastorehb.HostID
	Dir     string
	Config  string // the configuration file
	Address string // of its own on the loopback interface
	Binary  string // the program, in place of the cluster's
	Client  *control.Client

	cluster *Cluster
	agent   *exec.Cmd // nil while it is down
	ended   chan struct{}
}

// Start runs the host's agent, which starts its guard. Its log is agent.log in
// the host's directory.
func (h *Host) Start() error {
	log, err := os.OpenFile(h.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	h.agent = exec.Command(cmp.Or(h.Binary, h.cluster.Binary), "agent", "--config", h.Config)
	h.agent.Stdout, h.agent.Stderr = log, log
	h.agent.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := h.agent.Start(); err != nil {
		h.agent = nil
		return fmt.Errorf("start the agent of %s: %w", h.Name, err)
	}
	h.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait()
		close(ended)
	}(h.agent, h.ended)
	return h.remember()
}

// Log is the path of the agent's log.
func (h *Host) Log() string { return filepath.Join(h.Dir, "agent.log") }

// RunDir is the agent's run directory.
func (h *Host) RunDir() string { return filepath.Join(h.Dir, "run") }

// StateDir is the agent's state directory.
func (h *Host) StateDir() string { return filepath.Join(h.Dir, "state") }

// Up reports whether the host's agent was started and has not been ended by a
// method of Host. It may have ended by itself: see Ended.
func (h *Host) Up() bool { return h.agent != nil }

// PID is the process of the agent, 0 while it is down.
func (h *Host) PID() int {
	if h.agent == nil {
		return 0
	}
	return h.agent.Process.Pid
}

// Ended is closed when the agent's process has ended.
func (h *Host) Ended() <-chan struct{} { return h.ended }

// KillAgent ends the agent alone, without a word. Guard and machines stay.
func (h *Host) KillAgent() {
	if h.agent == nil {
		return
	}
	_ = h.agent.Process.Kill() // it may have ended by itself
	<-h.ended
	h.agent = nil
}

// StopAgent ends the agent in good order: its machines go into custody.
func (h *Host) StopAgent(ctx context.Context) error {
	if h.agent == nil {
		return nil
	}
	if err := h.agent.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop the agent of %s: %w", h.Name, err)
	}
	select {
	case <-h.ended:
	case <-ctx.Done():
		return fmt.Errorf("stop the agent of %s: %w", h.Name, ctx.Err())
	}
	h.agent = nil
	return nil
}

// Machines lists the machine processes of the host.
func (h *Host) Machines(ctx context.Context) ([]hypervisor.Found, error) {
	return hypervisor.Scan(ctx, h.cluster.ID, h.ID, h.RunDir())
}

// Guard returns the guard's process, by its socket: it outlives the agent.
func (h *Host) Guard(ctx context.Context) (freeze.Handle, error) {
	g, err := guard.Dial(ctx, filepath.Join(h.RunDir(), "guard.sock"))
	if err != nil {
		return freeze.Handle{}, err
	}
	defer g.Close()
	return freeze.Of(g.PID(), "")
}

// Kill ends agent, guard and machines as a power failure would: all at once,
// without a word. It returns when that was.
func (h *Host) Kill(ctx context.Context) (time.Time, error) {
	g, err := h.Guard(ctx)
	if err != nil {
		return time.Time{}, err
	}
	found, err := h.Machines(ctx)
	if err != nil {
		return time.Time{}, err
	}
	victims := []freeze.Handle{g}
	for _, f := range found {
		victims = append(victims, f.Handle)
		victims = append(victims, f.Others...)
	}
	at := time.Now()
	_ = h.agent.Process.Kill()
	for _, v := range victims {
		if err := unlessGone(v.Kill()); err != nil {
			return at, fmt.Errorf("kill process %d of %s: %w", v.PID, h.Name, err)
		}
	}
	<-h.ended
	h.agent = nil
	sweep(ctx, victims)
	return at, nil
}

// sweep removes the cgroups of processes that were killed, which nobody else does
// when agent and machines end together. What can't be removed does no harm.
func sweep(ctx context.Context, killed []freeze.Handle) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for _, h := range killed {
		if h.Cgroup != "" && unlessGone(freeze.Wait(ctx, h)) == nil {
			_ = freeze.RemoveCgroup(h.Cgroup)
		}
	}
}

// End stops everything of the host that is still there. It goes on after errors
// and returns them all.
func (h *Host) End(ctx context.Context) error {
	h.KillAgent()
	var errs []error
	if g, err := h.Guard(ctx); err == nil {
		errs = append(errs, unlessGone(g.Kill()))
	}
	found, err := h.Machines(ctx)
	errs = append(errs, err)
	for _, f := range found {
		for _, p := range append([]freeze.Handle{f.Handle}, f.Others...) {
			errs = append(errs, unlessGone(p.Kill()), unlessGone(freeze.Wait(ctx, p)))
			sweep(ctx, []freeze.Handle{p})
		}
	}
	return errors.Join(errs...)
}

// unlessGone is err, unless it says that there is nothing left to end.
func unlessGone(err error) error {
	if errors.Is(err, freeze.ErrGone) {
		return nil
	}
	return err
}

// View returns the view of the host's agent: its own, or the master's.
func (h *Host) View(ctx context.Context, local bool) (v core.View, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err = h.Client.Call(ctx, agent.MethodView, agent.ViewRequest{Local: local}, &v)
	return v, err
}

// Command tells the host's agent a user's wish.
func (h *Host) Command(ctx context.Context, wish core.Command) (string, error) {
	var done agent.CommandResult
	err := h.Client.Call(ctx, agent.MethodCommand, wish, &done)
	return done.Text, err
}
