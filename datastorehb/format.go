package datastorehb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/crc64"
	"time"

	"github.com/google/uuid"
)

// The format of everything on a datastore is described in docs/format.md.

const (
	// FormatVersion is the version of the format that this package writes.
	FormatVersion = 1
	// BlockSize divides the size and the offset of every structure on a
	// datastore, so that each can be read and written with direct I/O.
	BlockSize = 4096
	// MaxPayload is the longest payload of a record or a list, in bytes.
	MaxPayload = 1 << 20
	// MaxDuration is the longest duration in a term's record.
	MaxDuration = 24 * time.Hour
)

// Reasons for which bytes are refused. Errors of the decoders wrap one of them.
var (
	// ErrDamaged means that the bytes are torn, truncated or changed.
	ErrDamaged = errors.New("damaged")
	// ErrForeignCluster means that the bytes are whole and belong to another cluster.
	ErrForeignCluster = errors.New("of another cluster")
	// ErrOtherDatastore means that the bytes are whole and belong to another datastore.
	ErrOtherDatastore = errors.New("of another datastore")
	// ErrFutureVersion means that a newer Storebeat wrote the bytes.
	ErrFutureVersion = errors.New("of a newer format version or feature level")
	// ErrMisplaced means that the bytes are whole and stand in the wrong place.
	ErrMisplaced = errors.New("in the wrong place")
)

// Every structure begins with this header; see docs/format.md.
const (
	offVersion   = 8
	offLevel     = 10
	offSum       = 12
	offCluster   = 16
	offDatastore = 32
	headerSize   = 48
	writerSize   = 48
)

const (
	magicIdentity = "STBTIDEN"
	magicRegion   = "STBTREGN"
	magicSlot     = "STBTSLOT"
	magicRecord   = "STBTRECD"
	magicList     = "STBTLIST"
)

var (
	little     = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	ecma       = crc64.MakeTable(crc64.ECMA)
)

// putHeader begins a structure. The bytes of b must be zero.
func putHeader(b []byte, magic string, id *Identity) {
	copy(b, magic)
	little.PutUint16(b[offVersion:], FormatVersion)
	little.PutUint16(b[offLevel:], id.Level)
	copy(b[offCluster:], id.Cluster[:])
	copy(b[offDatastore:], id.Datastore[:])
}

// checksum covers the whole structure but the four bytes in which it stands.
func checksum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:offSum], castagnoli), castagnoli, b[offSum+4:])
}

func seal(b []byte) { little.PutUint32(b[offSum:], checksum(b)) }

// checkSeal reports whether b is, unchanged, a structure of this kind that this
// version can read. It comes before everything else: what a whole structure says
// of itself can be relied on, what a damaged one says can't.
func checkSeal(b []byte, magic string) error {
	switch version, level := little.Uint16(b[offVersion:]), little.Uint16(b[offLevel:]); {
	case little.Uint32(b[offSum:]) != checksum(b), string(b[:8]) != magic, version == 0, level == 0:
		return ErrDamaged
	case version > FormatVersion, level > FeatureLevel:
		return ErrFutureVersion
	}
	return nil
}

// checkHeader is checkSeal for a structure of a known datastore.
func checkHeader(b []byte, magic string, id *Identity) error {
	if err := checkSeal(b, magic); err != nil {
		return err
	}
	switch {
	case uuid.UUID(b[offCluster:offCluster+16]) != id.Cluster:
		return ErrForeignCluster
	case uuid.UUID(b[offDatastore:offDatastore+16]) != id.Datastore:
		return ErrOtherDatastore
	}
	return nil
}

// explain adds to a refusal what was refused, and the values where they matter.
func explain(err error, what string, b []byte) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrForeignCluster):
		return fmt.Errorf("%s is %w (%s)", what, err, uuid.UUID(b[offCluster:offCluster+16]))
	case errors.Is(err, ErrOtherDatastore):
		return fmt.Errorf("%s is %w (%s)", what, err, uuid.UUID(b[offDatastore:offDatastore+16]))
	case errors.Is(err, ErrFutureVersion):
		return fmt.Errorf("%s is %w (version %d, level %d; this program knows version %d, level %d): upgrade it", what, err,
			little.Uint16(b[offVersion:]), little.Uint16(b[offLevel:]), FormatVersion, FeatureLevel)
	}
	return fmt.Errorf("%s is %w", what, err)
}

func damaged(what, format string, args ...any) error {
	return fmt.Errorf("%s is %w: %s", what, ErrDamaged, fmt.Sprintf(format, args...))
}

func putWriter(b []byte, w *Writer) {
	little.PutUint16(b, uint16(w.Host))
	copy(b[8:], w.Machine[:])
	copy(b[24:], w.Boot[:])
	little.PutUint64(b[40:], w.Incarnation)
}

func getWriter(b []byte) Writer {
	return Writer{
		Host:        HostID(little.Uint16(b)),
		Machine:     uuid.UUID(b[8:24]),
		Boot:        uuid.UUID(b[24:40]),
		Incarnation: little.Uint64(b[40:]),
	}
}

// writerWellFormed reports whether b holds a writer in its only encoding.
func writerWellFormed(b []byte) bool {
	return little.Uint16(b) != 0 && isZero(b[2:8]) && little.Uint64(b[40:]) != 0
}

func checkWriter(w *Writer) error {
	if w.Host == 0 || w.Incarnation == 0 {
		return fmt.Errorf("writer has host id %d and incarnation %d: neither may be 0", w.Host, w.Incarnation)
	}
	return nil
}

func isZero(b []byte) bool {
	for len(b) >= 8 {
		if little.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// padded rounds n up to whole blocks.
func padded(n int) int { return (n + BlockSize - 1) / BlockSize * BlockSize }

// grow returns a zeroed slice of length n, in dst's memory where that suffices.
func grow(dst []byte, n int) []byte {
	if cap(dst) < n {
		return make([]byte, n)
	}
	dst = dst[:n]
	clear(dst)
	return dst
}
