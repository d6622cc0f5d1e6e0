package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/google/uuid"

	"storebeat/agent/core"
	"storebeat/agent/hypervisor/process"
	"storebeat/agent/hypervisor/qemu"
	"storebeat/agent/hypervisor/qemu/bootsector"
	"storebeat/poweron"
)

// Machine is one machine that counts on its console.
type Machine struct {
	Name    string
	VM      uuid.UUID
	Home    Datastore
	Driver  string // qemu or process
	Console *Console
	Policy  poweron.Policy
	Command []string // of a process, in place of the one that counts
}

// NewMachine makes a machine whose console lies on its home datastore.
func NewMachine(name string, home Datastore, driver string) *Machine {
	return &Machine{Name: name, VM: uuid.New(), Home: home, Driver: driver, Policy: poweron.DefaultPolicy(),
		Console: NewConsole(filepath.Join(home.Path, name+".console"))}
}

// Protect makes the machine's disk if it needs one, and puts the machine on the
// protected list by way of a host.
func (c *Cluster) Protect(ctx context.Context, by *Host, m *Machine) error {
	definition, err := c.define(m)
	if err != nil {
		return err
	}
	wish := core.Command{Verb: core.Protect, Datastore: m.Home.ID, Entry: poweron.Entry{VM: m.VM, Name: m.Name, Protected: true,
		Desired: poweron.Running, Policy: m.Policy, Driver: m.Driver, Definition: definition, Memory: 1 << 20}}
	if _, err := by.Command(ctx, wish); err != nil {
		return fmt.Errorf("protect %s: %w", m.Name, err)
	}
	return nil
}

func (c *Cluster) define(m *Machine) ([]byte, error) {
	if m.Driver == "process" {
		command := m.Command
		if command == nil {
			command = []string{c.Binary, "ticker", m.Console.path}
		}
		return json.Marshal(process.Definition{Command: command})
	}
	if err := bootsector.WriteDisk(filepath.Join(m.Home.Path, m.Name+".img")); err != nil {
		return nil, err
	}
	return json.Marshal(qemu.Definition{MemoryMiB: 1, Machine: "pc", SerialLog: filepath.Base(m.Console.path),
		Disks: []qemu.Disk{{Path: m.Name + ".img", Interface: "ide"}}})
}
