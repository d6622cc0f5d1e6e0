package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"storebeat/agent"
	"storebeat/agent/core"
	"storebeat/agent/hypervisor/qemu"
	"storebeat/agent/hypervisor/qemu/bootsector"
	"storebeat/agent/journal"
	"storebeat/poweron"
)

// Machine is a QEMU guest that counts on its console and its disk.
type Machine struct {
	Name   string
	VM     uuid.UUID
	Home   Datastore
	Policy poweron.Policy
}

// Disk is the machine's disk image, in the directory behind its datastore.
func (m *Machine) Disk() string { return filepath.Join(m.Home.Dir, m.Name+".img") }

// NewMachine makes a machine and its disk, and watches it from now on. Nothing
// protects it yet.
func (l *Lab) NewMachine(name string, home Datastore) (*Machine, error) {
	m, err := MakeMachine(name, home)
	if err == nil {
		l.Watch.Add(m)
	}
	return m, err
}

// MakeMachine makes a machine and its disk. Nothing watches or protects it yet.
func MakeMachine(name string, home Datastore) (*Machine, error) {
	m := &Machine{Name: name, VM: uuid.New(), Home: home, Policy: poweron.DefaultPolicy()}
	return m, bootsector.WriteDisk(m.Disk())
}

// Protect puts a machine on the protected list by way of a host's agent.
func (h *Host) Protect(ctx context.Context, m *Machine) error {
	definition, err := json.Marshal(qemu.Definition{MemoryMiB: 1, Machine: "pc", Accel: "tcg",
		Disks: []qemu.Disk{{Path: filepath.Base(m.Disk()), Interface: "ide"}}})
	if err != nil {
		return err
	}
	wish := core.Command{Verb: core.Protect, Datastore: m.Home.ID, Entry: poweron.Entry{VM: m.VM, Name: m.Name, Protected: true,
		Desired: poweron.Running, Policy: m.Policy, Driver: "qemu", Definition: definition, Memory: 1 << 20}}
	if _, err := h.Command(ctx, wish); err != nil {
		return fmt.Errorf("protect %s: %w", m.Name, err)
	}
	return nil
}

// Command tells the host's agent a user's wish.
func (h *Host) Command(ctx context.Context, wish core.Command) (string, error) {
	var done agent.CommandResult
	err := h.Client.Call(ctx, agent.MethodCommand, wish, &done)
	return done.Text, err
}

// View returns the view of the host's agent: its own, or the master's.
func (h *Host) View(ctx context.Context, local bool) (v core.View, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err = h.Client.Call(ctx, agent.MethodView, agent.ViewRequest{Local: local}, &v)
	return v, err
}

// Events returns the journal of the host's agent since an instant, oldest first.
func (h *Host) Events(ctx context.Context, since time.Time) (events []journal.Entry, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err = h.Client.Call(ctx, agent.MethodEvents, journal.Filter{Since: since, Limit: journal.MaxLimit}, &events)
	return events, err
}

// Settled reports whether one master sees every host that is on live, holds its
// terms, and has so many machines running, and all there are.
func (l *Lab) Settled(ctx context.Context, machines int) (bool, string) {
	masters := 0
	for _, h := range l.On() {
		v, err := h.View(ctx, true)
		switch {
		case err != nil:
			return false, fmt.Sprintf("%s does not answer: %v", h.Name, err)
		case v.Master == 0:
			return false, h.Name + " has no master"
		}
		for _, d := range v.Datastores {
			if d.Phase != "held" {
				return false, fmt.Sprintf("the term of %s on %s is %s", h.Name, d.Name, d.Phase)
			}
		}
		if v.Leading {
			masters++
			if ok, why := l.mastered(v, machines); !ok {
				return false, why
			}
		}
	}
	return masters == 1, fmt.Sprintf("there are %d masters", masters)
}

func (l *Lab) mastered(v core.View, machines int) (bool, string) {
	for _, s := range v.Hosts {
		if h := l.Hosts[s.ID-1]; h.IsOn() && s.State != "live" {
			return false, fmt.Sprintf("%s is %s", s.Name, s.State)
		}
	}
	for _, m := range v.Machines {
		if m.State != "running" {
			return false, fmt.Sprintf("%s is %s: %s", m.Name, m.State, m.Why)
		}
	}
	return len(v.Machines) == machines, fmt.Sprintf("%d of %d machines run", len(v.Machines), machines)
}
