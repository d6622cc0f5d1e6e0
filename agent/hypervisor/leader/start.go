package leader

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"storebeat/agent/freeze"
	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/procfs"
)

// stopFirst stops itself before it becomes the machine's program: nothing of
// the machine executes before somebody lets the process go. A shell is used and
// not our own binary, for it is single-threaded, a hundredth of the size, and
// there when an upgrade has just replaced the binary.
const stopFirst = `kill -STOP $$; exec "$@"`

// Config says what to start.
type Config struct {
	Driver string
	Spec   hypervisor.Spec
	Argv   []string // Argv[0] is the path of the program
	Env    []string // in addition to the agent's own and the marker
	Dir    string   // "" means /
	Output string   // file for standard output and error, appended to; "" means none
	Held   bool     // stop before the program is executed
	Judge  func(Ending) hypervisor.Exit
}

// Start starts the process. With Held it returns once the process is stopped and
// recorded; otherwise the program is executing, and both are the caller's to do. On error no
// process is left, or the error is a *hypervisor.LeftoverError.
func Start(ctx context.Context, c Config) (*Process, error) {
	if err := RefuseSecond(ctx, c.Spec); err != nil {
		return nil, err
	}
	dir := hypervisor.MachineDir(c.Spec.RunDir, c.Spec.VM, c.Spec.Generation)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the machine's run directory: %w", err)
	}
	cgroup, err := newCgroup(c.Spec)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	own, err := spawn(c, cgroup)
	if err != nil {
		removeCgroup(cgroup)
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	p, err := hold(own, c, cgroup)
	if err != nil {
		removeCgroup(cgroup)
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := p.settle(ctx, c); err != nil {
		return nil, p.Abandon(err)
	}
	return p, nil
}

// Abandon ends a process whose start failed, and returns the error to report.
func (p *Process) Abandon(cause error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := p.Kill(ctx); err != nil {
		return &hypervisor.LeftoverError{Handle: p.handle, Err: cause}
	}
	return cause
}

// RefuseSecond is the first thing in every start: it keeps a host from starting a machine that it already has.
func RefuseSecond(ctx context.Context, spec hypervisor.Spec) error {
	found, err := hypervisor.Scan(ctx, spec.Cluster, spec.Host, spec.RunDir)
	if found == nil || mayHold(err, spec.VM) {
		return fmt.Errorf("look for processes of machine %s: %w", spec.VM, err)
	}
	at := slices.IndexFunc(found, func(f hypervisor.Found) bool { return f.VM == spec.VM })
	if at >= 0 {
		return fmt.Errorf("start machine %s: process %d of generation %d: %w", spec.VM, found[at].Handle.PID, found[at].Generation, hypervisor.ErrRunning)
	}
	return nil
}

// mayHold reports whether a scan could not look at processes that may be a machine's.
func mayHold(err error, vm uuid.UUID) bool {
	var unseen *hypervisor.UnseenError
	return errors.As(err, &unseen) && unseen.Concerns(vm)
}

// spawn forks and executes, detached from this agent in every respect.
func spawn(c Config, cgroup string) (*os.Process, error) {
	argv := c.Argv
	if c.Held {
		argv = append([]string{"/bin/sh", "-c", stopFirst, "storebeat-machine"}, argv...)
	}
	files, err := stdio(c.Output)
	if err != nil {
		return nil, err
	}
	defer closeAll(files)
	attr := &syscall.SysProcAttr{Setsid: true}
	if cgroup != "" {
		fd, err := os.Open(cgroup)
		if err != nil {
			return nil, fmt.Errorf("open the machine's cgroup: %w", err)
		}
		defer fd.Close()
		attr.UseCgroupFD, attr.CgroupFD = true, int(fd.Fd())
	}
	dir := c.Dir
	if dir == "" {
		dir = "/"
	}
	p, err := os.StartProcess(argv[0], argv, &os.ProcAttr{Dir: dir, Env: environ(c, cgroup), Files: files, Sys: attr})
	if err != nil {
		return nil, fmt.Errorf("start %s for machine %s: %w", argv[0], c.Spec.VM, err)
	}
	return p, nil
}

// private are variables by which systemd talks to the agent, and to it alone.
var private = []string{"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "MAINPID",
	"JOURNAL_STREAM", "INVOCATION_ID", "SYSTEMD_EXEC_PID", "RUNTIME_DIRECTORY", "STATE_DIRECTORY", "CONFIGURATION_DIRECTORY"}

// environ puts the marker first, then the machine's own variables, then those of
// the agent that neither has set: with a name in it twice, a shell takes the last
// and others the first.
func environ(c Config, cgroup string) []string {
	env := hypervisor.Environ(c.Driver, c.Spec, cgroup)
	seen := map[string]bool{}
	for _, e := range slices.Concat(c.Env, os.Environ()) {
		name, _, _ := strings.Cut(e, "=")
		if !seen[name] && !hypervisor.IsMarker(e) && !slices.Contains(private, name) {
			env = append(env, e)
		}
		seen[name] = true
	}
	return env
}

func stdio(output string) ([]*os.File, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if output == "" {
		return []*os.File{null, null, null}, nil
	}
	out, err := os.OpenFile(output, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the machine's output: %w", err), null.Close())
	}
	return []*os.File{null, out, out}, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		// Standard output and error are one file, closed twice.
		_ = f.Close()
	}
}

// hold takes hold of a process that was just started.
func hold(own *os.Process, c Config, cgroup string) (*Process, error) {
	stat, err := procfs.ReadStat(own.Pid)
	h := hypervisor.Handle{PID: own.Pid, StartTime: stat.Start, Cgroup: cgroup}
	var fd *pidfd
	if err == nil {
		fd, err = openPidfd(h)
	}
	if err != nil {
		// Without a pidfd it can't be watched. It is our child and not reaped,
		// so its id is still its own.
		_ = own.Signal(unix.SIGKILL)
		_, waitErr := own.Wait()
		return nil, errors.Join(fmt.Errorf("take hold of process %d: %w", own.Pid, err), waitErr)
	}
	p := &Process{handle: h, marker: c.Spec.Marker(), runDir: c.Spec.RunDir, driver: c.Driver, own: own, fd: fd, judge: c.Judge, done: make(chan struct{}), incidents: make(chan hypervisor.Incident, maxIncidents)}
	go p.watch()
	return p, nil
}

// settle waits for the process to stop, if it shall, and records it.
func (p *Process) settle(ctx context.Context, c Config) error {
	if !c.Held {
		return nil
	}
	if err := p.awaitStopped(ctx); err != nil {
		return err
	}
	return p.Record()
}

// newCgroup makes the machine's own cgroup; "" for weak freeze.
func newCgroup(spec hypervisor.Spec) (string, error) {
	if spec.CgroupRoot == "" {
		return "", nil
	}
	dir, err := freeze.NewCgroup(spec.CgroupRoot, spec.CgroupName())
	if err != nil {
		return "", fmt.Errorf("machine %s: %w", spec.VM, err)
	}
	return dir, nil
}
