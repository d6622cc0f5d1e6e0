package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc64"

	"storebeat/datastorehb"
)

// ErrNewer means that the record was written at a level that this program does
// not know: it must not take part in the cluster.
var ErrNewer = errors.New("the cluster record is of a newer version")

// Encode returns the payload of a record's revision: the version, which is that of
// the record's feature level, and the record in JSON. There is one encoding of each record. The record must be valid.
func Encode(r *Record) ([]byte, error) {
	if err := r.Validate(); err != nil {
		return nil, fmt.Errorf("encode cluster record: %w", err)
	}
	return encode(r)
}

func encode(r *Record) ([]byte, error) {
	full := *r
	full.Members, full.Removed, full.Datastores, full.Voters = notNil(r.Members), notNil(r.Removed), notNil(r.Datastores), notNil(r.Voters)
	b, err := json.Marshal(full)
	if err != nil {
		return nil, fmt.Errorf("encode cluster record: %w", err)
	}
	if len(b) >= datastorehb.MaxPayload {
		return nil, fmt.Errorf("encode cluster record: %d bytes, and at most %d are allowed", len(b)+1, datastorehb.MaxPayload)
	}
	return append([]byte{byte(r.Level)}, b...), nil
}

// notNil keeps an empty list from being written as null.
func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// Decode reads the payload of a record's revision, for a program that knows these
// feature levels. It accepts exactly what Encode returns. An error wraps ErrNewer
// if only a newer program can read it.
func Decode(b []byte, known datastorehb.Levels) (Record, error) {
	r, err := decode(b, known.Highest)
	if err == nil {
		err = r.Validate()
	}
	if err != nil {
		return Record{}, fmt.Errorf("decode cluster record: %w", err)
	}
	return r, nil
}

func decode(b []byte, highest uint16) (r Record, err error) {
	switch {
	case len(b) == 0:
		return r, errors.New("it is empty")
	case len(b) > datastorehb.MaxPayload:
		return r, fmt.Errorf("%d bytes, and at most %d are allowed", len(b), datastorehb.MaxPayload)
	case uint16(b[0]) > highest:
		return r, fmt.Errorf("%w: %d, and this program reads up to %d", ErrNewer, b[0], highest)
	case b[0] == 0:
		return r, errors.New("it has version 0")
	}
	d := json.NewDecoder(bytes.NewReader(b[1:]))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return r, fmt.Errorf("its JSON can't be read: %w", err)
	}
	// As with protected entries: comparing with the one encoding finds fields that
	// are missing, stand twice or are spelled otherwise.
	if again, err := encode(&r); err != nil {
		return r, err
	} else if !bytes.Equal(again, b) {
		return r, errors.New("it is not in the one form that docs/format.md gives: a field is missing, twice or spelled otherwise")
	}
	return r, nil
}

var ecma = crc64.MakeTable(crc64.ECMA)

// Sum tells revisions of one number apart. Hosts that act on the same revision
// have the same sum. It guards against nothing.
func (r *Record) Sum() uint64 {
	b, err := encode(r)
	if err != nil {
		return 0
	}
	return crc64.Checksum(b, ecma)
}
