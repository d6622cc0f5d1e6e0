package libvirt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/freeze"
	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/leader"
	"storebeat/datastorehb"
)

const (
	name = "libvirt"
	// DefaultURI is the daemon of the whole system.
	DefaultURI = "qemu:///system"
	// startLimit bounds Start when its context has no deadline.
	startLimit = 30 * time.Second
	// createLimit bounds the calls that define a domain and make QEMU. The first one
	// after libvirt was installed or upgraded waits until it has asked QEMU what it
	// can do.
	createLimit = 25 * time.Second
)

// Driver starts and finds domains of one libvirtd.
type Driver struct {
	virsh    *virsh
	versions func(context.Context) error
	learned  learned

	mu       sync.Mutex
	machines map[*machine]struct{}
	watching bool
	poked    chan struct{}
	stopped  map[string]string // why the domain of that name stopped, as an event said
}

// New returns a driver for the daemon at the URI; "" means DefaultURI.
func New(uri string) *Driver {
	if uri == "" {
		uri = DefaultURI
	}
	d := &Driver{virsh: newVirsh(uri), machines: map[*machine]struct{}{}, poked: make(chan struct{}, 1), stopped: map[string]string{}}
	d.versions = d.virsh.checkedOnce()
	return d
}

// Name returns "libvirt".
func (*Driver) Name() string { return name }

// Validate judges a definition.
func (*Driver) Validate(spec hypervisor.Spec) error {
	_, _, err := decode(spec.Definition, spec)
	return err
}

// Disks returns the domain's disk images, and its firmware's variables if they lie beside them.
func (*Driver) Disks(spec hypervisor.Spec) ([]string, error) {
	_, dom, err := decode(spec.Definition, spec)
	if err != nil {
		return nil, err
	}
	disks := dom.disks()
	if vars := dom.NVRAM.path(); spec.OnAny(vars) {
		disks = append(disks, filepath.Clean(vars))
	}
	return disks, nil
}

// Start defines the domain and creates it paused, or takes over the one that
// runs here.
func (d *Driver) Start(ctx context.Context, spec hypervisor.Spec) (hypervisor.Machine, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	definition, dom, err := decode(spec.Definition, spec)
	if err != nil {
		return nil, fmt.Errorf("machine %s: %w", spec.VM, err)
	}
	if id, _ := dom.id(); id != spec.VM {
		return nil, fmt.Errorf("machine %s: its domain has the UUID %s: protect it under that one", spec.VM, id)
	}
	if err := leader.RefuseSecond(ctx, spec); err != nil {
		return nil, err
	}
	if err := d.versions(ctx); err != nil {
		return nil, fmt.Errorf("machine %s: %w", spec.VM, err)
	}
	m, err := d.bring(ctx, spec, definition, dom)
	if err != nil {
		return nil, fmt.Errorf("machine %s: %w", spec.VM, err)
	}
	d.look(m)
	return m, nil
}

// bring is bringNow once libvirtd has noticed the end of a run before.
func (d *Driver) bring(ctx context.Context, spec hypervisor.Spec, definition Definition, dom *domain) (*machine, error) {
	for {
		m, err := d.bringNow(ctx, spec, definition, dom)
		if !errors.Is(err, errNoProcess) {
			return m, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// bringNow makes the domain run here, or finds that it does.
func (d *Driver) bringNow(ctx context.Context, spec hypervisor.Spec, definition Definition, dom *domain) (*machine, error) {
	now, err := d.virsh.state(ctx, spec.VM)
	if err != nil && !errors.Is(err, errNoDomain) {
		return nil, err
	}
	known := err == nil
	if known {
		_ = d.Tame(ctx, spec.VM) // a transient domain has no such setting
	}
	if known && now.active() {
		return d.takeOver(ctx, spec, dom)
	}
	if known {
		// A saved state is of a past generation: a start must not go on from there.
		if _, err := d.virsh.call(ctx, "managedsave-remove", spec.VM.String()); err != nil {
			return nil, err
		}
		if err := d.otherNameAway(ctx, spec.VM, dom.Name); err != nil {
			return nil, err
		}
	}
	return d.create(ctx, spec, definition, dom)
}

// create has libvirtd make the domain's process, halted.
func (d *Driver) create(ctx context.Context, spec hypervisor.Spec, definition Definition, dom *domain) (*machine, error) {
	dir := hypervisor.MachineDir(spec.RunDir, spec.VM, spec.Generation)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the machine's run directory: %w", err)
	}
	m, err := d.createIn(ctx, dir, spec, definition, dom)
	if err != nil {
		err = d.undo(spec, err)
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return m, nil
}

func (d *Driver) createIn(ctx context.Context, dir string, spec hypervisor.Spec, definition Definition, dom *domain) (*machine, error) {
	definition.XML = uncached(definition.XML)
	text, err := marked(definition.XML, hypervisor.Environ(name, spec, ""))
	if err != nil {
		return nil, err
	}
	own, born := filepath.Join(dir, "domain.xml"), filepath.Join(dir, "created.xml")
	if err := errors.Join(os.WriteFile(own, []byte(definition.XML), 0o600), os.WriteFile(born, []byte(text), 0o600)); err != nil {
		return nil, fmt.Errorf("write the domain's XML: %w", err)
	}
	if !definition.Transient {
		if _, err := d.virsh.callWithin(ctx, createLimit, "define", own); err != nil {
			return nil, nameTaken(err)
		}
	}
	if _, err := d.virsh.callWithin(ctx, createLimit, "create", "--paused", born); err != nil {
		return nil, refusal(err)
	}
	found, err := d.newborn(ctx, spec)
	if err != nil {
		return nil, err
	}
	return d.hold(ctx, spec, found, dom.Name, true)
}

// refusal makes ErrLocked of what QEMU says of a disk that is in use.
func refusal(err error) error {
	text := err.Error()
	if strings.Contains(text, "Failed to get") && strings.Contains(text, "lock") {
		return fmt.Errorf("%w: %w", hypervisor.ErrLocked, err)
	}
	return nameTaken(err)
}

// newborn finds the process that libvirtd has just made.
func (d *Driver) newborn(ctx context.Context, spec hypervisor.Spec) (hypervisor.Found, error) {
	found, err := d.Find(ctx, spec.Cluster, spec.Host, spec.RunDir)
	for _, f := range found {
		if f.Marker == spec.Marker() {
			// Libvirt's machines lead no session, so Scan knows no leader.
			f.Leaderless, f.Newborn, f.RunDir = false, true, spec.RunDir
			return f, nil
		}
	}
	return hypervisor.Found{}, errors.Join(errors.New("libvirtd has created the domain, and no process of it is there"), err)
}

// takeOver takes a domain into care that somebody else has started here.
func (d *Driver) takeOver(ctx context.Context, spec hypervisor.Spec, dom *domain) (*machine, error) {
	pid, err := processOf(spec.VM, dom.Name)
	if err != nil {
		return nil, err
	}
	h, err := freeze.Of(pid, "")
	if err != nil {
		return nil, err
	}
	if err := d.bypass(ctx, spec); err != nil {
		return nil, err
	}
	dir := hypervisor.MachineDir(spec.RunDir, spec.VM, spec.Generation)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the machine's run directory: %w", err)
	}
	found := hypervisor.Found{Marker: spec.Marker(), Driver: name, RunDir: spec.RunDir, Handle: h, Newborn: true}
	m, err := d.hold(ctx, spec, found, cmp.Or(nameOf(pid), dom.Name), false)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return m, nil
}

// hold stops the process, puts it into a cgroup of its own, and records it. A
// guest that ran before is let go again if that fails: it is not ours to end.
func (d *Driver) hold(ctx context.Context, spec hypervisor.Spec, found hypervisor.Found, domainName string, ours bool) (*machine, error) {
	cgroup, err := freeze.Enclose(spec.CgroupRoot, fmt.Sprintf("storebeat-%d-%s-%d", spec.Host, spec.VM, spec.Generation), found.Handle.PID)
	if err != nil {
		return nil, err
	}
	found.Handle.Cgroup = cgroup
	m := newMachine(d, spec.VM, domainName)
	if found.Receiving {
		m.movement.receiving = receivingPath(found)
	}
	if ours {
		m.Process, err = leader.Adopt(ctx, found, m.judge)
	} else {
		m.Process, err = leader.TakeOver(ctx, found, m.judge)
	}
	if err != nil {
		return nil, err
	}
	if m.begun = !ours; ours {
		go m.begin()
	}
	return m, nil
}

// undo ends what a failed start may have left. What libvirtd makes later, Find
// reports: it carries the marker, and is halted.
func (d *Driver) undo(spec hypervisor.Spec, cause error) error {
	var left *hypervisor.LeftoverError
	if errors.As(cause, &left) {
		return cause
	}
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	found, err := d.newborn(ctx, spec)
	if err != nil {
		return cause // there is none
	}
	_ = found.Handle.Kill() // seen below
	if err := freeze.Wait(ctx, found.Handle); err != nil {
		return &hypervisor.LeftoverError{Handle: found.Handle, Err: cause}
	}
	return cause
}

// Find lists the machines of this driver.
func (*Driver) Find(ctx context.Context, cluster uuid.UUID, host datastorehb.HostID, runDir string) ([]hypervisor.Found, error) {
	found, err := hypervisor.FindDriver(ctx, name, cluster, host, runDir)
	for i := range found {
		found[i].Receiving = isReceiving(found[i])
	}
	return found, err
}

// Adopt watches a domain from before.
func (d *Driver) Adopt(ctx context.Context, found hypervisor.Found) (hypervisor.Machine, error) {
	m := newMachine(d, found.VM, nameOf(found.Handle.PID))
	if found.Receiving {
		m.movement.receiving = receivingPath(found)
	}
	var err error
	if m.Process, err = leader.Adopt(ctx, found, m.judge); err != nil {
		return nil, err
	}
	if m.begun = !bornHere(found); !m.begun {
		go m.begin() // The agent before may have died when the guest was not let run yet.
	}
	d.look(m)
	return m, nil
}
