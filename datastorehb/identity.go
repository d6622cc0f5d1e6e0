package datastorehb

import (
	"slices"
	"strings"
)

// DeviceIdentity names everything that a datastore stands or falls with: an NFS
// server, the disks underneath. It is sorted and holds each name once; two
// datastores that have a name in common share a device. The empty identity
// shares a device with nothing.
//
// Some names mean something to one host only (a disk without a serial number),
// so the identities in one ranking should be those that one host found.
type DeviceIdentity []string

// NewDeviceIdentity returns the identity with these names.
func NewDeviceIdentity(names ...string) DeviceIdentity {
	id := make(DeviceIdentity, 0, len(names))
	for _, n := range names {
		if n != "" {
			id = append(id, n)
		}
	}
	slices.Sort(id)
	return slices.Compact(id)
}

// Overlaps reports whether the two have a device in common.
func (d DeviceIdentity) Overlaps(other DeviceIdentity) bool {
	for len(d) > 0 && len(other) > 0 {
		switch c := strings.Compare(d[0], other[0]); {
		case c == 0:
			return true
		case c < 0:
			d = d[1:]
		default:
			other = other[1:]
		}
	}
	return false
}

// String returns the names, separated by commas.
func (d DeviceIdentity) String() string { return strings.Join(d, ",") }
