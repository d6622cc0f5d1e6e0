package leader

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/procfs"
)

// Ending is how the leading process ended, as far as the kernel told us.
type Ending struct {
	Known  bool           // false when this agent is not the parent
	Code   int            // exit status; -1 when a signal ended it
	Signal syscall.Signal // 0 when it exited by itself
}

// String returns the ending in words.
func (e Ending) String() string {
	switch {
	case !e.Known:
		return "ended, with a status that only its parent, a former agent, could have learnt"
	case e.Signal != 0:
		return fmt.Sprintf("ended by signal %d (%v)", int(e.Signal), e.Signal)
	}
	return fmt.Sprintf("exited with status %d", e.Code)
}

// adoptLimit bounds Adopt when its context has no deadline.
const adoptLimit = 5 * time.Second

// Process is the leading process of a machine.
type Process struct {
	handle hypervisor.Handle
	marker hypervisor.Marker
	runDir string
	driver string
	own    *os.Process // nil when adopted
	fd     *pidfd      // nil when adopted without a leading process
	judge  func(Ending) hypervisor.Exit
	done   chan struct{}

	incidents chan hypervisor.Incident

	mu     sync.Mutex
	reason *hypervisor.Exit // set before the end; the first one stands
	exit   hypervisor.Exit
}

// Adopt watches a process that Find reported. judge turns its ending into the
// machine's; it is not asked when Because has named a reason before. A found
// machine whose leading process is gone, is over: its remains are killed. A
// newborn machine is stopped and recorded, which its own agent did not live to do.
func Adopt(ctx context.Context, found hypervisor.Found, judge func(Ending) hypervisor.Exit) (*Process, error) {
	ctx, cancel := context.WithTimeout(ctx, adoptLimit)
	defer cancel()
	p := &Process{handle: found.Handle, marker: found.Marker, runDir: found.RunDir, driver: found.Driver, judge: judge, done: make(chan struct{}), incidents: make(chan hypervisor.Incident, maxIncidents)}
	if !found.Leaderless {
		fd, err := openPidfd(found.Handle)
		if err != nil {
			return nil, fmt.Errorf("adopt process %d of machine %s: %w", found.Handle.PID, found.VM, err)
		}
		p.fd = fd
	}
	go p.watch()
	if found.Newborn && !found.Leaderless {
		if err := errors.Join(p.Stop(ctx), p.Record()); err != nil {
			return nil, p.Abandon(err)
		}
	}
	return p, nil
}

// TakeOver watches a process that runs already and was started by somebody else:
// it is stopped and recorded. On an error it goes on as it was.
func TakeOver(ctx context.Context, found hypervisor.Found, judge func(Ending) hypervisor.Exit) (*Process, error) {
	ctx, cancel := context.WithTimeout(ctx, adoptLimit)
	defer cancel()
	fd, err := openPidfd(found.Handle)
	if err != nil {
		return nil, fmt.Errorf("take over process %d of machine %s: %w", found.Handle.PID, found.VM, err)
	}
	p := &Process{handle: found.Handle, marker: found.Marker, runDir: found.RunDir, driver: found.Driver, fd: fd, judge: judge, done: make(chan struct{}), incidents: make(chan hypervisor.Incident, maxIncidents)}
	err = p.Stop(ctx)
	if err == nil {
		err = p.Record()
	}
	if err != nil {
		err = errors.Join(err, p.Signal(unix.SIGCONT))
		fd.close()
		return nil, err
	}
	go p.watch()
	return p, nil
}

// Record writes down that the process has been stopped and may be let go.
func (p *Process) Record() error {
	return hypervisor.WriteRecord(p.runDir, p.marker, p.driver, p.handle)
}

// Handle says what to freeze and thaw.
func (p *Process) Handle() hypervisor.Handle { return p.handle }

// Done is closed once every process of the machine is gone.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exit says how the machine ended, once Done is closed.
func (p *Process) Exit() hypervisor.Exit {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exit
}

// Because names the reason for an end that is about to come. The first reason
// stands: a guest that shut down is not "killed" by what tidies up after it.
func (p *Process) Because(exit hypervisor.Exit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reason == nil {
		p.reason = &exit
	}
}

// NoteEnding notes durably enough that the machine's agent is about to end it.
func (p *Process) NoteEnding() error {
	return hypervisor.NoteEnding(p.runDir, p.marker.VM, p.marker.Generation)
}

// Signal sends a signal to the leading process alone.
func (p *Process) Signal(s syscall.Signal) error {
	if p.fd == nil {
		return hypervisor.ErrGone
	}
	if err := p.fd.signal(s); err != nil {
		return fmt.Errorf("send signal %v to process %d: %w", s, p.handle.PID, err)
	}
	return nil
}

// Kill ends every process of the machine and returns nil once they are gone.
func (p *Process) Kill(ctx context.Context) error {
	p.Because(hypervisor.Exit{Kind: hypervisor.Killed, Detail: "killed by the agent"})
	if p.fd != nil {
		if err := p.Signal(unix.SIGKILL); err != nil {
			return err
		}
	}
	// The rest of the group or cgroup at once, too; the sweep gets what stays.
	_ = p.handle.Kill()
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("machine %s: process %d does not end though killed, most likely its I/O has not returned; it holds its disk locks until then: %w",
			p.marker.VM, p.handle.PID, ctx.Err())
	}
}

// Stop stops the leading process by SIGSTOP and returns once every thread of it
// is seen stopped.
func (p *Process) Stop(ctx context.Context) error {
	if err := p.Signal(unix.SIGSTOP); err != nil {
		return err
	}
	return p.awaitStopped(ctx)
}

// awaitStopped looks at every thread until all are stopped.
func (p *Process) awaitStopped(ctx context.Context) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if stopped, err := procfs.Stopped(p.handle.PID); err == nil && stopped {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("machine %s: its process ended before it stopped: %w", p.marker.VM, hypervisor.ErrGone)
		case <-ctx.Done():
			return fmt.Errorf("machine %s: process %d does not stop: %w", p.marker.VM, p.handle.PID, ctx.Err())
		case <-tick.C:
		}
	}
}

// watch waits for the end, ends what the leading process left behind, and only
// then tells.
func (p *Process) watch() {
	if p.fd != nil {
		// An error means that the descriptor can't be waited for; the sweep
		// below must not take that for an end.
		if err := p.fd.wait(); err != nil {
			p.awaitGone()
		}
	}
	p.sweep()
	exit := p.conclude(p.reap())
	if p.fd != nil {
		p.fd.close()
	}
	removeCgroup(p.handle.Cgroup)
	_ = os.RemoveAll(hypervisor.MachineDir(p.runDir, p.marker.VM, p.marker.Generation))
	p.mu.Lock()
	p.exit = exit
	p.mu.Unlock()
	close(p.done)
}

// awaitGone is the slow way to wait, for a system whose poller refuses pidfds.
func (p *Process) awaitGone() {
	for hypervisor.Alive(p.handle) {
		time.Sleep(20 * time.Millisecond)
	}
}

// reap collects the exit status of a process that is known to have ended.
func (p *Process) reap() Ending {
	if p.own == nil {
		return Ending{}
	}
	state, err := p.own.Wait()
	if err != nil {
		return Ending{}
	}
	status, ok := state.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return Ending{Known: true, Code: -1, Signal: status.Signal()}
	}
	return Ending{Known: true, Code: state.ExitCode()}
}

// conclude judges the end. A process that was killed and ended in another way
// before the signal came has still ended as it did, but nobody can tell; the
// reason named first stands.
func (p *Process) conclude(ending Ending) hypervisor.Exit {
	p.mu.Lock()
	reason := p.reason
	p.mu.Unlock()
	if reason != nil {
		return *reason
	}
	return p.judge(ending)
}
