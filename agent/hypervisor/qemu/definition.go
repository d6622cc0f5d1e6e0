package qemu

import (
	"errors"
	"fmt"
	"regexp"
	"slices"

	"storebeat/agent/hypervisor"
)

const (
	// DefaultMachine is the machine type of definitions that name none.
	DefaultMachine = "pc-i440fx-7.2"
	maxMemoryMiB   = 16 << 20 // 16 TiB
	maxCPUs        = 1024
	maxDisks       = 64
)

// Definition says what hardware a guest has.
type Definition struct {
	MemoryMiB int      `json:"memory_mib"`
	CPUs      int      `json:"cpus,omitempty"`
	Machine   string   `json:"machine,omitempty"`
	Accel     string   `json:"accel,omitempty"` // auto (default), kvm or tcg
	Disks     []Disk   `json:"disks,omitempty"`
	SerialLog string   `json:"serial_log,omitempty"`
	Args      []string `json:"args,omitempty"`
}

// Disk is one disk of a guest.
type Disk struct {
	Path      string `json:"path"`
	Format    string `json:"format,omitempty"`    // raw (default) or qcow2
	Interface string `json:"interface,omitempty"` // virtio (default) or ide
}

var machineType = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]*$`)

// reserved lists what the driver decides itself; a second opinion among the
// extra arguments would break what it guarantees.
var reserved = []string{"accel", "action", "daemonize", "incoming", "loadvm", "no-shutdown", "preconfig", "qtest", "runas", "snapshot", "S", "uuid", "watchdog-action"}

// decode reads a definition, fills in defaults and placeholders, and lists
// every error.
func decode(definition []byte, spec hypervisor.Spec) (Definition, error) {
	d := Definition{CPUs: 1, Machine: DefaultMachine}
	if err := hypervisor.DecodeDefinition(definition, &d); err != nil {
		return Definition{}, err
	}
	errs := []error{
		between("memory_mib", d.MemoryMiB, 1, maxMemoryMiB),
		between("cpus", d.CPUs, 1, maxCPUs),
		between("number of disks", len(d.Disks), 0, maxDisks),
	}
	errs = append(errs, oneOf("accel", &d.Accel, "auto", "kvm", "tcg"))
	if !machineType.MatchString(d.Machine) {
		errs = append(errs, fmt.Errorf("machine %q is no machine type; give one of qemu-system-x86_64 -M help, such as %s", d.Machine, DefaultMachine))
	}
	for i := range d.Disks {
		if err := d.Disks[i].complete(spec); err != nil {
			errs = append(errs, fmt.Errorf("disks[%d]: %w", i, err))
		}
	}
	if d.SerialLog != "" {
		var err error
		if d.SerialLog, err = spec.OnDatastore(d.SerialLog); err != nil {
			errs = append(errs, fmt.Errorf("serial_log: %w", err))
		}
	}
	for i, arg := range d.Args {
		var err error
		if d.Args[i], err = extra(spec, arg); err != nil {
			errs = append(errs, fmt.Errorf("args[%d]: %w", i, err))
		}
	}
	return d, errors.Join(errs...)
}

func between(field string, value, least, most int) error {
	if value < least || value > most {
		return fmt.Errorf("%s is %d; it must be from %d to %d", field, value, least, most)
	}
	return nil
}

func (d *Disk) complete(spec hypervisor.Spec) error {
	path, err := spec.OnDatastore(d.Path)
	d.Path = path
	return errors.Join(err, oneOf("format", &d.Format, "raw", "qcow2"), oneOf("interface", &d.Interface, "virtio", "ide"))
}

// oneOf checks a word; the first choice is the default.
func oneOf(field string, value *string, choices ...string) error {
	if *value == "" {
		*value = choices[0]
	}
	if !slices.Contains(choices, *value) {
		return fmt.Errorf("%s %q is unknown; it must be one of %q", field, *value, choices)
	}
	return nil
}

func extra(spec hypervisor.Spec, arg string) (string, error) {
	name := arg
	for len(name) > 0 && name[0] == '-' {
		name = name[1:]
	}
	if name != arg && slices.Contains(reserved, name) {
		return "", fmt.Errorf("%s is decided by the driver; remove it", arg)
	}
	return spec.Expand(arg)
}
