package qemu

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"storebeat/agent/hypervisor"
)

// maxSocketPath is what fits into sockaddr_un, without the final zero.
const maxSocketPath = 107

// places are the files of one machine in the run directory.
type places struct{ dir, monitor, serial, console, output string }

func placesOf(runDir string, m hypervisor.Marker) places {
	dir := hypervisor.MachineDir(runDir, m.VM, m.Generation)
	return places{
		dir:     dir,
		monitor: filepath.Join(dir, "qmp"),
		serial:  filepath.Join(dir, "serial"),
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
	for _, path := range []string{p.monitor, p.serial} {
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

// commandLine returns QEMU's arguments.
func commandLine(binary string, d Definition, spec hypervisor.Spec, at places, kvm bool) ([]string, error) {
	log := d.SerialLog
	if log == "" {
		log = at.console
	}
	argv := []string{
		binary,
		"-name", "guest=" + escape(spec.Name) + ",debug-threads=on",
		"-uuid", spec.VM.String(),
		"-no-user-config", "-nodefaults", "-display", "none", "-vga", "none",
		"-S", "-action", "shutdown=pause,panic=pause",
		"-M", d.Machine, "-m", strconv.Itoa(d.MemoryMiB), "-smp", strconv.Itoa(d.CPUs),
		"-qmp", "unix:" + at.monitor + ",server=on,wait=off",
		"-chardev", "socket,id=serial0,path=" + at.serial + ",server=on,wait=off,logfile=" + escape(log) + ",logappend=on",
		"-serial", "chardev:serial0",
	}
	argv = append(argv, accelerator(d, kvm)...)
	if strings.HasPrefix(d.Machine, "pc") || strings.HasPrefix(d.Machine, "q35") {
		argv = append(argv, "-device", "pvpanic")
	}
	for i, disk := range d.Disks {
		args, err := disk.arguments(i)
		if err != nil {
			return nil, err
		}
		argv = append(argv, args...)
	}
	return append(argv, d.Args...), nil
}

// accelerator picks what the definition says, or KVM if it is usable, or emulation with a translation cache that befits the
// guest: the default of 1 GiB is a lot of address space for a tiny one.
func accelerator(d Definition, kvm bool) []string {
	switch {
	case d.Accel == "kvm" || d.Accel == "auto" && kvm:
		return []string{"-accel", "kvm"}
	case d.MemoryMiB <= 64:
		return []string{"-accel", "tcg,tb-size=4"}
	}
	return []string{"-accel", "tcg"}
}

// blockNode is the part of QEMU's BlockdevOptions that the driver uses.
type blockNode struct {
	Driver   string     `json:"driver"`
	NodeName string     `json:"node-name,omitempty"`
	Cache    blockCache `json:"cache"`
	Filename string     `json:"filename,omitempty"`
	AIO      string     `json:"aio,omitempty"`
	Locking  string     `json:"locking,omitempty"`
	File     *blockNode `json:"file,omitempty"`
}

type blockCache struct {
	Direct bool `json:"direct"`
}

// arguments describes the disk in JSON, where a path may hold any character.
func (d Disk) arguments(i int) ([]string, error) {
	direct := blockCache{Direct: true}
	node := blockNode{
		Driver: d.Format, NodeName: fmt.Sprintf("disk%d", i), Cache: direct,
		File: &blockNode{Driver: "file", Cache: direct, Filename: d.Path, AIO: "threads", Locking: "on"},
	}
	text, err := json.Marshal(node)
	if err != nil {
		return nil, fmt.Errorf("describe disk %s: %w", d.Path, err)
	}
	device := map[string]string{"ide": "ide-hd", "virtio": "virtio-blk-pci"}[d.Interface]
	return []string{
		"-blockdev", string(text),
		"-device", fmt.Sprintf("%s,drive=%s,werror=stop,rerror=stop", device, node.NodeName),
	}, nil
}

// escape doubles commas, as QEMU's option syntax wants it.
func escape(s string) string { return strings.ReplaceAll(s, ",", ",,") }
