package datastorehb

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"github.com/google/uuid"
)

const (
	// DefaultCapacity is how many hosts a heartbeat region has room for unless said otherwise.
	DefaultCapacity = 64
	// MaxCapacity is how many hosts a heartbeat region can have room for.
	MaxCapacity = 1024
	// MaxName is the longest name of a datastore, in bytes.
	MaxName = 128
)

// Identity says which datastore a datastore is. It is written once, by
// `storebeat datastore init`, and never changes.
type Identity struct {
	Version   uint16    // of the format; FormatVersion when encoded
	Level     uint16    // feature level of the cluster
	Cluster   uuid.UUID // whose datastore it is
	Datastore uuid.UUID // its own
	Name      string    // for people, 1 to MaxName bytes
	Capacity  int       // slots in the heartbeat region: the highest host id
}

// RegionSize returns the length of the heartbeat region, in bytes.
func (id Identity) RegionSize() int { return (id.Capacity + 1) * SlotSize }

// Validate reports what makes the identity impossible.
func (id Identity) Validate() error {
	switch {
	case id.Cluster == uuid.Nil:
		return fmt.Errorf("cluster UUID is all zeros")
	case id.Datastore == uuid.Nil:
		return fmt.Errorf("datastore UUID is all zeros")
	case id.Level == 0 || id.Level > FeatureLevel:
		return fmt.Errorf("feature level %d is not between 1 and %d", id.Level, FeatureLevel)
	case id.Name == "" || len(id.Name) > MaxName || !utf8.ValidString(id.Name):
		return fmt.Errorf("name %q is not UTF-8 of 1 to %d bytes", id.Name, MaxName)
	case bytes.IndexByte([]byte(id.Name), 0) >= 0:
		return fmt.Errorf("name %q contains a zero byte", id.Name)
	case id.Capacity < 1 || id.Capacity > MaxCapacity:
		return fmt.Errorf("capacity %d is not between 1 and %d hosts", id.Capacity, MaxCapacity)
	}
	return nil
}

// EncodeIdentity returns the contents of the file identity, BlockSize bytes.
func EncodeIdentity(id Identity) ([]byte, error) {
	if err := id.Validate(); err != nil {
		return nil, fmt.Errorf("encode identity: %w", err)
	}
	b := make([]byte, BlockSize)
	putHeader(b, magicIdentity, &id)
	little.PutUint32(b[48:], uint32(id.Capacity))
	little.PutUint16(b[52:], uint16(len(id.Name)))
	copy(b[64:64+MaxName], id.Name)
	seal(b)
	return b, nil
}

// DecodeIdentity is the inverse of EncodeIdentity.
func DecodeIdentity(raw []byte) (Identity, error) {
	const what = "datastore identity"
	if len(raw) != BlockSize {
		return Identity{}, damaged(what, "%d bytes instead of %d", len(raw), BlockSize)
	}
	if err := checkSeal(raw, magicIdentity); err != nil {
		return Identity{}, explain(err, what, raw)
	}
	length := int(little.Uint16(raw[52:]))
	if length > MaxName || !isZero(raw[54:64]) || !isZero(raw[64+length:]) {
		return Identity{}, damaged(what, "name length %d or reserved bytes", length)
	}
	id := Identity{
		Version:   little.Uint16(raw[offVersion:]),
		Level:     little.Uint16(raw[offLevel:]),
		Cluster:   uuid.UUID(raw[offCluster : offCluster+16]),
		Datastore: uuid.UUID(raw[offDatastore : offDatastore+16]),
		Name:      string(raw[64 : 64+length]),
		Capacity:  int(little.Uint32(raw[48:])),
	}
	if err := id.Validate(); err != nil {
		return Identity{}, damaged(what, "%v", err)
	}
	return id, nil
}
