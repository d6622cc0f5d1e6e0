package store

import (
	"fmt"
	"sync"

	"storebeat/datastorehb"
)

// slotWriter remembers what the own slot looks like on the datastore.
type slotWriter struct {
	mu       sync.Mutex // held during the write: one at a time (R1)
	buf      []byte     // the slot as it was last written
	keep     int        // the half that is known to be whole, -1 while none is
	sequence uint64     // the highest that was ever written, or tried
}

// WriteSlot writes the own slot with one operation. When it has returned without
// an error, every reader finds s or something newer.
//
// A write that failed may have changed the half it went to, wholly or partly, and
// the other half not at all. So the next one goes to the same half again: the copy
// beside it stays the newest one whose write is known to have completed.
func (s *Store) WriteSlot(slot datastorehb.Slot) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	w := &s.slot
	if !w.mu.TryLock() {
		return fmt.Errorf("write slot %d of %s: %w", slot.Host, s.path, ErrBusy)
	}
	defer w.mu.Unlock()
	if slot.Writer != s.want.Writer {
		return fmt.Errorf("write slot %d of %s: it is not the slot of host %d under incarnation %x", slot.Host, s.path, s.want.Writer.Host, s.want.Writer.Incarnation)
	}
	if err := s.recallSlot(); err != nil {
		return err
	}
	if slot.Sequence <= w.sequence {
		return fmt.Errorf("write slot %d of %s: sequence %d is not above %d, which was written before", slot.Host, s.path, slot.Sequence, w.sequence)
	}
	half, err := datastorehb.EncodeSlot(w.buf, s.written(), &slot, w.keep)
	if err != nil {
		return fmt.Errorf("write slot of %s: %w", s.path, err)
	}
	w.sequence = slot.Sequence
	if _, err := s.region.WriteAt(w.buf, slotOffset(slot.Host)); err != nil {
		return fmt.Errorf("write slot %d of %s: %w", slot.Host, s.path, err)
	}
	w.keep = half
	return nil
}

// recallSlot reads what a forerunner left, before the first write.
func (s *Store) recallSlot() error {
	w := &s.slot
	if w.buf != nil {
		return nil
	}
	host := s.want.Writer.Host
	buf := alignedBuffer(datastorehb.SlotSize)
	if err := s.readBlock(buf, host); err != nil {
		return err
	}
	w.buf, w.keep = buf, datastorehb.SlotHalf(buf, s.id, host)
	w.sequence = datastorehb.DecodeSlot(buf, s.id, host).Slot.Sequence
	return nil
}

func slotOffset(h datastorehb.HostID) int64 { return int64(h) * datastorehb.SlotSize }

func (s *Store) readBlock(buf []byte, h datastorehb.HostID) error {
	n, err := s.region.ReadAt(buf, slotOffset(h))
	if n < len(buf) {
		return fmt.Errorf("read slot %d of %s: %d bytes instead of %d: %w", h, s.path, n, len(buf), err)
	}
	return nil
}

// ReadSlot reads the slot of one host.
func (s *Store) ReadSlot(h datastorehb.HostID) (datastorehb.SlotReading, error) {
	unread := datastorehb.SlotReading{Host: h}
	if h == 0 || int(h) > s.id.Capacity {
		return unread, fmt.Errorf("read slot %d of %s: it has slots 1 to %d", h, s.path, s.id.Capacity)
	}
	if err := s.enter(); err != nil {
		return unread, err
	}
	defer s.leave()
	buf := alignedBuffer(datastorehb.SlotSize)
	if err := s.readBlock(buf, h); err != nil {
		return unread, err
	}
	return datastorehb.DecodeSlot(buf, s.id, h), nil
}

type regionReader struct {
	mu  sync.Mutex
	buf []byte
}

// ReadRegion reads all slots with one operation. The reading of host h is at
// index h-1; dst's memory is used again, as DecodeRegion says.
func (s *Store) ReadRegion(dst []datastorehb.SlotReading) ([]datastorehb.SlotReading, error) {
	if err := s.enter(); err != nil {
		return dst[:0], err
	}
	defer s.leave()
	return s.readRegion(dst)
}

func (s *Store) readRegion(dst []datastorehb.SlotReading) ([]datastorehb.SlotReading, error) {
	if !s.whole.mu.TryLock() {
		return dst[:0], fmt.Errorf("read the region of %s: %w", s.path, ErrBusy)
	}
	defer s.whole.mu.Unlock()
	if s.whole.buf == nil {
		s.whole.buf = alignedBuffer(s.id.RegionSize())
	}
	raw, err := readAll(s.region, s.whole.buf, 0)
	if err != nil {
		return dst[:0], fmt.Errorf("read the region of %s: %w", s.path, err)
	}
	slots, err := datastorehb.DecodeRegion(raw, s.id, dst)
	if err != nil {
		return slots, fmt.Errorf("read the region of %s: %w", s.path, err)
	}
	return slots, nil
}
