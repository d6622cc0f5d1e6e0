package datastorehb

import (
	"fmt"
	"hash/crc64"

	"github.com/google/uuid"
)

// A slot holds two copies, one in each half. Offsets within one copy:
const (
	halfSize     = SlotSize / 2
	offSequence  = 96
	offTerm      = 104
	offFlags     = 112
	offMaster    = 116
	offCount     = 118
	offRevision  = 120
	offVouches   = 128
	offCustody   = 2000
	offLeaveWall = 2008
	offLeaveUser = 2016
	offLeaveBy   = 2020
	offLevels    = 2032
	vouchSize    = 34
)

// A copy fits its half, and no further vouch would.
const (
	_ = uint(offCustody - offVouches - MaxVouches*vouchSize)
	_ = uint(offVouches + (MaxVouches+1)*vouchSize - offCustody - 1)
)

// EncodeRegionHeader fills dst, SlotSize bytes, with slot 0 of a region.
func EncodeRegionHeader(dst []byte, id Identity) {
	clear(dst[:SlotSize])
	putHeader(dst, magicRegion, &id)
	little.PutUint32(dst[headerSize:], uint32(id.Capacity))
	seal(dst[:SlotSize])
}

func checkRegionHeader(b []byte, id *Identity) error {
	const what = "heartbeat region"
	if err := checkHeader(b, magicRegion, id); err != nil {
		return explain(err, what, b)
	}
	if c := little.Uint32(b[headerSize:]); int(c) != id.Capacity || !isZero(b[headerSize+4:]) {
		return damaged(what, "header names %d slots, the identity %d", c, id.Capacity)
	}
	return nil
}

// EncodeSlot puts s into the half of dst that is not keep, and leaves the half
// keep as it is; dst is SlotSize bytes and holds what was last written. keep is
// the half with the newest copy whose write is known to have completed, or -1
// while there is none: then the other half is zeroed. It returns the half into
// which s went, which is the next keep if, and only if, the write completes.
func EncodeSlot(dst []byte, id Identity, s *Slot, keep int) (half int, err error) {
	if err := checkSlot(s); err != nil {
		return 0, err
	}
	switch keep {
	case 0:
		half = 1
	case 1:
	default:
		clear(dst[:SlotSize])
	}
	encodeCopy(dst[half*halfSize:(half+1)*halfSize], &id, s)
	return half, nil
}

func checkSlot(s *Slot) error {
	if err := checkWriter(&s.Writer); err != nil {
		return fmt.Errorf("encode slot: %w", err)
	}
	if !s.Levels.wellFormed() {
		return fmt.Errorf("encode slot: %v are no feature levels", s.Levels)
	}
	if s.Sequence == 0 || len(s.Vouches) > MaxVouches {
		return fmt.Errorf("encode slot: sequence %d must not be 0 and %d vouches not more than %d", s.Sequence, len(s.Vouches), MaxVouches)
	}
	if s.Leave.By == 0 && s.Leave != (Leave{}) {
		return fmt.Errorf("encode slot: user %d and time %d of a leave without a cause", s.Leave.User, s.Leave.Wall)
	}
	for i := range s.Vouches {
		if s.Vouches[i].Host == 0 {
			return fmt.Errorf("encode slot: vouch %d is for host 0", i)
		}
	}
	return nil
}

func encodeCopy(b []byte, id *Identity, s *Slot) {
	clear(b)
	putHeader(b, magicSlot, id)
	putWriter(b[headerSize:], &s.Writer)
	little.PutUint64(b[offSequence:], s.Sequence)
	little.PutUint64(b[offTerm:], s.Term)
	little.PutUint32(b[offFlags:], uint32(s.Flags))
	little.PutUint16(b[offMaster:], uint16(s.Master))
	little.PutUint16(b[offCount:], uint16(len(s.Vouches)))
	little.PutUint64(b[offRevision:], s.Revision)
	little.PutUint16(b[offLevels:], s.Levels.Lowest)
	little.PutUint16(b[offLevels+2:], s.Levels.Highest)
	little.PutUint64(b[offCustody:], s.Custody)
	b[offLeaveBy] = byte(s.Leave.By)
	little.PutUint32(b[offLeaveUser:], s.Leave.User)
	little.PutUint64(b[offLeaveWall:], uint64(s.Leave.Wall))
	at := b[offVouches:]
	for i := range s.Vouches {
		v := &s.Vouches[i]
		little.PutUint16(at, uint16(v.Host))
		copy(at[2:18], v.Boot[:])
		little.PutUint64(at[18:], v.Incarnation)
		little.PutUint64(at[26:], v.Sequence)
		at = at[vouchSize:]
	}
	seal(b)
}

// DecodeSlot reads the slot of one host, SlotSize bytes.
func DecodeSlot(raw []byte, id Identity, host HostID) SlotReading {
	var r SlotReading
	decodeSlot(&r, raw, &id, host)
	return r
}

// SlotHalf returns the half in which the copy stands that DecodeSlot returns, -1
// if there is no valid one.
func SlotHalf(raw []byte, id Identity, host HostID) int {
	half, _ := newestHalf(raw, &id, host)
	return half
}

// decodeSlot fills r, and uses the memory of its vouches again.
func decodeSlot(r *SlotReading, raw []byte, id *Identity, host HostID) {
	vouches := r.Slot.Vouches[:0]
	*r = SlotReading{Host: host}
	r.Slot.Vouches = vouches[:0:cap(vouches)]
	if len(raw) == SlotSize && isZero(raw) {
		r.State, r.Slot.Vouches = Absent, nil
		return
	}
	half, err := newestHalf(raw, id, host)
	if err != nil {
		r.State, r.Why, r.Slot.Vouches = Corrupt, err.Error(), nil
		r.Sum = crc64.Checksum(raw, ecma)
		return
	}
	r.State = Valid
	decodeCopy(&r.Slot, raw[half*halfSize:(half+1)*halfSize])
}

// newestHalf returns the half with the newest valid copy. A damaged half beside a
// valid one is the trace of a torn write and does no harm. A whole half that is
// foreign does: the valid copy beside it may be older than it looks.
func newestHalf(raw []byte, id *Identity, host HostID) (half int, err error) {
	if len(raw) != SlotSize {
		return -1, ErrDamaged
	}
	half = -1
	var newest uint64
	for i := range 2 {
		b := raw[i*halfSize : (i+1)*halfSize]
		switch err := checkCopy(b, id, host); err {
		case nil:
			if s := little.Uint64(b[offSequence:]); s > newest {
				half, newest = i, s
			}
		case ErrDamaged:
		default:
			return -1, err
		}
	}
	if half < 0 {
		return -1, ErrDamaged
	}
	return half, nil
}

func checkCopy(b []byte, id *Identity, host HostID) error {
	if err := checkHeader(b, magicSlot, id); err != nil {
		return err
	}
	count := int(little.Uint16(b[offCount:]))
	end := offVouches + count*vouchSize
	switch {
	case !writerWellFormed(b[headerSize:]), little.Uint64(b[offSequence:]) == 0, count > MaxVouches,
		!isZero(b[end:offCustody]), !isZero(b[offLeaveBy+1 : offLevels]), !isZero(b[offLevels+4:]), !getLevels(b).wellFormed(),
		b[offLeaveBy] == 0 && !isZero(b[offLeaveWall:offLevels]):
		return ErrDamaged
	case HostID(little.Uint16(b[headerSize:])) != host:
		return ErrMisplaced
	}
	for at := offVouches; at < end; at += vouchSize {
		if little.Uint16(b[at:]) == 0 {
			return ErrDamaged
		}
	}
	return nil
}

func getLevels(b []byte) Levels {
	return Levels{Lowest: little.Uint16(b[offLevels:]), Highest: little.Uint16(b[offLevels+2:])}
}

// decodeCopy fills s from a copy that was checked.
func decodeCopy(s *Slot, b []byte) {
	s.Writer = getWriter(b[headerSize:])
	s.Sequence = little.Uint64(b[offSequence:])
	s.Term = little.Uint64(b[offTerm:])
	s.Flags = SlotFlags(little.Uint32(b[offFlags:]))
	s.Master = HostID(little.Uint16(b[offMaster:]))
	s.Revision = little.Uint64(b[offRevision:])
	s.Levels = getLevels(b)
	s.Custody = little.Uint64(b[offCustody:])
	s.Leave = Leave{By: LeaveCause(b[offLeaveBy]), User: little.Uint32(b[offLeaveUser:]), Wall: int64(little.Uint64(b[offLeaveWall:]))}
	at := b[offVouches:]
	for range little.Uint16(b[offCount:]) {
		s.Vouches = append(s.Vouches, Vouch{
			Host:        HostID(little.Uint16(at)),
			Boot:        uuid.UUID(at[2:18]),
			Incarnation: little.Uint64(at[18:]),
			Sequence:    little.Uint64(at[26:]),
		})
		at = at[vouchSize:]
	}
}

// DecodeRegion reads all slots of a region: the reading of host h is at index
// h-1. The readings go into dst, and the memory of the readings and vouches that
// dst held is used again, so whoever keeps a reading longer must copy it. An
// error means that nothing follows from the read.
func DecodeRegion(raw []byte, id Identity, dst []SlotReading) ([]SlotReading, error) {
	if len(raw) != id.RegionSize() {
		return dst[:0], damaged("heartbeat region", "%d bytes instead of %d", len(raw), id.RegionSize())
	}
	if err := checkRegionHeader(raw[:SlotSize], &id); err != nil {
		return dst[:0], err
	}
	if cap(dst) < id.Capacity {
		dst = make([]SlotReading, id.Capacity)
	}
	dst = dst[:id.Capacity]
	for i := range dst {
		at := (i + 1) * SlotSize
		decodeSlot(&dst[i], raw[at:at+SlotSize], &id, HostID(i+1))
	}
	return dst, nil
}
