package device

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Disk is a whole disk under a file system.
type Disk struct {
	Name   string `json:"name"` // such as sda
	Number Number `json:"number"`
	// WorldWideID is what the disk says of itself, unique and the same on every
	// host; empty when it says nothing. A mere serial number is not unique enough.
	WorldWideID string `json:"worldWideID"`
	// Backing is the file behind a loop device.
	Backing string `json:"backing"`
}

// identity returns the disk's name in a DeviceIdentity.
func (d Disk) identity() string {
	if d.WorldWideID != "" {
		return "disk:" + d.WorldWideID
	}
	return "disk:here:" + d.Number.String()
}

// blockTree is the kernel's tree of block devices, normally /sys.
type blockTree string

// maxDepth bounds how many layers (partition, LVM, encryption, RAID, multipath)
// are followed; deeper ones, or a loop, end the walk.
const maxDepth = 16

// disksUnder returns the whole disks that a block device stands on, sorted by
// name. A device that the tree doesn't know stands on nothing that is known.
func (t blockTree) disksUnder(n Number) []Disk {
	dir, err := filepath.EvalSymlinks(filepath.Join(string(t), "dev/block", n.String()))
	if err != nil {
		return nil
	}
	disks := leaves(dir, maxDepth)
	slices.SortFunc(disks, func(a, b Disk) int { return strings.Compare(a.Name, b.Name) })
	return slices.CompactFunc(disks, func(a, b Disk) bool { return a.Name == b.Name })
}

// leaves walks from a device's folder down to the disks.
func leaves(dir string, depth int) (disks []Disk) {
	if depth == 0 {
		return nil
	}
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
		return leaves(filepath.Dir(dir), depth-1)
	}
	// An unreadable folder of slaves is a device without any.
	slaves, _ := os.ReadDir(filepath.Join(dir, "slaves"))
	for _, s := range slaves {
		if under, err := filepath.EvalSymlinks(filepath.Join(dir, "slaves", s.Name())); err == nil {
			disks = append(disks, leaves(under, depth-1)...)
		}
	}
	if len(slaves) == 0 {
		disks = append(disks, diskAt(dir))
	}
	return disks
}

func diskAt(dir string) Disk {
	d := Disk{Name: filepath.Base(dir), Backing: attribute(dir, "loop/backing_file")}
	// A number that can't be read stays 0:0, which no disk has.
	d.Number, _ = parseNumber(attribute(dir, "dev"))
	for _, name := range []string{"wwid", "device/wwid", "dm/uuid", "md/uuid"} {
		if d.WorldWideID = attribute(dir, name); d.WorldWideID != "" {
			break
		}
	}
	return d
}

// attribute returns the value of an attribute, "" when there is none.
func attribute(dir, name string) string {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.Join(strings.Fields(string(text)), " ")
}
