package libvirt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"storebeat/agent/freeze"
	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/procfs"
	"storebeat/datastorehb"
)

// receivingFile says, beside the record, that the guest of a process has not been seen to
// execute in it. It is there before the record is, and outlives the agent.
const receivingFile = "receiving"

// MayReceive judges the domain that libvirt offers to the hook of an incoming migration.
func (*Driver) MayReceive(spec hypervisor.Spec, offered []byte) error {
	dom, err := parseDomain(string(offered))
	if err != nil {
		return err
	}
	if id, err := dom.id(); err != nil || id != spec.VM {
		return errors.Join(err, fmt.Errorf("domain %s has the UUID %s, and the machine %s", dom.Name, id, spec.VM))
	}
	return dom.refuse(spec)
}

// Receive takes into care the process that libvirtd has made for an incoming migration. libvirtd
// waits for the answer of its hook, so it can't be asked anything.
func (d *Driver) Receive(ctx context.Context, spec hypervisor.Spec, pid int) (hypervisor.Machine, error) {
	h, err := freeze.Of(pid, "")
	if err != nil {
		return nil, fmt.Errorf("machine %s: %w", spec.VM, err)
	}
	if err := takesIn(pid, spec.VM.String()); err != nil {
		return nil, fmt.Errorf("machine %s: %w", spec.VM, err)
	}
	dir := hypervisor.MachineDir(spec.RunDir, spec.VM, spec.Generation)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the machine's run directory: %w", err)
	}
	m, err := d.receiveIn(ctx, dir, spec, h)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("machine %s: %w", spec.VM, err), os.RemoveAll(dir))
	}
	d.look(m)
	return m, nil
}

func (d *Driver) receiveIn(ctx context.Context, dir string, spec hypervisor.Spec, h freeze.Handle) (*machine, error) {
	if err := os.WriteFile(filepath.Join(dir, receivingFile), nil, 0o600); err != nil {
		return nil, fmt.Errorf("note that the machine is being moved here: %w", err)
	}
	found := hypervisor.Found{Marker: spec.Marker(), Driver: name, RunDir: spec.RunDir, Handle: h, Receiving: true}
	return d.hold(ctx, spec, found, nameOf(h.PID), false)
}

// takesIn makes sure that a process is the QEMU of a domain, and waits for its memory.
func takesIn(pid int, vm string) error {
	stat, err := procfs.ReadStat(pid)
	if err != nil {
		return fmt.Errorf("look at process %d: %w", pid, err)
	}
	words := procfs.Arguments([]procfs.Stat{stat})[pid].Words
	if after(words, "-uuid") != vm || after(words, "-incoming") == "" {
		return fmt.Errorf("process %d is no QEMU that waits for the memory of this domain: only such a one can be received", pid)
	}
	return nil
}

// isReceiving tells whether an agent before noted that the guest had not come to execute.
func isReceiving(f hypervisor.Found) bool {
	_, err := os.Stat(receivingPath(f))
	return !errors.Is(err, fs.ErrNotExist)
}

func receivingPath(f hypervisor.Found) string {
	return filepath.Join(hypervisor.MachineDir(f.RunDir, f.VM, f.Generation), receivingFile)
}

// movement is what is known of a machine that libvirt moves, guarded by the machine's lock.
type movement struct {
	receiving string // the file that says so, "" if the guest is here, or was
	handed    bool   // it has left the process
	told      chan hypervisor.Movement
}

// Movements is where the agent takes from what libvirt says of a machine that is moved.
func (m *machine) Movements() <-chan hypervisor.Movement { return m.movement.told }

// tellMovement heeds what libvirtd said when it was asked at that instant.
func (m *machine) tellMovement(s state, asked datastorehb.Instant) {
	m.mu.Lock()
	defer m.mu.Unlock()
	kind := s.movement(m.movement.receiving != "")
	switch {
	case kind == hypervisor.Settled && m.movement.receiving != "":
		if err := os.Remove(m.movement.receiving); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return // the next look tries it again
		}
		m.movement.receiving = ""
	case kind == hypervisor.Settled && !m.movement.handed:
		return
	}
	m.movement.handed = kind == hypervisor.HandedOver
	select {
	case <-m.movement.told: // an older word that nobody took
	default:
	}
	m.movement.told <- hypervisor.Movement{Kind: kind, Asked: asked}
}

// movement reads in a domain's state where the guest of its process is.
func (s state) movement(receiving bool) hypervisor.MovementKind {
	away := s.word == paused && (s.reason == "migrating" || s.reason == "post-copy" || s.reason == "post-copy failed")
	switch {
	case receiving && (s.word != "running" && s.word != paused || away || s.reason == "starting up" || s.reason == "unknown"):
		return hypervisor.Receiving
	case away:
		return hypervisor.HandedOver
	}
	return hypervisor.Settled
}
