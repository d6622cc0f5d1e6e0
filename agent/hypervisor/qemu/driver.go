package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/leader"
	"storebeat/agent/hypervisor/qmp"
	"storebeat/datastorehb"
)

const (
	name = "qemu"
	// startLimit bounds Start when its context has no deadline. A host that
	// restarts many machines at once is slow.
	startLimit = 20 * time.Second
	// maxOutput is how much of QEMU's own output an error carries.
	maxOutput = 2000
)

// Driver starts QEMU guests.
type Driver struct {
	binary string
	accel  func() bool
	asked  asked
	typed  typed
}

// New returns a driver. binary is QEMU's path or name; "" looks for the usual ones.
func New(binary string) *Driver {
	return &Driver{binary: binary, accel: sync.OnceValue(usableKVM)}
}

// Name returns "qemu".
func (*Driver) Name() string { return name }

// Binary returns the path of QEMU, or an error that says what to install.
func (d *Driver) Binary() (string, error) {
	candidates := []string{d.binary}
	if d.binary == "" {
		candidates = []string{"qemu-system-x86_64", "/usr/libexec/qemu-kvm"}
	}
	for _, c := range candidates {
		if path, err := exec.LookPath(c); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("QEMU is not installed: found none of %q; on Debian: apt-get install qemu-system-x86", candidates)
}

// Validate judges a definition.
func (*Driver) Validate(spec hypervisor.Spec) error {
	_, err := decode(spec.Definition, spec)
	return err
}

// Disks returns the guest's disk images and firmware variables.
func (*Driver) Disks(spec hypervisor.Spec) ([]string, error) {
	d, err := decode(spec.Definition, spec)
	return d.disks, err
}

// Start brings a guest to life with its processors halted and QEMU stopped.
func (d *Driver) Start(ctx context.Context, spec hypervisor.Spec) (hypervisor.Machine, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if o, err := offered(spec); o != nil || err != nil {
		return o.start(ctx, spec, err)
	}
	m, config, err := d.prepare(spec)
	if err != nil {
		return nil, fmt.Errorf("machine %s: %w", spec.VM, err)
	}
	if m.Process, err = leader.Start(ctx, config); err != nil {
		return nil, err
	}
	session, err := m.bear(ctx)
	if err != nil {
		return nil, m.Abandon(fmt.Errorf("machine %s: %w", spec.VM, d.explain(ctx, spec, err)))
	}
	go m.converse(session)
	return m, nil
}

// prepare checks everything that can be checked without starting.
func (d *Driver) prepare(spec hypervisor.Spec) (*machine, leader.Config, error) {
	definition, err := decode(spec.Definition, spec)
	if err != nil {
		return nil, leader.Config{}, err
	}
	m := newMachine(placesOf(spec.RunDir, spec.Marker()))
	if err := m.at.check(); err != nil {
		return nil, leader.Config{}, err
	}
	binary, err := d.Binary()
	if err != nil {
		return nil, leader.Config{}, err
	}
	argv, err := commandLine(binary, definition, spec, m.at, d.accel())
	return m, leader.Config{Driver: name, Spec: spec, Argv: argv, Output: m.at.output, Judge: m.judge}, err
}

// bear waits until QEMU has opened the disks, stops it, and leaves the order to
// run in its socket: QEMU reads it once the process is let go, by whomever.
func (m *machine) bear(ctx context.Context) (*qmp.Session, error) {
	session, err := m.meet(ctx)
	if err != nil {
		return nil, err
	}
	state, err := status(ctx, session)
	if err == nil && state != prelaunch {
		err = fmt.Errorf("QEMU's guest is %q right after its start, not %q", state, prelaunch)
	}
	if err == nil {
		err = m.Stop(ctx)
	}
	if err == nil {
		err = m.Record()
	}
	if err == nil {
		_, err = session.Send(ctx, "cont", nil)
	}
	if err != nil {
		return nil, errors.Join(err, session.Close())
	}
	return session, nil
}

// meet connects as soon as QEMU listens. QEMU opens the socket before the disks
// and greets after; if it can't open a disk it ends.
func (m *machine) meet(ctx context.Context) (*qmp.Session, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-m.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	pause := time.NewTicker(2 * time.Millisecond)
	defer pause.Stop()
	for {
		session, err := qmp.Dial(ctx, m.at.monitor, m.hear)
		if err == nil {
			return session, nil
		}
		select {
		case <-m.Done():
			return nil, m.refusal()
		case <-ctx.Done():
			select {
			case <-m.Done():
				return nil, m.refusal()
			default:
				return nil, err
			}
		case <-pause.C:
		}
	}
}

// refusal explains why QEMU ended instead of starting.
func (m *machine) refusal() error {
	detail := m.Exit().Detail
	if strings.Contains(detail, "Failed to get") && strings.Contains(detail, "lock") {
		return fmt.Errorf("%w: %s", hypervisor.ErrLocked, detail)
	}
	return fmt.Errorf("QEMU does not start: %s", detail)
}

// explain adds the machine types that this host's QEMU has when it lacks the one.
func (d *Driver) explain(ctx context.Context, spec hypervisor.Spec, err error) error {
	if !strings.Contains(err.Error(), "unsupported machine type") {
		return err
	}
	definition, decodeErr := decode(spec.Definition, spec)
	types, typesErr := d.types(ctx)
	if decodeErr != nil || typesErr != nil {
		return err
	}
	return fmt.Errorf("%w; this host's QEMU has %s: install here the version of QEMU that the other hosts have, or protect the machine with a type that all of them have", err, types.like(definition.Machine))
}

// Find lists the machines of this driver.
func (*Driver) Find(ctx context.Context, cluster uuid.UUID, host datastorehb.HostID, runDir string) ([]hypervisor.Found, error) {
	return hypervisor.FindDriver(ctx, name, cluster, host, runDir)
}

// Adopt watches a guest from before. The monitor is sought in the background:
// a frozen one answers no earlier than it is thawed.
func (*Driver) Adopt(ctx context.Context, found hypervisor.Found) (hypervisor.Machine, error) {
	m := newMachine(placesOf(found.RunDir, found.Marker))
	var err error
	if m.Process, err = leader.Adopt(ctx, found, m.judge); err != nil {
		return nil, err
	}
	go m.converse(nil)
	return m, nil
}

// said returns the end of what QEMU has printed.
func (p places) said() string {
	text, err := os.ReadFile(p.output)
	if err != nil {
		return ""
	}
	text = text[max(0, len(text)-maxOutput):]
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for i, line := range lines {
		lines[i] = briefly(line)
	}
	return strings.Join(lines, "; ")
}

var programName = regexp.MustCompile(`^\S*qemu\S*: `)

// briefly takes out of a line of QEMU's what its reader knows: the program's
// name, and the whole text of a disk's option, in whose place the disk's node
// name stays.
func briefly(line string) string {
	line = programName.ReplaceAllString(line, "")
	option, ok := strings.CutPrefix(line, "-blockdev ")
	if !ok {
		return line
	}
	decoder := json.NewDecoder(strings.NewReader(option))
	var node blockNode
	if err := decoder.Decode(&node); err != nil {
		return line
	}
	return node.NodeName + option[decoder.InputOffset():]
}
