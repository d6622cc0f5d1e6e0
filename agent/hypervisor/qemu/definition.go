package qemu

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"

	"storebeat/agent/hypervisor"
)

const (
	// DefaultMachine is the machine type of definitions that name none and were
	// stored before types were pinned.
	DefaultMachine = "pc-i440fx-7.2"
	maxMemoryMiB   = 16 << 20 // 16 TiB
	maxCPUs        = 1024
	maxDisks       = 64
	maxNICs        = 32
)

// Definition says what hardware a guest has.
type Definition struct {
	MemoryMiB int       `json:"memory_mib"`
	CPUs      int       `json:"cpus,omitempty"`
	CPU       string    `json:"cpu,omitempty"` // model; "" leaves it to QEMU
	Machine   string    `json:"machine,omitempty"`
	Accel     string    `json:"accel,omitempty"` // auto (default), kvm or tcg
	Firmware  *Firmware `json:"firmware,omitempty"`
	Disks     []Disk    `json:"disks,omitempty"`
	NICs      []NIC     `json:"nics,omitempty"`
	SerialLog string    `json:"serial_log,omitempty"`
	VNC       string    `json:"vnc,omitempty"` // "address:display", or "socket"; "" for none
	Watchdog  *Watchdog `json:"watchdog,omitempty"`
	// GuestAgent gives the guest a channel for qemu-guest-agent.
	GuestAgent bool `json:"guest_agent,omitempty"`
	// Bare says that args are all that the guest has: the driver adds no device, and
	// leaves memory and processors to them. It is that of guests that were taken over.
	Bare bool     `json:"bare,omitempty"`
	Args []string `json:"args,omitempty"`
}

// Firmware is UEFI in two flash memories.
type Firmware struct {
	Code string `json:"code"` // file of the host, the same on every host; read only
	Vars string `json:"vars"` // the guest's own variables, on the datastore
}

// Watchdog is an emulated watchdog, which a guest that hangs does not feed.
type Watchdog struct {
	Model  string `json:"model,omitempty"`  // i6300esb (default), ib700, or itco: that of q35
	Action string `json:"action,omitempty"` // crash (default), reset, or nmi
}

// Disk is one disk of a guest.
type Disk struct {
	Path      string `json:"path"`
	Datastore string `json:"datastore,omitempty"` // name of another datastore than the home
	Format    string `json:"format,omitempty"`    // raw (default) or qcow2
	Interface string `json:"interface,omitempty"` // virtio (default), scsi or ide
}

// NIC is one network interface of a guest.
type NIC struct {
	Bridge string `json:"bridge,omitempty"` // of the host, the same name on every host
	Tap    string `json:"tap,omitempty"`    // instead: a device that is there already
	Model  string `json:"model,omitempty"`  // virtio (default), e1000 or e1000e
	MAC    string `json:"mac,omitempty"`    // "": made of the machine's UUID and the interface's number
}

var (
	machineType   = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]*$`)
	cpuModel      = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]*(,[a-zA-Z0-9=.+_-]+)*$`)
	interfaceName = regexp.MustCompile(`^[^\s/,]{1,15}$`)
	vncAddress    = regexp.MustCompile(`^(socket|[0-9a-zA-Z.\[\]:-]*:[0-9]{1,5})$`)
)

// complete is a definition that was judged, with everything filled in.
type complete struct {
	Definition
	args  []argument
	disks []string // files that the guest has for itself alone
}

// decode reads a definition, fills in defaults and placeholders, and lists
// every error.
func decode(definition []byte, spec hypervisor.Spec) (complete, error) {
	d := complete{Definition: Definition{CPUs: 1, Machine: DefaultMachine}}
	if err := hypervisor.DecodeDefinition(definition, &d.Definition); err != nil {
		return complete{}, err
	}
	errs := []error{
		between("memory_mib", d.MemoryMiB, 1, maxMemoryMiB),
		between("cpus", d.CPUs, 1, maxCPUs),
		between("number of disks", len(d.Disks), 0, maxDisks),
		between("number of nics", len(d.NICs), 0, maxNICs),
		oneOf("accel", &d.Accel, "auto", "kvm", "tcg"),
		matches("machine", d.Machine, machineType, "a machine type: give one of qemu-system-x86_64 -M help, such as pc or q35"),
		matches("cpu", d.CPU, cpuModel, "a CPU model: give one of qemu-system-x86_64 -cpu help"),
		matches("vnc", d.VNC, vncAddress, `a place for VNC: give "socket", or an address and a display such as "127.0.0.1:1"`),
	}
	errs = append(errs, d.place(spec)...)
	if d.Bare && (len(d.Disks) > 0 || len(d.NICs) > 0 || d.CPU != "" || d.SerialLog != "" || d.VNC != "" || d.Watchdog != nil || d.GuestAgent || d.Firmware != nil) {
		errs = append(errs, errors.New("bare is for guests that are described by args alone: remove it, or what stands beside memory_mib, machine, accel and args"))
	}
	var more []string
	words, err := takeApart(d.Args)
	errs = append(errs, wrap("args", err))
	d.args, more, err = review(spec, words)
	d.disks = append(d.disks, more...)
	return d, errors.Join(append(errs, wrap("args", err))...)
}

// place finds the files and interfaces that a definition names.
func (d *complete) place(spec hypervisor.Spec) (errs []error) {
	for i := range d.Disks {
		errs = append(errs, wrap(fmt.Sprintf("disks[%d]", i), d.Disks[i].complete(spec)))
		if d.Disks[i].Path != "" {
			d.disks = append(d.disks, d.Disks[i].Path)
		}
	}
	for i := range d.NICs {
		errs = append(errs, wrap(fmt.Sprintf("nics[%d]", i), d.NICs[i].complete(spec, i)))
	}
	if d.SerialLog != "" {
		var err error
		d.SerialLog, err = spec.OnDatastore(d.SerialLog)
		errs = append(errs, wrap("serial_log", err))
	}
	if d.Watchdog != nil {
		errs = append(errs, wrap("watchdog", d.Watchdog.complete(d.Machine)))
	}
	if d.Firmware != nil {
		errs = append(errs, wrap("firmware", d.Firmware.complete(spec)))
		d.disks = append(d.disks, d.Firmware.Vars)
	}
	return errs
}

func wrap(field string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", field, err)
}

func between(field string, value, least, most int) error {
	if value < least || value > most {
		return fmt.Errorf("%s is %d; it must be from %d to %d", field, value, least, most)
	}
	return nil
}

// matches checks a text that may be left out.
func matches(field, value string, pattern *regexp.Regexp, what string) error {
	if value == "" || pattern.MatchString(value) {
		return nil
	}
	return fmt.Errorf("%s %q is not %s", field, value, what)
}

func (d *Disk) complete(spec hypervisor.Spec) error {
	path, err := spec.On(d.Datastore, d.Path)
	d.Path = path
	return errors.Join(err, oneOf("format", &d.Format, "raw", "qcow2"), oneOf("interface", &d.Interface, "virtio", "scsi", "ide"))
}

func (f *Firmware) complete(spec hypervisor.Spec) error {
	var err error
	f.Vars, err = spec.OnDatastore(f.Vars)
	if !strings.HasPrefix(f.Code, "/") {
		err = errors.Join(err, fmt.Errorf("code %q is not a file of the host; give its whole path, such as /usr/share/OVMF/OVMF_CODE_4M.fd", f.Code))
	}
	return err
}

func (w *Watchdog) complete(machine string) error {
	err := errors.Join(oneOf("model", &w.Model, "i6300esb", "ib700", "itco"), oneOf("action", &w.Action, "crash", "reset", "nmi"))
	if w.Model == "itco" && !strings.Contains(machine, "q35") {
		err = errors.Join(err, fmt.Errorf("model itco belongs to the chipset of q35, and machine is %q; choose i6300esb", machine))
	}
	return err
}

func (n *NIC) complete(spec hypervisor.Spec, index int) error {
	var errs []error
	if (n.Bridge == "") == (n.Tap == "") {
		errs = append(errs, errors.New(`give either bridge or tap, such as bridge = "br0"`))
	}
	errs = append(errs, matches("bridge", n.Bridge, interfaceName, "a network interface of the host"), matches("tap", n.Tap, interfaceName, "a network interface of the host"),
		oneOf("model", &n.Model, "virtio", "e1000", "e1000e"))
	if n.MAC == "" {
		n.MAC = addressOf(spec, index)
	} else if mac, err := net.ParseMAC(n.MAC); err != nil || len(mac) != 6 || mac[0]&1 != 0 {
		errs = append(errs, fmt.Errorf("mac %q is no address of one Ethernet interface, such as 52:54:00:12:34:56", n.MAC))
	}
	return errors.Join(errs...)
}

// addressOf makes the same address on every host, and another one for each machine.
func addressOf(spec hypervisor.Spec, index int) string {
	sum := sha256.Sum256(append(spec.VM[:], byte(index)))
	return net.HardwareAddr{0x52, 0x54, 0x00, sum[0], sum[1], sum[2]}.String()
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
