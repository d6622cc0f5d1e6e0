package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"github.com/google/uuid"

	"storebeat/agent/freeze"
	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/leader"
	"storebeat/agent/hypervisor/qmp"
)

// offer is a running guest that a start of its machine takes over.
type offer struct {
	Monitor string            `json:"monitor"`
	Handle  hypervisor.Handle `json:"handle"`
}

func offerFile(runDir string, vm uuid.UUID) string {
	return filepath.Join(runDir, "offers", vm.String()+".json")
}

// Offer has the next start of a machine on this host take over the guest behind a
// monitor. Without that start nothing happens to the guest.
func (*Driver) Offer(ctx context.Context, monitor string, vm uuid.UUID, runDir string) error {
	ctx, cancel := context.WithTimeout(ctx, readLimits)
	defer cancel()
	session, h, err := meetGuest(ctx, monitor, nil)
	if err != nil {
		return err
	}
	data, err := json.Marshal(offer{Monitor: monitor, Handle: h})
	path := offerFile(runDir, vm)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err == nil {
		err = renameio.WriteFile(path, data, 0o600)
	}
	return errors.Join(err, session.Close())
}

// offered returns the guest that a start is to take over, nil if there is none.
func offered(spec hypervisor.Spec) (*offer, error) {
	data, err := os.ReadFile(offerFile(spec.RunDir, spec.VM))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var o offer
	if err == nil {
		err = json.Unmarshal(data, &o)
	}
	if err != nil {
		return nil, fmt.Errorf("read which running guest is to be taken over: %w; repeat `storebeat vm protect --monitor`", err)
	}
	if !hypervisor.Alive(o.Handle) {
		return nil, os.Remove(offerFile(spec.RunDir, spec.VM))
	}
	return &o, nil
}

// start takes over what was offered, unless that could not be found out.
func (o *offer) start(ctx context.Context, spec hypervisor.Spec, err error) (hypervisor.Machine, error) {
	var m *machine
	if err == nil {
		m, err = o.takeOver(ctx, spec)
	}
	if err != nil {
		return nil, fmt.Errorf("machine %s: %w", spec.VM, err)
	}
	return m, nil
}

// takeOver takes a running guest into care. It is prepared while it runs, and stands
// still only for what must be done then. On an error it runs on as before.
func (o *offer) takeOver(ctx context.Context, spec hypervisor.Spec) (*machine, error) {
	if err := leader.RefuseSecond(ctx, spec); err != nil {
		return nil, err
	}
	m := newMachine(placesOf(spec.RunDir, spec.Marker()))
	if err := m.at.check(); err != nil {
		return nil, err
	}
	session, h, err := meetGuest(ctx, o.Monitor, m.hear)
	if err != nil {
		return nil, err
	}
	if h != o.Handle {
		return nil, errors.Join(fmt.Errorf("monitor %s belongs to process %d by now, and not to %d", o.Monitor, h.PID, o.Handle.PID), session.Close())
	}
	if err := tame(ctx, session); err != nil {
		return nil, errors.Join(err, session.Close())
	}
	if err := m.enclose(ctx, spec, o); err != nil {
		return nil, errors.Join(err, o.untame(session), session.Close(), os.RemoveAll(m.at.dir))
	}
	// Its process is recorded; were the offer left, it would be found gone later.
	_ = os.Remove(offerFile(spec.RunDir, spec.VM))
	go m.converse(session)
	return m, nil
}

// enclose puts the process into a cgroup of its own, stops it, and records it.
func (m *machine) enclose(ctx context.Context, spec hypervisor.Spec, o *offer) error {
	if err := os.MkdirAll(m.at.dir, 0o700); err != nil {
		return fmt.Errorf("make the machine's run directory: %w", err)
	}
	if err := os.Symlink(o.Monitor, m.at.monitor); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	cgroup, err := freeze.Enclose(spec.CgroupRoot, spec.CgroupName(), o.Handle.PID)
	if err != nil {
		return err
	}
	h := o.Handle
	h.Cgroup = cgroup
	m.Process, err = leader.TakeOver(ctx, hypervisor.Found{Marker: spec.Marker(), Driver: name, RunDir: spec.RunDir, Handle: h, Newborn: true}, m.judge)
	return err
}

// tame gives a running guest what one of ours is born with, as far as that can be done
// now: it stays when it is over, so that the reason is seen, and its writes go past
// the host's page cache.
func tame(ctx context.Context, session *qmp.Session) error {
	var disks []image
	if err := session.Execute(ctx, "query-block", nil, &disks); err != nil {
		return err
	}
	for i := range disks {
		if d := &disks[i]; d.written() && !d.Inserted.Cache.Direct {
			if err := d.bypass(ctx, session); err != nil {
				return err
			}
		}
	}
	if err := cached(ctx, session); err != nil {
		return err
	}
	if err := session.Execute(ctx, "set-action", map[string]string{"shutdown": "pause", "panic": "pause"}, nil); err != nil {
		return fmt.Errorf("have it stay when its guest ends (QEMU 6.0 is needed): %w", err)
	}
	return nil
}

// untame has a guest that stays its user's end as its command line says.
func (o *offer) untame(session *qmp.Session) error {
	ctx, cancel := context.WithTimeout(context.Background(), readLimits)
	defer cancel()
	r := &running{handle: o.Handle}
	err := r.readProcess()
	if err == nil {
		err = session.Execute(ctx, "set-action", actionsOf(r.args), nil)
	}
	if err != nil {
		return fmt.Errorf("its QEMU stays when its guest ends, until somebody ends it by `quit` in its monitor: %w", err)
	}
	return nil
}

// actionsOf reads on a command line what QEMU does when its guest ends.
func actionsOf(args []string) map[string]string {
	actions := map[string]string{"shutdown": "poweroff", "panic": "shutdown"}
	all, _ := takeApart(args) // what QEMU took can be read
	for _, a := range all {
		parts, _ := parseSettings(a.value)
		switch a.name {
		case "no-shutdown":
			actions["shutdown"] = "pause"
		case "action":
			for what := range actions {
				actions[what] = firstOf(parts.get(what), actions[what])
			}
		}
	}
	return actions
}

// bypass opens a disk anew without the host's page cache, and writes out what that holds.
func (i *image) bypass(ctx context.Context, session *qmp.Session) error {
	device := i.Device
	if device == "" {
		device = "-d " + i.QDev
	}
	for _, order := range []string{"reopen -o cache.direct=on", "flush"} {
		var said string
		line := map[string]string{"command-line": fmt.Sprintf("qemu-io %s %q", device, order)}
		if err := session.Execute(ctx, "human-monitor-command", line, &said); err != nil || said != "" {
			return errors.Join(err, fmt.Errorf("open %s without the host's page cache: %s; start the guest with cache=none", i.Inserted.File, said))
		}
	}
	return nil
}

// cached refuses a guest whose writes go through the host's page cache still.
func cached(ctx context.Context, session *qmp.Session) error {
	var nodes []struct {
		Node  string `json:"node-name"`
		File  string `json:"file"`
		RO    bool   `json:"ro"`
		Cache struct {
			Direct bool `json:"direct"`
		} `json:"cache"`
	}
	if err := session.Execute(ctx, "query-named-block-nodes", map[string]bool{"flat": true}, &nodes); err != nil {
		return err
	}
	for _, n := range nodes {
		if !n.RO && !n.Cache.Direct {
			return fmt.Errorf("node %s of %s keeps writes in the host's memory, and no barrier stops them when they are late: start the guest with cache.direct=on for it", n.Node, n.File)
		}
	}
	return nil
}
