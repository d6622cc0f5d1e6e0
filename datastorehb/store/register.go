package store

import (
	"fmt"
	"path"
	"slices"
	"strconv"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"storebeat/datastorehb"
)

// LeastKept is how many values of a register Remove always leaves (R2).
const LeastKept = 3

// numberDigits is the width of a number in a file name.
const numberDigits = 20

// topDir returns the directory, made by Init, below which the register lives.
func topDir(reg datastorehb.Register) string {
	switch reg.Kind {
	case datastorehb.TermRegister:
		return termsDir
	case datastorehb.ClusterRegister:
		return "."
	}
	return machinesDir
}

func registerDir(reg datastorehb.Register) string {
	switch reg.Kind {
	case datastorehb.TermRegister:
		return termsDir + "/" + strconv.Itoa(int(reg.Host))
	case datastorehb.ClusterRegister:
		return clusterDir
	}
	return machinesDir + "/" + reg.VM.String() + "/" + reg.Kind.String()
}

func recordName(reg datastorehb.Register, number uint64) string {
	return fmt.Sprintf("%s/%0*d", registerDir(reg), numberDigits, number)
}

// Newest returns the register's newest value: the maximum of a listing. A
// register that has none is Absent; one that could not be read never is.
func (s *Store) Newest(reg datastorehb.Register) (datastorehb.Record, datastorehb.ReadState, error) {
	if err := s.enter(); err != nil {
		return datastorehb.Record{}, datastorehb.Unreadable, err
	}
	defer s.leave()
	return s.newest(reg)
}

// Value returns one value of a register by its number, without a listing. It is
// Absent if there is none, which says nothing about newer ones.
func (s *Store) Value(reg datastorehb.Register, number uint64) (datastorehb.Record, datastorehb.ReadState, error) {
	if err := s.enter(); err != nil {
		return datastorehb.Record{}, datastorehb.Unreadable, err
	}
	defer s.leave()
	return s.readRecord(reg, number)
}

func (s *Store) newest(reg datastorehb.Register) (datastorehb.Record, datastorehb.ReadState, error) {
	for range 3 { // A value may be removed between listing and read, once there are newer ones.
		numbers, err := s.numbers(reg)
		if err != nil {
			return datastorehb.Record{}, datastorehb.Unreadable, err
		}
		if len(numbers) == 0 {
			return datastorehb.Record{}, datastorehb.Absent, nil
		}
		rec, state, err := s.readRecord(reg, numbers[len(numbers)-1])
		if state != datastorehb.Absent {
			return rec, state, err
		}
	}
	return datastorehb.Record{}, datastorehb.Unreadable, fmt.Errorf("read %s on %s: its newest value is listed, but can't be found", reg, s.path)
}

// List returns the names in a directory as a store sees those in a register: it
// first asks the server about the directory, so that a client that caches (NFS)
// does not use an old listing.
func List(dir string) ([]string, error) {
	fs, err := openDir(dir)
	if err != nil {
		return nil, err
	}
	defer fs.Close()
	if _, err := fs.Stat("."); err != nil {
		return nil, err
	}
	return fs.List(".")
}

// numbers lists a register, in ascending order, as List does.
func (s *Store) numbers(reg datastorehb.Register) ([]uint64, error) {
	dir := registerDir(reg)
	_, err := s.fs.Stat(dir)
	if isAbsent(err) {
		if there, err := s.lookAgain(reg); err != nil || !there {
			return nil, err
		}
	} else if err != nil {
		return nil, fmt.Errorf("list %s on %s: %w", reg, s.path, err)
	}
	names, err := s.fs.List(dir)
	if err != nil {
		return nil, fmt.Errorf("list %s on %s: %w", reg, s.path, err)
	}
	numbers := make([]uint64, 0, len(names))
	for _, name := range names {
		if n, err := strconv.ParseUint(name, 10, 64); err == nil && n != 0 && len(name) == numberDigits {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// lookAgain finds out whether a register that can't be found is absent. It asks
// the server about each directory on the way, which makes a client forget that it
// once found nothing there, and makes sure that the datastore itself is not gone.
func (s *Store) lookAgain(reg datastorehb.Register) (there bool, err error) {
	if err := s.stillThere(topDir(reg)); err != nil {
		return false, fmt.Errorf("list %s: %w", reg, err)
	}
	dir := registerDir(reg)
	for _, d := range []string{path.Dir(dir), dir} {
		if _, err := s.fs.Stat(d); isAbsent(err) {
			return false, nil
		} else if err != nil {
			return false, fmt.Errorf("list %s on %s: %w", reg, s.path, err)
		}
	}
	return true, nil
}

// readRecord reads one value. Past the page cache, where the file system takes
// that: what a claim is judged by must come from the server.
func (s *Store) readRecord(reg datastorehb.Register, number uint64) (datastorehb.Record, datastorehb.ReadState, error) {
	f, err := s.openLikeRegion(recordName(reg, number), unix.O_RDONLY)
	if isAbsent(err) {
		return datastorehb.Record{}, datastorehb.Absent, nil
	}
	if err != nil {
		return datastorehb.Record{}, datastorehb.Unreadable, fmt.Errorf("read %s on %s: %w", reg, s.path, err)
	}
	defer f.Close()
	raw, err := readGrowing(f, 0, 2*datastorehb.BlockSize, datastorehb.RecordLength)
	if err != nil {
		return datastorehb.Record{}, datastorehb.Unreadable, fmt.Errorf("read %s on %s: %w", reg, s.path, err)
	}
	rec, err := datastorehb.DecodeRecord(raw, s.id, reg, number)
	if err != nil {
		return datastorehb.Record{}, datastorehb.Corrupt, fmt.Errorf("read from %s: %w", s.path, err)
	}
	return rec, datastorehb.Valid, nil
}

// openLikeRegion opens a file the way the region could be opened, so that a file system
// without direct I/O costs no second attempt.
func (s *Store) openLikeRegion(name string, flags int) (File, error) {
	if !s.direct {
		return s.fs.Open(name, flags)
	}
	f, _, err := openDirect(s.fs, name, flags)
	return f, err
}

// Remove removes old values of a register, oldest first. Which ones are old
// enough is for the caller to decide, who must hold a newer one (R2). The newest
// LeastKept values are never removed.
func (s *Store) Remove(reg datastorehb.Register, numbers []uint64) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	there, err := s.numbers(reg)
	if err != nil {
		return err
	}
	numbers = slices.Sorted(slices.Values(numbers))
	kept := there[max(0, len(there)-LeastKept):]
	for _, n := range numbers {
		if len(kept) == 0 || n >= kept[0] {
			return fmt.Errorf("remove number %d of %s on %s: the newest %d values are kept", n, reg, s.path, LeastKept)
		}
	}
	for _, n := range numbers {
		if err := s.fs.Unlink(recordName(reg, n)); err != nil && !isAbsent(err) {
			return fmt.Errorf("remove number %d of %s on %s: %w", n, reg, s.path, err)
		}
	}
	return s.fs.SyncDir(registerDir(reg))
}

// Numbers lists the values that a register holds, in ascending order.
func (s *Store) Numbers(reg datastorehb.Register) ([]uint64, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	return s.numbers(reg)
}

// Machines lists the machines that have, or had, a register on the datastore.
// The listing grows with their number: it has no place on the way of a takeover.
func (s *Store) Machines() ([]uuid.UUID, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if err := s.stillThere(machinesDir); err != nil {
		return nil, fmt.Errorf("list machines: %w", err)
	}
	names, err := s.fs.List(machinesDir)
	if err != nil {
		return nil, fmt.Errorf("list machines on %s: %w", s.path, err)
	}
	var vms []uuid.UUID
	for _, name := range names {
		if vm, err := uuid.Parse(name); err == nil && vm.String() == name {
			vms = append(vms, vm)
		}
	}
	slices.SortFunc(vms, func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
	return vms, nil
}
