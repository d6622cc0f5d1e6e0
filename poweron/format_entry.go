package poweron

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"storebeat/datastorehb"
)

// MaxEntrySize is the longest encoded entry, in bytes.
const MaxEntrySize = 256 << 10

// EncodeEntry returns the payload of an entry's record: the version, which
// is that of the feature level, and the entry in JSON. The entry must be valid.
func EncodeEntry(e Entry, level uint16) ([]byte, error) {
	if err := errors.Join(e.Validate(), datastorehb.CheckLevel(level)); err != nil {
		return nil, fmt.Errorf("encode entry of machine %.80q: %w", e.Name, err)
	}
	return encodeEntry(e, level)
}

func encodeEntry(e Entry, level uint16) ([]byte, error) {
	b, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode entry of machine %.80q: %w", e.Name, err)
	}
	if len(b) >= MaxEntrySize {
		return nil, fmt.Errorf("encode entry of machine %.80q: %d bytes, and at most %d are allowed: keep large data on the datastore", e.Name, len(b)+1, MaxEntrySize)
	}
	return append([]byte{byte(level)}, b...), nil
}

// DecodeEntry reads the payload of an entry's record. It accepts exactly what
// EncodeEntry returns.
func DecodeEntry(b []byte) (Entry, error) {
	e, err := decodeEntry(b)
	if err == nil {
		err = e.Validate()
	}
	if err != nil {
		return Entry{}, fmt.Errorf("decode protected entry: %w", err)
	}
	return e, nil
}

func decodeEntry(b []byte) (e Entry, err error) {
	switch {
	case len(b) == 0:
		return e, errors.New("it is empty: protect the machine again")
	case len(b) > MaxEntrySize:
		return e, fmt.Errorf("%d bytes, and at most %d are allowed", len(b), MaxEntrySize)
	case b[0] < oldestVersion || b[0] > datastorehb.FeatureLevel:
		return e, versionError("format version", int(b[0]), oldestVersion, datastorehb.FeatureLevel)
	}
	d := json.NewDecoder(bytes.NewReader(b[1:]))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		return e, fmt.Errorf("its JSON can't be read: %w", err)
	}
	// The JSON package forgives a field that is missing, stands twice or is
	// spelled otherwise. Each valid entry has one encoding, so comparing with it
	// finds them all.
	if again, err := encodeEntry(e, uint16(b[0])); err != nil {
		return e, err
	} else if !bytes.Equal(again, b) {
		return e, errors.New("it is not in the one form that docs/format.md gives: a field is missing, twice or spelled otherwise; protect the machine again")
	}
	return e, nil
}
