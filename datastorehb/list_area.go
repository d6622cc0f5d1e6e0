package datastorehb

import "fmt"

const listHeaderSize = 64

// ListArea is one of the two areas of a file with a power-on list. What the
// payload says is the matter of package poweron.
type ListArea struct {
	Host     HostID // whose list it is
	Revision uint64 // grows with every write; not 0
	Payload  []byte
}

// ListAreaSize returns the length of the encoding of an area, in bytes.
func ListAreaSize(payload int) int { return padded(listHeaderSize + payload) }

// EncodeListArea returns the encoding of an area, in dst's memory if it is long enough.
func EncodeListArea(dst []byte, id Identity, a *ListArea) ([]byte, error) {
	if a.Host == 0 || a.Revision == 0 || len(a.Payload) > MaxPayload {
		return nil, fmt.Errorf("encode list: host id %d and revision %d must not be 0, and %d bytes not more than %d", a.Host, a.Revision, len(a.Payload), MaxPayload)
	}
	b := grow(dst, ListAreaSize(len(a.Payload)))
	putHeader(b, magicList, &id)
	little.PutUint16(b[48:], uint16(a.Host))
	little.PutUint32(b[52:], uint32(len(a.Payload)))
	little.PutUint64(b[56:], a.Revision)
	copy(b[listHeaderSize:], a.Payload)
	seal(b)
	return b, nil
}

// ListAreaLength returns, from the first block of an area, how many bytes the
// area has. It is not to be relied on before DecodeListArea has accepted them.
func ListAreaLength(block []byte) int {
	if len(block) < listHeaderSize {
		return 0
	}
	return ListAreaSize(int(min(little.Uint32(block[52:]), MaxPayload)))
}

// DecodeListArea reads an area, of exactly the length it has. ok is false when
// there is none: the bytes are zeros, or too few to be one.
func DecodeListArea(raw []byte, id Identity, host HostID) (a ListArea, ok bool, err error) {
	what := fmt.Sprintf("power-on list of host %d", host)
	if len(raw) < BlockSize || isZero(raw[:8]) && isZero(raw) {
		return a, false, nil
	}
	if err := checkHeader(raw, magicList, &id); err != nil {
		return a, false, explain(err, what, raw)
	}
	length := int(little.Uint32(raw[52:]))
	if length > MaxPayload || ListAreaSize(length) != len(raw) || !isZero(raw[50:52]) || !isZero(raw[listHeaderSize+length:]) {
		return a, false, damaged(what, "payload of %d bytes in an area of %d", length, len(raw))
	}
	a = ListArea{Host: HostID(little.Uint16(raw[48:])), Revision: little.Uint64(raw[56:])}
	switch {
	case a.Host != host:
		return ListArea{}, false, fmt.Errorf("%s is %w: it is that of host %d", what, ErrMisplaced, a.Host)
	case a.Revision == 0:
		return ListArea{}, false, damaged(what, "revision 0")
	}
	a.Payload = append([]byte{}, raw[listHeaderSize:listHeaderSize+length]...)
	return a, true, nil
}
