package store

import (
	"errors"
	"fmt"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"storebeat/datastorehb"
)

const (
	// areaOffset is where the second area of a list begins: beyond the longest first one.
	areaOffset = 2 << 20
	// areaAllocated bytes of each area are allocated when the file is made.
	areaAllocated = 16 << 10
)

func listName(h datastorehb.HostID) string { return listsDir + "/" + strconv.Itoa(int(h)) }

// listWriter remembers what the own list looks like on the datastore.
type listWriter struct {
	mu       sync.Mutex // held during the write
	file     File
	keep     int    // the area that is known to be whole, -1 while none is
	revision uint64 // the highest that was ever written, or tried
}

func (w *listWriter) close() {
	if w.file != nil {
		w.file.Close()
	}
}

// WriteList replaces the own power-on list. The revision must be higher than
// every one before. When it has returned without an error the list is durable; when
// not, readers find this list or the one before.
func (s *Store) WriteList(payload []byte, revision uint64) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	w := &s.list
	if !w.mu.TryLock() {
		return fmt.Errorf("write the power-on list on %s: %w", s.path, ErrBusy)
	}
	defer w.mu.Unlock()
	if err := s.writeList(payload, revision); err != nil {
		return fmt.Errorf("write the power-on list on %s: %w", s.path, err)
	}
	return nil
}

func (s *Store) writeList(payload []byte, revision uint64) error {
	w := &s.list
	if err := s.openList(); err != nil {
		return err
	}
	if revision <= w.revision {
		return fmt.Errorf("revision %d is not above %d, which was written before", revision, w.revision)
	}
	a := datastorehb.ListArea{Host: s.want.Writer.Host, Revision: revision, Payload: payload}
	raw, err := datastorehb.EncodeListArea(alignedBuffer(datastorehb.ListAreaSize(min(len(payload), datastorehb.MaxPayload))), s.written(), &a)
	if err != nil {
		return err
	}
	area := 0
	if w.keep == 0 {
		area = 1
	}
	w.revision = revision
	if _, err := w.file.WriteAt(raw, int64(area)*areaOffset); err != nil {
		return err
	}
	if err := w.file.Sync(); err != nil {
		return err
	}
	w.keep = area
	return nil
}

// openList opens the own list for good, and makes it if there is none. It goes
// on from what a forerunner wrote.
func (s *Store) openList() error {
	w := &s.list
	if w.file != nil {
		return nil
	}
	name := listName(s.want.Writer.Host)
	f, err := s.openLikeRegion(name, unix.O_RDWR|unix.O_DSYNC)
	if isAbsent(err) {
		f, err = s.makeList(name)
	}
	if err != nil {
		return err
	}
	newest, area, err := s.readAreas(f, s.want.Writer.Host)
	if err != nil && !refused(err) {
		f.Close()
		return err
	}
	w.file, w.keep, w.revision = f, area, newest.Revision
	return nil
}

// reserveList makes the own list, empty, if there is none. The first one would
// need space else: a host that takes over its first machine on a full datastore
// could not list it, and so never start it.
func (s *Store) reserveList() error {
	name := listName(s.want.Writer.Host)
	f, err := s.openLikeRegion(name, unix.O_RDONLY)
	if isAbsent(err) {
		f, err = s.makeList(name)
	}
	if err != nil {
		return err
	}
	return f.Close()
}

func (s *Store) makeList(name string) (File, error) {
	if err := s.stillThere(listsDir); err != nil {
		return nil, err
	}
	f, err := s.openLikeRegion(name, unix.O_RDWR|unix.O_DSYNC|unix.O_CREAT)
	if err != nil {
		return nil, err
	}
	zeros := alignedBuffer(areaAllocated)
	for _, off := range []int64{0, areaOffset} {
		if _, err := f.WriteAt(zeros, off); err != nil {
			f.Close()
			return nil, err
		}
	}
	if err := errors.Join(f.Sync(), s.fs.SyncDir(listsDir)); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// ReadList reads the power-on list of a host: the newest whole one.
func (s *Store) ReadList(h datastorehb.HostID) ([]byte, datastorehb.ReadState, error) {
	if err := s.enter(); err != nil {
		return nil, datastorehb.Unreadable, err
	}
	defer s.leave()
	f, err := s.openLikeRegion(listName(h), unix.O_RDONLY)
	if isAbsent(err) {
		if err := s.stillThere(listsDir); err != nil {
			return nil, datastorehb.Unreadable, fmt.Errorf("read the power-on list of host %d: %w", h, err)
		}
		return nil, datastorehb.Absent, nil
	}
	if err != nil {
		return nil, datastorehb.Unreadable, fmt.Errorf("read the power-on list of host %d on %s: %w", h, s.path, err)
	}
	defer f.Close()
	newest, area, err := s.readAreas(f, h)
	switch {
	case area >= 0:
		return newest.Payload, datastorehb.Valid, nil
	case err == nil:
		return nil, datastorehb.Absent, nil
	case refused(err):
		return nil, datastorehb.Corrupt, fmt.Errorf("read from %s: %w", s.path, err)
	}
	return nil, datastorehb.Unreadable, fmt.Errorf("read the power-on list of host %d on %s: %w", h, s.path, err)
}

// readAreas returns the newer of the two areas and its index, -1 if there is
// none; the error says why. A damaged area beside a whole one is the trace of a
// torn write. One of another cluster or a newer version is not: the list beside
// it may be older than it looks.
func (s *Store) readAreas(f File, h datastorehb.HostID) (newest datastorehb.ListArea, area int, why error) {
	area = -1
	for i := range 2 {
		raw, err := readGrowing(f, int64(i)*areaOffset, areaAllocated, datastorehb.ListAreaLength)
		if err != nil {
			return datastorehb.ListArea{}, -1, err
		}
		a, ok, refusal := datastorehb.DecodeListArea(raw[:min(len(raw), datastorehb.ListAreaLength(raw))], s.id, h)
		if refusal != nil && !errors.Is(refusal, datastorehb.ErrDamaged) {
			return datastorehb.ListArea{}, -1, refusal
		}
		if refusal != nil {
			why = refusal
		}
		if ok && a.Revision > newest.Revision {
			newest, area = a, i
		}
	}
	if area >= 0 {
		why = nil
	}
	return newest, area, why
}

// refused reports whether bytes were read, and the decoder did not accept them.
func refused(err error) bool {
	for _, e := range []error{datastorehb.ErrDamaged, datastorehb.ErrForeignCluster, datastorehb.ErrOtherDatastore, datastorehb.ErrFutureVersion, datastorehb.ErrMisplaced} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
