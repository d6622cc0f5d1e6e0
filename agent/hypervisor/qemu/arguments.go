package qemu

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"storebeat/agent/hypervisor"
)

// reserved lists what the driver decides itself; a second opinion among the
// extra arguments would break what it guarantees.
var reserved = []string{"accel", "action", "daemonize", "enable-kvm", "incoming", "loadvm", "name", "no-reboot", "no-shutdown", "pidfile", "preconfig",
	"qtest", "S", "snapshot", "uuid", "watchdog-action"}

// unsafe are options that no machine may have, with the reason.
var unsafe = map[string]string{
	"readconfig":   "hides further options in a file: write them here",
	"runas":        "gives QEMU another user, who may not open the disks on another host: remove it",
	"run-with":     "changes the user or root folder of QEMU: remove it",
	"chroot":       "keeps QEMU from its disks and sockets: remove it",
	"fsdev":        notCovered,
	"virtfs":       notCovered,
	"mtdblock":     "is an image without a lock: use disks",
	"sd":           "is an image whose failures the guest would be told: use disks",
	"tpmdev":       "the state of a TPM lies on one host alone: remove it",
	"writeconfig":  "does not start a guest: remove it",
	"dump-vmstate": "does not start a guest: remove it",
	"h":            "does not start a guest: remove it",
	"help":         "does not start a guest: remove it",
	"version":      "does not start a guest: remove it",
}

const notCovered = "shares a folder of the host, which the write barrier does not cover: remove it"

// bound are devices that tie a guest to its host, or let it write where neither
// freezing nor the write barrier reach, by how their names begin.
var bound = []string{"vfio-", "vhost-user-", "vhost-scsi", "vhost-vdpa", "ivshmem-", "nvdimm", "virtio-pmem", "virtio-9p", "usb-host", "virtio-input-host",
	"scsi-generic", "scsi-block", "tpm-", "ccid-card-passthru", "u2f-passthru", "cxl-type3", "x-pci-proxy", "vmmouse-passthru"}

// Review judges options that a guest has beside what its definition makes of it. The error has
// a line for each that it may not have, with the remedy.
func Review(spec hypervisor.Spec, words []string) error {
	all, err := takeApart(words)
	if err == nil {
		_, _, err = review(spec, all)
	}
	return err
}

// review judges further arguments, and returns them as QEMU gets them, with the files
// on datastores that the guest writes to.
func review(spec hypervisor.Spec, all []argument) (out []argument, disks []string, err error) {
	var errs []error
	for _, a := range all {
		a.value, err = spec.Expand(a.value)
		if err == nil {
			var more []string
			a, more, err = a.review(spec)
			disks = append(disks, more...)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", strings.Join(a.words(), " "), err))
		}
		out = append(out, a)
	}
	return out, disks, errors.Join(errs...)
}

// review judges one argument.
func (a argument) review(spec hypervisor.Spec) (argument, []string, error) {
	if slices.Contains(reserved, a.name) {
		return a, nil, errors.New("is decided by the driver; remove it")
	}
	if why := unsafe[a.name]; why != "" {
		return a, nil, errors.New(why)
	}
	if a.alone {
		return a, nil, nil
	}
	switch a.name {
	case "", "hda", "hdb", "hdc", "hdd":
		return a, nil, errors.New("is opened through the host's page cache, whose late writes no barrier stops: write it as one of disks, or as -drive with cache=none")
	case "fda", "fdb", "pflash":
		return a, nil, errors.New("is written without a way to tell failures from success: remove it, or use firmware")
	}
	parts, err := parseSettings(a.value)
	if err != nil {
		return a, nil, err
	}
	if err := parts.harmless(); err != nil {
		return a, nil, err
	}
	switch a.name {
	case "drive", "blockdev":
		return a.drive(spec, parts)
	case "device":
		return a.device(parts)
	case "machine", "M":
		if parts.first("type") != "" {
			return a, nil, errors.New("the machine type is given by machine, so that it can be pinned")
		}
	case "netdev", "nic", "net":
		if t := parts.first("type"); strings.HasPrefix(t, "vhost-") {
			return a, nil, fmt.Errorf("network of type %s belongs to a process or device of this host, which goes on while the guest is frozen: use a bridge", t)
		}
	case "object":
		if on(parts.get("pmem")) || strings.HasPrefix(parts.first("qom-type"), "x-") {
			return a, nil, errors.New("is kept in a file or process of this host, which the write barrier does not cover: remove it")
		}
	}
	return a, nil, nil
}

// harmless refuses what would take away a guarantee in whatever option it stands.
func (s settings) harmless() error {
	for _, one := range s {
		key := one.key[strings.LastIndexByte(one.key, '.')+1:]
		switch {
		case key == "locking" && off(one.value):
			return errors.New("locking=off takes away the image lock, which keeps a second host from writing to the disk: remove it")
		case key == "snapshot" && on(one.value):
			return errors.New("snapshot=on throws away what the guest writes: remove it")
		case key == "share-rw" && on(one.value), key == "force-share" && on(one.value):
			return fmt.Errorf("%s=on lets others write to the disk at the same time: remove it", key)
		case (key == "werror" || key == "rerror") && one.value != "stop":
			return fmt.Errorf("%s=%s tells the guest of failures that it would not meet on another host: remove it, stop is set", key, one.value)
		case key == "cache" && one.value != "none" && one.value != "directsync", key == "direct" && off(one.value):
			return fmt.Errorf("%s=%s keeps writes in the host's memory, and no barrier stops them when they are late: write cache=none", key, one.value)
		case key == "no-flush" && on(one.value):
			return errors.New("no-flush=on loses what the guest was told is on the disk: remove it")
		}
	}
	return nil
}

// drive judges an image.
func (a argument) drive(spec hypervisor.Spec, s settings) (argument, []string, error) {
	file := s.get("file")
	if a.name == "blockdev" || file == "" {
		file = s.get("filename")
	}
	readOnly := on(s.get("readonly")) || on(s.get("read-only")) || s.get("media") == "cdrom"
	switch {
	case file == "" && (a.name == "blockdev" || s.get("media") == "cdrom" || s.get("if") == "floppy"):
		return a, nil, a.protocol(s) // a node on top of others, or an empty drive
	case readOnly:
		return a, nil, nil
	}
	if err := onDatastore(spec, file); err != nil {
		return a, nil, err
	}
	if a.name == "blockdev" {
		if !on(s.get("direct")) {
			return a, nil, errors.New("keeps writes in the host's memory, and no barrier stops them when they are late: write cache.direct=on")
		}
		return a, []string{filepath.Clean(file)}, a.protocol(s)
	}
	if s.get("cache") == "" && !on(s.get("direct")) {
		return a, nil, errors.New("keeps writes in the host's memory, and no barrier stops them when they are late: write cache=none")
	}
	if s.get("if") == "pflash" {
		return a, nil, errors.New("if=pflash: its image can't be kept out of the host's page cache while the guest runs: use firmware, or -blockdev with node-name=vars,cache.direct=on and -machine pflash1=vars")
	}
	if bus := s.get("if"); bus == "floppy" || bus == "sd" || bus == "mtd" {
		return a, nil, fmt.Errorf("if=%s: %w", bus, errors.New("a request that fails there can't stop the guest: use disks"))
	}
	return a.stopping(s), []string{filepath.Clean(file)}, nil
}

// protocols are the block drivers that reach what lies on datastores, or stand on others.
var protocols = []string{"", "file", "raw", "qcow2", "throttle", "copy-on-read", "null-co", "blkdebug", "blklogwrites"}

// protocol refuses images that are no files on a datastore.
func (argument) protocol(s settings) error {
	for _, one := range s {
		if (one.key == "driver" || strings.HasSuffix(one.key, ".driver")) && !slices.Contains(protocols, one.value) {
			return fmt.Errorf("block driver %s does not reach files on a datastore, or the write barrier does not cover it", one.value)
		}
	}
	return nil
}

// onDatastore refuses an image that does not lie on a datastore.
func onDatastore(spec hypervisor.Spec, file string) error {
	if spec.OnAny(file) {
		return nil
	}
	return fmt.Errorf("%q is no file on a datastore, and the write barrier does not cover it: write {{datastore}}/… for one on the home datastore, {{datastore NAME}}/… for one on another", file)
}

// stoppable are the devices that can stop the guest when a request fails, by how
// their names begin.
var stoppable = []string{"virtio-blk", "ide-hd", "ide-cd", "scsi-hd", "scsi-cd"}

// device judges a device.
func (a argument) device(s settings) (argument, []string, error) {
	driver := s.first("driver")
	begins := func(prefix string) bool { return strings.HasPrefix(driver, prefix) }
	if slices.ContainsFunc(bound, begins) {
		return a, nil, fmt.Errorf("device %s belongs to this host or its processes, and goes on while the guest is frozen, or writes where the write barrier does not reach: remove it", driver)
	}
	if slices.ContainsFunc(stoppable, begins) && s.get("drive") != "" {
		return a.stopping(s), nil, nil
	}
	return a, nil, nil
}

// stopping has the guest stop when a request fails.
func (a argument) stopping(s settings) argument {
	for _, key := range []string{"werror", "rerror"} {
		if s.get(key) != "" {
			continue
		}
		if rest, isJSON := strings.CutPrefix(a.value, "{"); isJSON {
			a.value = `{"` + key + `":"stop",` + rest
		} else {
			a.value += "," + key + "=stop"
		}
	}
	return a
}
