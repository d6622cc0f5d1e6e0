package datastorehb

import (
	"fmt"

	"github.com/google/uuid"
)

const recordHeaderSize = 160

// RecordSize returns the length of the encoding of a record, in bytes.
func RecordSize(payload int) int { return padded(recordHeaderSize + payload) }

// MaxRecordSize is the length of the longest encoding of a record, in bytes.
const MaxRecordSize = (recordHeaderSize + MaxPayload + BlockSize - 1) / BlockSize * BlockSize

func (r *Record) validate() error {
	switch reg := &r.Register; reg.Kind {
	case TermRegister:
		if reg.Host == 0 || reg.VM != uuid.Nil {
			return fmt.Errorf("register of terms has host id %d and machine %s", reg.Host, reg.VM)
		}
	case GenerationRegister, EntryRegister:
		if reg.Host != 0 || reg.VM == uuid.Nil {
			return fmt.Errorf("register %s has host id %d and machine %s", reg.Kind, reg.Host, reg.VM)
		}
	case ClusterRegister:
		if reg.Host != 0 || reg.VM != uuid.Nil {
			return fmt.Errorf("register of the cluster record has host id %d and machine %s", reg.Host, reg.VM)
		}
	default:
		return fmt.Errorf("register kind %d is unknown", uint8(reg.Kind))
	}
	switch {
	case r.Number == 0:
		return fmt.Errorf("number is 0")
	case r.Nonce == uuid.Nil:
		return fmt.Errorf("nonce is all zeros")
	case len(r.Payload) > MaxPayload:
		return fmt.Errorf("payload of %d bytes is longer than %d", len(r.Payload), MaxPayload)
	}
	return checkWriter(&r.Writer)
}

// EncodeRecord returns the encoding of a record, in dst's memory if it is long enough.
func EncodeRecord(dst []byte, id Identity, r *Record) ([]byte, error) {
	if err := r.validate(); err != nil {
		return nil, fmt.Errorf("encode %s %d: %w", r.Register, r.Number, err)
	}
	b := grow(dst, RecordSize(len(r.Payload)))
	putHeader(b, magicRecord, &id)
	b[48] = byte(r.Register.Kind)
	little.PutUint16(b[50:], uint16(r.Register.Host))
	little.PutUint32(b[52:], uint32(len(r.Payload)))
	little.PutUint64(b[56:], r.Number)
	copy(b[64:80], r.Register.VM[:])
	copy(b[80:96], r.Nonce[:])
	putWriter(b[96:], &r.Writer)
	copy(b[recordHeaderSize:], r.Payload)
	seal(b)
	return b, nil
}

// DecodeRecord reads the record that stands under the name of this register and
// number. Its payload is a copy.
func DecodeRecord(raw []byte, id Identity, reg Register, number uint64) (Record, error) {
	what := fmt.Sprintf("%s, number %d,", reg, number)
	if len(raw) < BlockSize || len(raw)%BlockSize != 0 || len(raw) > MaxRecordSize {
		return Record{}, damaged(what, "length of %d bytes", len(raw))
	}
	if err := checkHeader(raw, magicRecord, &id); err != nil {
		return Record{}, explain(err, what, raw)
	}
	length := int(little.Uint32(raw[52:]))
	if length > MaxPayload || RecordSize(length) != len(raw) {
		return Record{}, damaged(what, "payload of %d bytes in a record of %d", length, len(raw))
	}
	if raw[49] != 0 || !writerWellFormed(raw[96:]) || !isZero(raw[144:recordHeaderSize]) || !isZero(raw[recordHeaderSize+length:]) {
		return Record{}, damaged(what, "writer or reserved bytes")
	}
	r := Record{
		Register: Register{Kind: RegisterKind(raw[48]), Host: HostID(little.Uint16(raw[50:])), VM: uuid.UUID(raw[64:80])},
		Number:   little.Uint64(raw[56:]),
		Nonce:    uuid.UUID(raw[80:96]),
		Writer:   getWriter(raw[96:]),
	}
	if r.Register != reg || r.Number != number {
		return Record{}, fmt.Errorf("%s is %w: it is %s, number %d", what, ErrMisplaced, r.Register, r.Number)
	}
	r.Payload = append([]byte{}, raw[recordHeaderSize:recordHeaderSize+length]...)
	if err := r.validate(); err != nil {
		return Record{}, damaged(what, "%v", err)
	}
	return r, nil
}

// RecordLength returns, from the first block of a record, how many bytes the
// record has. It is not to be relied on before DecodeRecord has accepted them.
func RecordLength(block []byte) int {
	if len(block) < recordHeaderSize {
		return 0
	}
	return RecordSize(int(min(little.Uint32(block[52:]), MaxPayload)))
}
