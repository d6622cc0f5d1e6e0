package poweron

import (
	"encoding/binary"
	"fmt"

	"github.com/google/uuid"

	"storebeat/datastorehb"
)

// FormatVersion is the newest version of power-on list and generation in
// docs/format.md that this package writes and reads. Readers accept it and the
// one before; there is none before 1.
const FormatVersion = 1

const oldestVersion, oldestLevel = 1, 1

var noVM uuid.UUID

var order = binary.LittleEndian

// appendHeader appends what power-on list and generation begin with: magic,
// version and feature level, 8 bytes together.
func appendHeader(b []byte, magic string, level uint16) []byte {
	b = append(b, magic...)
	b = order.AppendUint16(b, FormatVersion)
	return order.AppendUint16(b, level)
}

// checkHeader returns an error unless b is at least size bytes long and begins
// with a header that this package reads.
func checkHeader(b []byte, magic string, size int) error {
	if len(b) < size {
		return fmt.Errorf("%d bytes, and at least %d are needed: it is cut off; restore it, or let its writer write it again", len(b), size)
	}
	if string(b[:4]) != magic {
		return fmt.Errorf("begins with %q and not with %q: it is something else", b[:4], magic)
	}
	if v := order.Uint16(b[4:]); v < oldestVersion || v > FormatVersion {
		return versionError("format version", int(v), oldestVersion, FormatVersion)
	}
	if l := order.Uint16(b[6:]); l < oldestLevel || l > datastorehb.FeatureLevel {
		return versionError("feature level", int(l), oldestLevel, datastorehb.FeatureLevel)
	}
	return nil
}

func versionError(what string, got, oldest, newest int) error {
	return fmt.Errorf("%s %d, and this host reads %d to %d: upgrade storebeat on the older host", what, got, oldest, newest)
}

// zero returns an error unless all of b is zero: bits that this version does not
// know must not be dropped silently.
func zero(what string, b []byte) error {
	for i, c := range b {
		if c != 0 {
			return fmt.Errorf("reserved byte %d of %s is %#x and not 0: it is damaged, or of a version that this host does not read", i, what, c)
		}
	}
	return nil
}
