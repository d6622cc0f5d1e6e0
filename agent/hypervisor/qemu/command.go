package qemu

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"storebeat/agent/hypervisor"
)

// maxSocketPath is what fits into sockaddr_un, without the final zero.
const maxSocketPath = 107

// places are the files of one machine in the run directory.
type places struct{ dir, monitor, serial, vnc, agent, console, output string }

func placesOf(runDir string, m hypervisor.Marker) places {
	dir := hypervisor.MachineDir(runDir, m.VM, m.Generation)
	return places{
		dir:     dir,
		monitor: filepath.Join(dir, "qmp"),
		serial:  filepath.Join(dir, "serial"),
		vnc:     filepath.Join(dir, "vnc"),
		agent:   filepath.Join(dir, "agent"),
		console: filepath.Join(dir, "console.log"),
		output:  filepath.Join(dir, "qemu.log"),
	}
}

// SerialSocket is the unix socket of a machine's serial port, for tests and for
// people: what is written to it reaches the guest.
func SerialSocket(spec hypervisor.Spec) string {
	return placesOf(spec.RunDir, spec.Marker()).serial
}

// check refuses sockets that the kernel could not name.
func (p places) check() error {
	for _, path := range []string{p.monitor, p.serial, p.vnc, p.agent} {
		if len(path) > maxSocketPath {
			return fmt.Errorf("socket path %s has %d bytes, and the kernel allows %d; choose a shorter run directory", path, len(path), maxSocketPath)
		}
		// QEMU's own options are split at commas, and the path stands in one.
		if strings.ContainsRune(path, ',') {
			return fmt.Errorf("socket path %s holds a comma; choose another run directory", path)
		}
	}
	return nil
}

// commandLine returns QEMU's arguments. The order of devices, and so their places on
// the guest's buses, must stay as it is from version to version.
func commandLine(binary string, d complete, spec hypervisor.Spec, at places, kvm bool) ([]string, error) {
	if d.Bare {
		return bareLine(binary, d, spec, at, kvm), nil
	}
	log := d.SerialLog
	if log == "" {
		log = at.console
	}
	argv := []string{
		binary,
		"-name", "guest=" + escape(spec.Name) + ",debug-threads=on",
		"-uuid", spec.VM.String(),
		"-no-user-config", "-nodefaults", "-display", "none", "-vga", "none",
		"-S", "-action", "shutdown=pause,panic=pause" + d.Watchdog.action(),
		"-M", d.Machine + d.Firmware.property(), "-m", strconv.Itoa(d.MemoryMiB), "-smp", strconv.Itoa(d.CPUs),
		"-qmp", "unix:" + at.monitor + ",server=on,wait=off",
		"-chardev", "socket,id=serial0,path=" + at.serial + ",server=on,wait=off,logfile=" + escape(log) + ",logappend=on",
		"-serial", "chardev:serial0",
	}
	argv = append(argv, accelerator(d.Definition, kvm)...)
	if strings.HasPrefix(d.Machine, "pc") || strings.HasPrefix(d.Machine, "q35") {
		argv = append(argv, "-device", "pvpanic")
	}
	scsi := slices.ContainsFunc(d.Disks, func(disk Disk) bool { return disk.Interface == "scsi" })
	if scsi {
		argv = append(argv, "-device", "virtio-scsi-pci,id=scsi0")
	}
	for i, disk := range d.Disks {
		args, err := disk.arguments(i)
		if err != nil {
			return nil, err
		}
		argv = append(argv, args...)
	}
	for i, nic := range d.NICs {
		argv = append(argv, nic.arguments(i)...)
	}
	more, err := d.Firmware.arguments()
	argv = append(append(append(argv, more...), screen(d.VNC, at)...), d.Watchdog.arguments()...)
	if d.GuestAgent {
		argv = append(argv, "-device", "virtio-serial-pci,id=channels", "-chardev", "socket,id=agent0,path="+at.agent+",server=on,wait=off",
			"-device", "virtserialport,bus=channels.0,chardev=agent0,name=org.qemu.guest_agent.0")
	}
	for _, a := range d.args {
		argv = append(argv, a.words()...)
	}
	return argv, err
}

// bareLine returns the arguments of a guest that was once started by hand.
func bareLine(binary string, d complete, spec hypervisor.Spec, at places, kvm bool) []string {
	argv := []string{
		binary,
		"-name", "guest=" + escape(spec.Name) + ",debug-threads=on",
		"-uuid", spec.VM.String(),
		"-S", "-action", "shutdown=pause,panic=pause",
		"-M", d.Machine,
		"-qmp", "unix:" + at.monitor + ",server=on,wait=off",
	}
	argv = append(argv, accelerator(d.Definition, kvm)...)
	for _, a := range d.args {
		argv = append(argv, a.words()...)
	}
	return argv
}

// arguments describes the interface. QEMU's helper puts it on the bridge.
func (n NIC) arguments(i int) []string {
	backend := "bridge,br=" + n.Bridge
	if n.Tap != "" {
		backend = "tap,script=no,downscript=no,ifname=" + n.Tap
	}
	model := map[string]string{"virtio": "virtio-net-pci", "e1000": "e1000", "e1000e": "e1000e"}[n.Model]
	return []string{"-netdev", fmt.Sprintf("%s,id=net%d", backend, i), "-device", fmt.Sprintf("%s,netdev=net%d,mac=%s", model, i, n.MAC)}
}

// property names the flash memories to the machine.
func (f *Firmware) property() string {
	if f == nil {
		return ""
	}
	return ",pflash0=code,pflash1=vars"
}

// arguments describes the flash memories.
func (f *Firmware) arguments() (argv []string, err error) {
	if f == nil {
		return nil, nil
	}
	for _, node := range []blockNode{
		{Driver: "raw", NodeName: "code", ReadOnly: true, File: &blockNode{Driver: "file", Filename: f.Code}},
		{Driver: "raw", NodeName: "vars", Cache: blockCache{Direct: true}, File: lockedFile(f.Vars)},
	} {
		text, err := json.Marshal(node)
		if err != nil {
			return nil, fmt.Errorf("describe the firmware: %w", err)
		}
		argv = append(argv, "-blockdev", string(text))
	}
	return argv, nil
}

// action is what QEMU does when the guest hangs; one that is paused is ended as crashed.
func (w *Watchdog) action() string {
	if w == nil {
		return ""
	}
	return ",watchdog=" + map[string]string{"crash": "pause", "reset": "reset", "nmi": "inject-nmi"}[w.Action]
}

// arguments describes the watchdog. That of q35 is there already, and switched off.
func (w *Watchdog) arguments() []string {
	switch {
	case w == nil:
		return nil
	case w.Model == "itco":
		return []string{"-global", "ICH9-LPC.noreboot=off"}
	}
	return []string{"-device", w.Model}
}

// screen gives the guest a display that VNC shows.
func screen(vnc string, at places) []string {
	switch vnc {
	case "":
		return nil
	case "socket":
		vnc = "unix:" + at.vnc
	}
	return []string{"-device", "VGA", "-vnc", vnc, "-device", "qemu-xhci", "-device", "usb-tablet"}
}

// accelerator picks what the definition says, or KVM if it is usable, or emulation with a translation cache that befits the
// guest: the default of 1 GiB is a lot of address space for a tiny one.
func accelerator(d Definition, kvm bool) []string {
	argv := []string{"-accel", "tcg"}
	switch {
	case d.Accel == "kvm" || d.Accel == "auto" && kvm:
		argv[1] = "kvm"
	case d.MemoryMiB <= 64:
		argv[1] = "tcg,tb-size=4"
	}
	if d.CPU == "host" && argv[1] != "kvm" {
		d.CPU = "max" // emulation has no other
	}
	if d.CPU != "" {
		argv = append(argv, "-cpu", d.CPU)
	}
	return argv
}

// blockNode is the part of QEMU's BlockdevOptions that the driver uses.
type blockNode struct {
	Driver   string     `json:"driver"`
	NodeName string     `json:"node-name,omitempty"`
	Cache    blockCache `json:"cache"`
	Filename string     `json:"filename,omitempty"`
	AIO      string     `json:"aio,omitempty"`
	ReadOnly bool       `json:"read-only,omitempty"`
	Locking  string     `json:"locking,omitempty"`
	File     *blockNode `json:"file,omitempty"`
	Image    *blockNode `json:"image,omitempty"`
	Unshare  []string   `json:"unshare-child-perms,omitempty"`
}

type blockCache struct {
	Direct bool `json:"direct"`
}

// arguments describes the disk in JSON, where a path may hold any character.
func (d Disk) arguments(i int) ([]string, error) {
	node := blockNode{Driver: d.Format, NodeName: fmt.Sprintf("disk%d", i), Cache: blockCache{Direct: true}, File: imageFile(d.Path)}
	text, err := json.Marshal(node)
	if err != nil {
		return nil, fmt.Errorf("describe disk %s: %w", d.Path, err)
	}
	device := map[string]string{"ide": "ide-hd", "scsi": "scsi-hd,bus=scsi0.0", "virtio": "virtio-blk-pci"}[d.Interface]
	return []string{
		"-blockdev", string(text),
		"-device", fmt.Sprintf("%s,drive=%s,werror=stop,rerror=stop", device, node.NodeName),
	}, nil
}

// imageFile opens a file past the page cache and under the image lock.
func imageFile(path string) *blockNode {
	return &blockNode{Driver: "file", Cache: blockCache{Direct: true}, Filename: path, AIO: "threads", Locking: "on"}
}

// lockedFile opens a file for a device that would let others write to it at the same time, as
// flash memory does, and does not let them. Of QEMU's block drivers, blkdebug is the one that
// can be told to.
func lockedFile(path string) *blockNode {
	return &blockNode{Driver: "blkdebug", Cache: blockCache{Direct: true}, Unshare: []string{"write"}, Image: imageFile(path)}
}

// escape doubles commas, as QEMU's option syntax wants it.
func escape(s string) string { return strings.ReplaceAll(s, ",", ",,") }
