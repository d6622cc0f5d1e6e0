package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"storebeat/datastorehb"
)

var (
	// ErrClosed means that the store was closed.
	ErrClosed = errors.New("store is closed")
	// ErrBusy means that an earlier call of the same kind has not returned yet.
	ErrBusy = errors.New("an earlier operation of this kind has not returned")
)

// Expect says which datastore is to be opened, and for whom.
type Expect struct {
	Cluster   uuid.UUID
	Datastore uuid.UUID
	Writer    datastorehb.Writer
	LockDir   string // a directory of this host's, for the lock that R1 asks for

	// Level, if set, tells at which feature level to write. Without it that is the
	// level at which the datastore was made. It is called from several goroutines.
	Level func() uint16

	// Wrap, if set, puts something between the store and the file system. It is
	// there for tests, which let operations fail, hang or lose their replies.
	Wrap func(FS) FS
}

// Store is one open datastore. Its methods may be called at the same time, each
// from the worker of its own purpose.
type Store struct {
	path   string
	id     datastorehb.Identity
	want   Expect
	count  Counter
	fs     FS
	dir    Stat // of the cluster's directory, as it was opened
	lock   *hostLock
	region File
	direct bool

	slot  slotWriter
	whole regionReader
	list  listWriter
	ready readyFiles

	mu     sync.Mutex
	calls  int // under way
	closed bool
}

// Open opens a datastore that is exactly the one wanted, or says in which way it
// is not. It takes the lock that keeps two agents of one host apart, removes the
// claim files of this host's forerunners, and makes a few of its own.
func Open(path string, want Expect) (*Store, error) {
	if want.Datastore == uuid.Nil || want.Writer.Host == 0 || want.Writer.Incarnation == 0 {
		return nil, fmt.Errorf("open datastore %s: its UUID %s, host id %d and incarnation %d must be given", path, want.Datastore, want.Writer.Host, want.Writer.Incarnation)
	}
	lock, err := acquireLock(want.LockDir, want.Datastore)
	if err != nil {
		return nil, err
	}
	s := &Store{path: path, want: want, lock: lock}
	if err := s.open(); err != nil {
		s.release()
		return nil, err
	}
	return s, nil
}

func (s *Store) open() (err error) {
	if s.fs, s.id, err = openIdentified(s.path, s.want.Cluster, s.wrap); err != nil {
		return err
	}
	if s.id.Datastore != s.want.Datastore {
		return fmt.Errorf("%w: %s holds %s (%q), not %s; mount the right one, or write the UUID of this one into the configuration", ErrReplaced, s.path, s.id.Datastore, s.id.Name, s.want.Datastore)
	}
	if int(s.want.Writer.Host) > s.id.Capacity {
		return fmt.Errorf("open datastore %s: it has room for host ids up to %d, and this host has %d", s.path, s.id.Capacity, s.want.Writer.Host)
	}
	if s.dir, err = s.fs.Stat("."); err != nil {
		return fmt.Errorf("open datastore %s: %w", s.path, err)
	}
	if err := s.openRegion(); err != nil {
		return err
	}
	if err := s.drain(); err != nil {
		return fmt.Errorf("open datastore %s: wait for writes of an earlier agent: %w", s.path, err)
	}
	return s.prepare()
}

// drain waits for writes of a forerunner that are still on their way. The lock
// says that its last thread is gone; but a thread that is killed while it waits for
// a direct write over NFS leaves at once, and its write goes on without it and
// could put an older slot back later (R1). Linux lets an ordinary read of a file
// begin only when this client's direct writes to that file have ended.
func (s *Store) drain() error {
	if !s.direct {
		return nil
	}
	f, err := s.fs.Open(regionFile, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.ReadAt(alignedBuffer(datastorehb.BlockSize), 0)
	return err
}

// prepare makes what a claim, and the list that must be durable before a start,
// need on a full datastore. Not having it is no reason to refuse the datastore: the
// claim or the list itself will say what is wrong.
func (s *Store) prepare() error {
	if err := s.removeStale(); err != nil {
		return fmt.Errorf("open datastore %s: remove claim files of an earlier agent: %w", s.path, err)
	}
	_ = s.makeDirs(datastorehb.TermsOf(s.want.Writer.Host))
	_ = s.refill(readyAtOpen)
	_ = s.reserveList()
	return nil
}

func (s *Store) wrap(fs FS) FS {
	if s.want.Wrap != nil {
		fs = s.want.Wrap(fs)
	}
	return &countingFS{fs, &s.count}
}

// written is the identity that goes into the header of what is written now.
func (s *Store) written() datastorehb.Identity {
	id := s.id
	if s.want.Level != nil {
		id.Level = s.want.Level()
	}
	return id
}

// Identity returns which datastore this is.
func (s *Store) Identity() datastorehb.Identity { return s.id }

// Path returns where the datastore is mounted.
func (s *Store) Path() string { return s.path }

// Counter counts the store's operations since it was opened.
func (s *Store) Counter() *Counter { return &s.count }

// Direct reports whether the heartbeat region is read and written past the page
// cache. On a network file system that is needed to see what other hosts write.
func (s *Store) Direct() bool { return s.direct }

// CheckIdentity finds out whether the path still leads to what is open here: it
// notices a datastore that was deleted, replaced, restored over, unmounted lazily
// or mounted over. All of them leave reads and writes of open files working.
func (s *Store) CheckIdentity() error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	fs, id, err := openIdentified(s.path, s.want.Cluster, s.wrap)
	if errors.Is(err, ErrNotInitialised) {
		return fmt.Errorf("%w: %s of %s (%q); bring it back as it was, and don't initialise it again", ErrGone, filepath.Join(s.path, rootDir), s.id.Datastore, s.id.Name)
	}
	if err != nil {
		return err
	}
	defer fs.Close()
	if id != s.id {
		return fmt.Errorf("%w: %s now holds %s (%q), not %s", ErrReplaced, s.path, id.Datastore, id.Name, s.id.Datastore)
	}
	dir, err := fs.Stat(".")
	if err != nil {
		return fmt.Errorf("check datastore %s: %w", s.path, err)
	}
	if !dir.same(s.dir) {
		return fmt.Errorf("%w: %s is another directory than the one opened; was it restored, or mounted anew?", ErrReplaced, filepath.Join(s.path, rootDir, s.id.Cluster.String()))
	}
	return s.checkRegionFile()
}

func (s *Store) checkRegionFile() error {
	named, err := s.fs.Stat(regionFile)
	if isAbsent(err) {
		return fmt.Errorf("%w: the heartbeat region of %s is gone", ErrEmptied, s.path)
	}
	if err != nil {
		return fmt.Errorf("check datastore %s: %w", s.path, err)
	}
	open, err := s.region.Stat()
	if err != nil {
		return fmt.Errorf("check datastore %s: %w", s.path, err)
	}
	if !open.same(named) {
		return fmt.Errorf("%w: the heartbeat region of %s is another file than the one opened", ErrReplaced, s.path)
	}
	return nil
}

// stillThere tells a name that is absent from a datastore that is gone.
func (s *Store) stillThere(top string) error {
	for _, name := range []string{identityFile, top} {
		if _, err := s.fs.Stat(name); isAbsent(err) {
			return fmt.Errorf("%w: %s is gone from %s", ErrEmptied, name, s.path)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// Close lets go of the datastore, and of the local lock as soon as the last
// call under way has returned: a write that still hangs must not be overtaken by
// those of the next agent (R1).
func (s *Store) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	if s.calls == 0 {
		s.release()
	}
}

func (s *Store) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.calls++
	return nil
}

func (s *Store) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls--
	if s.closed && s.calls == 0 {
		s.release()
	}
}

func (s *Store) release() {
	s.ready.close()
	s.list.close()
	if s.region != nil {
		s.region.Close()
	}
	if s.fs != nil {
		s.fs.Close()
	}
	s.lock.release()
}

// openRegion opens the region past the page cache, writing through, where the
// file system takes that, and makes sure that it is whole.
func (s *Store) openRegion() (err error) {
	const flags = unix.O_RDWR | unix.O_DSYNC
	if s.region, s.direct, err = openDirect(s.fs, regionFile, flags); err != nil {
		if isAbsent(err) {
			return fmt.Errorf("%w: the heartbeat region of %s is gone", ErrEmptied, s.path)
		}
		return fmt.Errorf("open datastore %s: %w", s.path, err)
	}
	_, err = s.readRegion(nil)
	if s.direct && errors.Is(err, unix.EINVAL) {
		s.region.Close()
		if s.region, err = s.fs.Open(regionFile, flags); err != nil {
			return fmt.Errorf("open datastore %s: %w", s.path, err)
		}
		s.direct = false
		_, err = s.readRegion(nil)
	}
	if err != nil {
		return fmt.Errorf("open datastore %s: %w", s.path, err)
	}
	return nil
}
