package process

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/leader"
	"storebeat/datastorehb"
)

const (
	name = "process"
	// EnvExit names the environment variable with the path of the exit file.
	EnvExit  = "STOREBEAT_EXIT"
	exitFile = "exit"
	// startLimit bounds Start when its context has no deadline.
	startLimit = 10 * time.Second
)

// Driver starts commands as machines.
type Driver struct{}

// New returns the driver.
func New() *Driver { return &Driver{} }

// Name returns "process".
func (*Driver) Name() string { return name }

// Validate judges a definition.
func (*Driver) Validate(spec hypervisor.Spec) error {
	_, err := decode(spec.Definition, spec)
	return err
}

// Disks returns none: what files a command uses is its own affair.
func (*Driver) Disks(hypervisor.Spec) ([]string, error) { return nil, nil }

// Start starts the command behind a shell that has stopped itself.
func (d *Driver) Start(ctx context.Context, spec hypervisor.Spec) (hypervisor.Machine, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	p, err := decode(spec.Definition, spec)
	if err != nil {
		return nil, fmt.Errorf("machine %s: %w", spec.VM, err)
	}
	if p.argv[0], err = locate(p.argv[0], p.dir); err != nil {
		return nil, fmt.Errorf("machine %s: %w", spec.VM, err)
	}
	m := &machine{exit: exitPath(spec.RunDir, spec.Marker())}
	m.Process, err = leader.Start(ctx, leader.Config{
		Driver: name, Spec: spec, Argv: p.argv, Dir: p.dir, Output: p.output,
		Env: append(p.env, EnvExit+"="+m.exit), Held: true, Judge: m.judge,
	})
	if err != nil {
		return nil, err
	}
	return m, nil
}

// Find lists the machines of this driver.
func (*Driver) Find(ctx context.Context, cluster uuid.UUID, host datastorehb.HostID, runDir string) ([]hypervisor.Found, error) {
	return hypervisor.FindDriver(ctx, name, cluster, host, runDir)
}

// Adopt watches a machine from before.
func (*Driver) Adopt(ctx context.Context, found hypervisor.Found) (hypervisor.Machine, error) {
	m := &machine{exit: exitPath(found.RunDir, found.Marker)}
	var err error
	if m.Process, err = leader.Adopt(ctx, found, m.judge); err != nil {
		return nil, err
	}
	return m, nil
}

func exitPath(runDir string, m hypervisor.Marker) string {
	return filepath.Join(hypervisor.MachineDir(runDir, m.VM, m.Generation), exitFile)
}

// machine is a command. Handle, Kill, Done and Exit are the process's own.
type machine struct {
	*leader.Process
	exit  string
	asked atomic.Bool
}

// Shutdown sends SIGTERM. A frozen command gets it when it is let go.
func (m *machine) Shutdown(context.Context) error {
	m.asked.Store(true)
	return m.Signal(syscall.SIGTERM)
}

// Condition has nothing to say: a command has no monitor.
func (*machine) Condition() hypervisor.Condition { return hypervisor.Condition{} }

// judge tells a shutdown from a crash.
func (m *machine) judge(e leader.Ending) hypervisor.Exit {
	down := e.Known && e.Code == 0 || m.asked.Load() && e.Signal == syscall.SIGTERM
	if !e.Known {
		said, err := os.ReadFile(m.exit)
		down = err == nil && strings.TrimSpace(string(said)) == "0"
	}
	if down {
		return hypervisor.Exit{Kind: hypervisor.GuestShutDown, Detail: "command " + e.String()}
	}
	return hypervisor.Exit{Kind: hypervisor.Crashed, Detail: "command " + e.String()}
}
