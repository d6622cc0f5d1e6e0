package store

import (
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"storebeat/datastorehb"
)

const (
	// readyAtOpen claim files are made by Open, so that a claim can follow at once.
	readyAtOpen = 4
	// readyFull is how many claim files Refill keeps ready.
	readyFull = 32
)

// claimFile is a file of one block that was allocated and made durable before it
// is needed: filling it takes no space, so claims go on when the datastore is full.
type claimFile struct {
	name string
	file File
}

// readyFiles holds the claim files. Its lock is never held during I/O.
type readyFiles struct {
	mu   sync.Mutex
	free []*claimFile
	used []string // to be unlinked
	last uint64   // number of the last one made
}

func (r *readyFiles) take() *claimFile {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.free) == 0 {
		return nil
	}
	f := r.free[len(r.free)-1]
	r.free = r.free[:len(r.free)-1]
	return f
}

func (r *readyFiles) putBack(f *claimFile) {
	if f == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.free = append(r.free, f)
}

// spent takes a file out of use for good, whatever became of the attempt.
func (r *readyFiles) spent(f *claimFile) {
	f.file.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used = append(r.used, f.name)
}

func (r *readyFiles) takeUsed() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	used := r.used
	r.used = nil
	return used
}

func (r *readyFiles) missing(want int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return want - len(r.free)
}

func (r *readyFiles) next() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	return r.last
}

func (r *readyFiles) close() {
	for f := r.take(); f != nil; f = r.take() {
		f.file.Close()
	}
}

// Refill removes the claim files that were used and makes new ones. It is for
// the time when nothing is urgent.
func (s *Store) Refill() error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	return s.refill(readyFull)
}

func (s *Store) refill(want int) error {
	for _, name := range s.ready.takeUsed() {
		if err := s.fs.Unlink(name); err != nil && !isAbsent(err) {
			return fmt.Errorf("remove a used claim file on %s: %w", s.path, err)
		}
	}
	for s.ready.missing(want) > 0 {
		f, err := s.newClaimFile()
		if err != nil {
			return fmt.Errorf("make a claim file on %s: %w", s.path, err)
		}
		s.ready.putBack(f)
	}
	return nil
}

// newClaimFile makes a file and lets it have its block.
func (s *Store) newClaimFile() (*claimFile, error) {
	name := fmt.Sprintf("%s%016x-%d", s.claimPrefix(), s.want.Writer.Incarnation, s.ready.next())
	file, err := s.openLikeRegion(name, unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC)
	if err != nil {
		return nil, err
	}
	f := &claimFile{name, file}
	if _, err = file.WriteAt(alignedBuffer(datastorehb.BlockSize), 0); err == nil {
		err = file.Sync()
	}
	if err != nil {
		s.ready.spent(f)
		return nil, err
	}
	return f, nil
}

func (s *Store) claimPrefix() string { return fmt.Sprintf("%s/%d-", readyDir, s.want.Writer.Host) }

// removeStale removes the claim files of this host's forerunners. They are gone
// for good (the local lock says so), and an order of theirs that is still on its
// way fails from now on.
func (s *Store) removeStale() error {
	names, err := s.fs.List(readyDir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if full := readyDir + "/" + name; strings.HasPrefix(full, s.claimPrefix()) {
			if err := s.fs.Unlink(full); err != nil && !isAbsent(err) {
				return err
			}
		}
	}
	return nil
}
