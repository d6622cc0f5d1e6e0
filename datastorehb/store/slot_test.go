package store

import (
	"errors"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"storebeat/datastorehb"
)

// tearing is a hook that, when told to, lets a write reach the disk in part only.
type tearing struct {
	suffix  string // of the file's name
	sectors []bool // of the next write: which ones reach the disk; nil: all
}

func (k *tearing) wrap(fs FS) FS { return &tearingFS{fs, k} }

type tearingFS struct {
	FS
	k *tearing
}

func (f *tearingFS) Open(name string, flags int) (File, error) {
	file, err := f.FS.Open(name, flags)
	if err != nil || !strings.HasSuffix(name, f.k.suffix) {
		return file, err
	}
	return &tearingFile{file, f.k}, nil
}

type tearingFile struct {
	File
	k *tearing
}

func (f *tearingFile) WriteAt(b []byte, off int64) (int, error) {
	if f.k.sectors == nil {
		return f.File.WriteAt(b, off)
	}
	old := alignedBuffer(len(b))
	if _, err := readAll(f.File, old, off); err != nil {
		return 0, err
	}
	for i := 0; i < len(b); i += 512 {
		if f.k.sectors[i/512%len(f.k.sectors)] {
			copy(old[i:i+512], b[i:])
		}
	}
	if _, err := f.File.WriteAt(old, off); err != nil {
		return 0, err
	}
	return 0, unix.EIO
}

// TestTornWritesKeepTheOlderCopy writes slots and lists of which some are torn, over
// several incarnations. What is read is always the last value whose write completed,
// or a newer one.
func TestTornWritesKeepTheOlderCopy(t *testing.T) {
	f := newFixture(t)
	reader := f.open(2)
	for _, kind := range []string{"slot", "list"} {
		t.Run(kind, func(t *testing.T) {
			k := &tearing{suffix: map[string]string{"slot": regionFile, "list": "lists/1"}[kind]}
			want := f.expect(1)
			want.Wrap = k.wrap
			s := f.openAs(want)
			number, completed := uint64(0), uint64(0)
			write, read := accessTo(kind, reader)
			rapid.Check(t, func(t *rapid.T) {
				for range rapid.IntRange(1, 10).Draw(t, "writes") {
					k.sectors = nil
					if rapid.IntRange(0, 2).Draw(t, "torn") == 0 {
						k.sectors = rapid.SliceOfN(rapid.Bool(), 8, 8).Draw(t, "sectors")
					}
					number++
					if err := write(s, number); err == nil {
						completed = number
					} else if k.sectors == nil || !errors.Is(err, unix.EIO) {
						t.Fatal(err)
					}
					k.sectors = nil
					if got, err := read(); err != nil || got < completed {
						t.Fatalf("%d was written, and %d is read, %v", completed, got, err)
					}
				}
				if rapid.IntRange(0, 9).Draw(t, "restart") == 0 {
					s.Close()
					s = f.openAs(want)
				}
			})
			s.Close()
		})
	}
}

func accessTo(kind string, reader *Store) (write func(*Store, uint64) error, read func() (uint64, error)) {
	if kind == "slot" {
		return func(s *Store, n uint64) error {
				return s.WriteSlot(datastorehb.Slot{Writer: s.want.Writer, Sequence: n})
			}, func() (uint64, error) {
				r, err := reader.ReadSlot(1)
				return r.Slot.Sequence, err
			}
	}
	return func(s *Store, n uint64) error {
			return s.WriteList([]byte(strings.Repeat("x", int(n))), n)
		}, func() (uint64, error) {
			payload, state, err := reader.ReadList(1)
			if state == datastorehb.Absent || state == datastorehb.Corrupt {
				return 0, nil
			}
			return uint64(len(payload)), err
		}
}

func TestReadErrorsAreUnreadable(t *testing.T) {
	f := newFixture(t)
	fail := false
	s := f.openWith(1, func(op, name string, do func() error) error {
		if fail && op == "read" {
			return unix.EIO
		}
		return do()
	})
	res, err := s.Claim(s.term(1, 1))
	checkOutcome(t, "claim", res, err, datastorehb.ClaimWon)
	must(t, s.WriteList([]byte("x"), 1))
	fail = true
	if slots, err := s.ReadRegion(nil); !errors.Is(err, unix.EIO) || len(slots) != 0 {
		t.Errorf("ReadRegion: %d slots, %v", len(slots), err)
	}
	if r, err := s.ReadSlot(1); !errors.Is(err, unix.EIO) || r.State != datastorehb.Unreadable {
		t.Errorf("ReadSlot: %v, %v", r.State, err)
	}
	if _, state, err := s.Newest(datastorehb.TermsOf(1)); !errors.Is(err, unix.EIO) || state != datastorehb.Unreadable {
		t.Errorf("Newest: %v, %v", state, err)
	}
	if _, state, err := s.ReadList(1); !errors.Is(err, unix.EIO) || state != datastorehb.Unreadable {
		t.Errorf("ReadList: %v, %v", state, err)
	}
	if err := s.CheckIdentity(); !errors.Is(err, unix.EIO) {
		t.Errorf("CheckIdentity: %v", err)
	}
	if _, err := s.ReadSlot(9); err == nil {
		t.Error("a slot beyond the region was read")
	}
}

func TestWithoutDirectIO(t *testing.T) {
	for name, h := range map[string]hook{
		"refused when opened": func(op, _ string, do func() error) error {
			if op == "open-direct" {
				return unix.EINVAL
			}
			return do()
		},
		"refused when read": func() hook {
			reads := 0
			return func(op, name string, do func() error) error {
				if op == "read" && name == regionFile {
					if reads++; reads == 1 {
						return unix.EINVAL
					}
				}
				return do()
			}
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			s := f.openWith(1, h)
			if s.Direct() {
				t.Error("direct I/O is claimed")
			}
			must(t, s.WriteSlot(datastorehb.Slot{Writer: writer(1), Sequence: 1}))
			must(t, s.WriteList([]byte("x"), 1))
			res, err := s.Claim(s.term(1, 1))
			checkOutcome(t, "claim", res, err, datastorehb.ClaimWon)
			if r, err := s.ReadSlot(1); err != nil || r.State != datastorehb.Valid {
				t.Errorf("%v, %v", r.State, err)
			}
		})
	}
}

func TestAlignedBuffer(t *testing.T) {
	for n := datastorehb.BlockSize; n < 100*datastorehb.BlockSize; n += 3 * datastorehb.BlockSize {
		b := alignedBuffer(n)
		if at := uintptr(unsafe.Pointer(&b[0])); at%datastorehb.BlockSize != 0 || len(b) != n || cap(b) != n {
			t.Fatalf("%d bytes at %x, capacity %d", len(b), at, cap(b))
		}
	}
}

// TestEveryBufferIsAligned watches what reaches the file system: the ones used in
// tests do not complain about buffers that others would refuse.
func TestEveryBufferIsAligned(t *testing.T) {
	f := newFixture(t)
	want := f.expect(1)
	want.Wrap = func(fs FS) FS { return &alignmentFS{fs, t} }
	s := f.openAs(want)
	must(t, s.WriteSlot(datastorehb.Slot{Writer: writer(1), Sequence: 1}))
	for i, size := range []int{1, 5000, 20_000} {
		must(t, s.WriteList(make([]byte, size), uint64(i+1)))
		_, _, err := s.ReadList(1)
		must(t, err)
		rec := s.term(uint64(i+1), 1)
		rec.Payload = make([]byte, size)
		res, err := s.Claim(rec)
		checkOutcome(t, "claim", res, err, datastorehb.ClaimWon)
	}
	_, err := s.ReadRegion(nil)
	must(t, err)
	must(t, s.CheckIdentity())
}

type alignmentFS struct {
	FS
	t *testing.T
}

func (f *alignmentFS) Open(name string, flags int) (File, error) {
	file, err := f.FS.Open(name, flags)
	if err != nil || flags&unix.O_DIRECT == 0 {
		return file, err
	}
	return &alignmentFile{file, name, f.t}, nil
}

type alignmentFile struct {
	File
	name string
	t    *testing.T
}

func (f *alignmentFile) check(b []byte, off int64) {
	if at := uintptr(unsafe.Pointer(&b[0])); at%datastorehb.BlockSize != 0 || len(b)%datastorehb.BlockSize != 0 || off%datastorehb.BlockSize != 0 {
		f.t.Errorf("%s: %d bytes at %x, offset %d", f.name, len(b), at, off)
	}
}

func (f *alignmentFile) ReadAt(b []byte, off int64) (int, error) {
	f.check(b, off)
	return f.File.ReadAt(b, off)
}

func (f *alignmentFile) WriteAt(b []byte, off int64) (int, error) {
	f.check(b, off)
	return f.File.WriteAt(b, off)
}

// TestOpenWaitsForWritesOfAForerunner makes sure of the one ordinary read of the
// region after its opening: it is what makes Linux wait (R1).
func TestOpenWaitsForWritesOfAForerunner(t *testing.T) {
	f := newFixture(t)
	want := f.expect(1)
	seen := &ordinaryReads{}
	want.Wrap = func(fs FS) FS { seen.FS = fs; return seen }
	s := f.openAs(want)
	if s.Direct() && seen.count == 0 {
		t.Error("the region was never read through the page cache")
	}
}

// ordinaryReads counts reads of the region that are not direct.
type ordinaryReads struct {
	FS
	count int
}

func (f *ordinaryReads) Open(name string, flags int) (File, error) {
	file, err := f.FS.Open(name, flags)
	if err != nil || name != regionFile || flags&unix.O_DIRECT != 0 {
		return file, err
	}
	return &ordinaryReader{file, f}, nil
}

type ordinaryReader struct {
	File
	fs *ordinaryReads
}

func (f *ordinaryReader) ReadAt(b []byte, off int64) (int, error) {
	f.fs.count++
	return f.File.ReadAt(b, off)
}
