package poweron

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"storebeat/datastorehb"
)

// MaxListed is the most machines that one power-on list holds.
const MaxListed = 4096

const (
	listMagic  = "SBPL"
	listHeader = 72
	listedSize = 32

	listIsolated = 1 << 0 // in the list's flags
	listedFrozen = 1 << 0 // in a machine's flags
)

// MaxListSize is the longest encoded power-on list, in bytes.
const MaxListSize = listHeader + MaxListed*listedSize

// EncodeList returns the list in the form of docs/format.md, at a feature level. The machines must be
// sorted by VM, each of them once.
func EncodeList(l List, level uint16) ([]byte, error) {
	if err := errors.Join(checkList(l), datastorehb.CheckLevel(level)); err != nil {
		return nil, fmt.Errorf("encode power-on list: %w", err)
	}
	b := appendHeader(make([]byte, 0, listHeader+len(l.Machines)*listedSize), listMagic, level)
	b = order.AppendUint16(b, uint16(l.Writer.Host))
	b = order.AppendUint16(b, uint16(bit(l.Isolated, listIsolated)))
	b = order.AppendUint32(b, uint32(len(l.Machines)))
	b = append(b, l.Writer.Machine[:]...)
	b = append(b, l.Writer.Boot[:]...)
	b = order.AppendUint64(b, l.Writer.Incarnation)
	b = order.AppendUint64(b, l.Revision)
	b = order.AppendUint64(b, l.Term)
	for _, m := range l.Machines {
		b = append(b, m.VM[:]...)
		b = order.AppendUint64(b, m.Generation)
		b = append(b, bit(m.Frozen, listedFrozen), 0, 0, 0, 0, 0, 0, 0)
	}
	return b, nil
}

// DecodeList reads a list in the form of docs/format.md. It accepts exactly what
// EncodeList returns.
func DecodeList(b []byte) (List, error) {
	l, err := decodeList(b)
	if err == nil {
		err = checkList(l)
	}
	if err != nil {
		return List{}, fmt.Errorf("decode power-on list: %w", err)
	}
	return l, nil
}

func decodeList(b []byte) (List, error) {
	if err := checkHeader(b, listMagic, listHeader); err != nil {
		return List{}, err
	}
	flags, count := order.Uint16(b[10:]), order.Uint32(b[12:])
	if flags&^listIsolated != 0 {
		return List{}, fmt.Errorf("unknown flags %#x: it is damaged", flags)
	}
	if count > MaxListed {
		return List{}, fmt.Errorf("%d machines, and at most %d are allowed", count, MaxListed)
	}
	if want := listHeader + int(count)*listedSize; len(b) != want {
		return List{}, fmt.Errorf("%d bytes, and %d machines take %d: it is cut off or damaged", len(b), count, want)
	}
	l := List{
		Writer: datastorehb.Writer{
			Host: datastorehb.HostID(order.Uint16(b[8:])), Machine: uuid.UUID(b[16:32]),
			Boot: uuid.UUID(b[32:48]), Incarnation: order.Uint64(b[48:]),
		},
		Revision: order.Uint64(b[56:]), Term: order.Uint64(b[64:]), Isolated: flags&listIsolated != 0,
	}
	return l, decodeListed(&l, b[listHeader:], int(count))
}

func decodeListed(l *List, b []byte, count int) error {
	if count > 0 {
		l.Machines = make([]Listed, 0, count)
	}
	for ; len(b) > 0; b = b[listedSize:] {
		m := Listed{VM: uuid.UUID(b[:16]), Generation: order.Uint64(b[16:]), Frozen: b[24]&listedFrozen != 0}
		if b[24]&^listedFrozen != 0 {
			return fmt.Errorf("machine %s has unknown flags %#x: the list is damaged", m.VM, b[24])
		}
		if err := zero("machine "+m.VM.String(), b[25:listedSize]); err != nil {
			return err
		}
		l.Machines = append(l.Machines, m)
	}
	return nil
}

func checkList(l List) error {
	switch {
	case l.Writer.Host == 0:
		return errors.New("host 0 as its writer: a host's id is 1 or more")
	case l.Writer.Incarnation == 0:
		return errors.New("incarnation 0 of its writer: it is never 0")
	case l.Revision == 0:
		return errors.New("revision 0: the first is 1")
	case len(l.Machines) > MaxListed:
		return fmt.Errorf("%d machines, and at most %d are allowed: run some of them on other hosts", len(l.Machines), MaxListed)
	}
	last := noVM
	for _, m := range l.Machines {
		if bytes.Compare(m.VM[:], last[:]) <= 0 {
			return fmt.Errorf("machine %s stands after %s: list each machine once, sorted by UUID", m.VM, last)
		}
		if m.Generation == 0 {
			return fmt.Errorf("machine %s has generation 0: the first is 1", m.VM)
		}
		last = m.VM
	}
	return nil
}

func bit(set bool, mask byte) byte {
	if set {
		return mask
	}
	return 0
}
