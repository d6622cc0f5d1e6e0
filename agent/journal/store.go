package journal

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"golang.org/x/sys/unix"
)

// keepAside is how many corrupt stores are kept for whoever wants to look.
const keepAside = 2

// store is the Badger store as the store process sees it.
type store struct {
	dir   string
	limit openRequest
	lock  *os.File
	db    *badger.DB
	self  fs.FileInfo // of dir when it was opened

	first, last uint64 // ids of the oldest and the newest entry; 0, 0 when empty
	bytes       int64  // on disk at the opening, plus what was written since
}

// openStore opens the store in dir. What it finds broken it moves aside.
func openStore(dir string, o openRequest) (s *store, movedAside string, err error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o750); err != nil {
		return nil, "", err
	}
	lock, err := lockStore(dir)
	if err != nil {
		return nil, "", err
	}
	s = &store{dir: dir, limit: o, lock: lock}
	if err = s.room(); err == nil && o.Aside {
		movedAside, err = moveAside(dir)
	}
	if err == nil {
		err = s.open()
	}
	if err != nil && corrupt(err) {
		reason := err
		if movedAside, err = moveAside(dir); err == nil {
			movedAside += ": " + reason.Error()
			err = s.open()
		}
	}
	if err != nil {
		return nil, movedAside, errors.Join(err, lock.Close())
	}
	return s, movedAside, nil
}

func (s *store) open() (err error) {
	// Badger panics on some damaged files.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errDamaged, p)
		}
	}()
	if err = wholeManifest(s.dir); err != nil {
		return err
	}
	if s.db, err = badger.Open(small(s.dir)); err != nil {
		return err
	}
	if s.self, err = os.Stat(s.dir); err == nil {
		err = s.measure()
	}
	if err != nil {
		return errors.Join(err, s.db.Close())
	}
	return nil
}

// wholeManifest fails when the list of tables ends in the middle. Badger would
// cut it there and delete the tables that it no longer names.
func wholeManifest(dir string) error {
	f, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	_, good, err := badger.ReplayManifestFile(f, 0, small(dir))
	if err == nil && good < info.Size() {
		err = fmt.Errorf("%w: %s is good for %d of %d bytes", errDamaged, badger.ManifestFilename, good, info.Size())
	}
	return err
}

// small makes Badger fit a host agent: no cache, no compression (which would
// need one), the smallest buffers, and values next to their keys.
func small(dir string) badger.Options {
	return badger.DefaultOptions(dir).
		WithLogger(nil).
		WithMetricsEnabled(false).
		WithMemTableSize(1 << 20).
		WithNumMemtables(1).
		WithBaseTableSize(1 << 20).
		WithBlockCacheSize(0).
		WithCompression(options.None).
		WithValueLogFileSize(1 << 20).
		WithValueThreshold(100 << 10).
		WithNumCompactors(2).
		WithNumGoroutines(1).
		WithDetectConflicts(false).
		WithChecksumVerificationMode(options.OnTableAndBlockRead)
}

func (s *store) close() error { return errors.Join(s.db.Close(), s.lock.Close()) }

var (
	errFull    = errors.New("too little disk space")
	errLocked  = errors.New("another process has the journal open")
	errGone    = errors.New("the journal's directory was deleted or replaced")
	errDamaged = errors.New("damaged")
)

// corrupt tells damage, which a fresh store cures, from trouble with the disk
// or with permissions, which it does not.
func corrupt(err error) bool {
	for _, other := range []error{errFull, errLocked, fs.ErrPermission, unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EIO, unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOTDIR} {
		if errors.Is(err, other) {
			return false
		}
	}
	return true
}

// lockStore keeps two store processes apart, as when an agent is restarted
// while the store process of the one before still writes.
func lockStore(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir+".lock", os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(errLocked, err, f.Close())
	}
	return f, nil
}

func moveAside(dir string) (string, error) {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	aside := dir + ".corrupt-" + time.Now().UTC().Format("20060102T150405.000000000")
	if err := os.Rename(dir, aside); err != nil {
		return "", err
	}
	old, _ := filepath.Glob(dir + ".corrupt-*")
	slices.Sort(old)
	for len(old) > keepAside {
		_ = os.RemoveAll(old[0])
		old = old[1:]
	}
	return aside, nil
}

// room fails when the disk is nearly full. Badger extends files by mapping them,
// so it would learn of a full disk from a signal that ends the process.
func (s *store) room() error {
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(s.dir), &st); err != nil {
		return err
	}
	if free := int64(st.Bavail) * st.Bsize; free < s.limit.Reserve {
		return fmt.Errorf("%w in %s: %d MiB are free, %d are needed", errFull, filepath.Dir(s.dir), free>>20, s.limit.Reserve>>20)
	}
	return nil
}

// present fails when somebody deleted or replaced the directory: what is written
// from then on goes to files without a name.
func (s *store) present() error {
	now, err := os.Stat(s.dir)
	if err != nil || !os.SameFile(now, s.self) {
		return errGone
	}
	// Deleting only the files leaves the directory.
	if _, err := os.Stat(filepath.Join(s.dir, badger.ManifestFilename)); err != nil {
		return errGone
	}
	return nil
}

// measure finds the ids at both ends and the size on disk.
func (s *store) measure() error {
	s.first, s.last, s.bytes = 0, 0, 0
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		var st unix.Stat_t
		if unix.Stat(filepath.Join(s.dir, f.Name()), &st) == nil {
			s.bytes += st.Blocks * 512
		}
	}
	if err := s.walk(false, 0, func(id uint64, _ *badger.Item) bool { s.first = id; return false }); err != nil {
		return err
	}
	return s.walk(true, math.MaxUint64, func(id uint64, _ *badger.Item) bool { s.last = id; return false })
}

// walk visits the entries from id on, newest first if backwards, while visit
// returns true.
func (s *store) walk(backwards bool, from uint64, visit func(id uint64, item *badger.Item) bool) error {
	return s.db.View(func(txn *badger.Txn) error {
		o := badger.DefaultIteratorOptions
		o.Reverse = backwards
		o.PrefetchValues = false
		it := txn.NewIterator(o)
		defer it.Close()
		for it.Seek(keyOf(from)); it.Valid(); it.Next() {
			key := it.Item().Key()
			if len(key) != 8 {
				return fmt.Errorf("%w: a key of %d bytes", errDamaged, len(key))
			}
			if !visit(binary.BigEndian.Uint64(key), it.Item()) {
				return nil
			}
		}
		return nil
	})
}

func keyOf(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

// write adds entries and lets the oldest go when there are too many.
func (s *store) write(entries []Entry) error {
	if err := errors.Join(s.present(), s.room()); err != nil {
		return err
	}
	batch := s.db.NewWriteBatch()
	defer batch.Cancel()
	for k := range entries {
		raw, err := json.Marshal(stored{entries[k].Position, entries[k].Event})
		if err != nil {
			raw = fmt.Appendf(nil, `{"kind":%q,"text":"this event could not be encoded"}`, entries[k].Kind)
		}
		if err := batch.Set(keyOf(entries[k].ID), raw); err != nil {
			return err
		}
		s.bytes += int64(len(raw)) + 40
	}
	if err := batch.Flush(); err != nil {
		return err
	}
	for k := range entries {
		s.last = max(s.last, entries[k].ID)
		if s.first == 0 {
			s.first = entries[k].ID
		}
	}
	return s.trim()
}

// trim keeps the newer half once there is too much. It takes the entries out,
// empties the store and puts them back: the only way to be sure of the space,
// at the price that a crash in between loses history.
func (s *store) trim() error {
	if s.last-s.first < s.limit.MaxEntries && s.bytes <= s.limit.MaxBytes {
		return nil
	}
	type pair struct{ key, value []byte }
	var kept []pair
	var size int64
	var readErr error
	err := s.walk(true, math.MaxUint64, func(id uint64, item *badger.Item) bool {
		value, err := item.ValueCopy(nil)
		if err != nil {
			readErr = err
			return false
		}
		kept, size = append(kept, pair{keyOf(id), value}), size+int64(len(value))+40
		return uint64(len(kept)) < max(1, s.limit.MaxEntries/2) && size < s.limit.MaxBytes/4
	})
	if err = errors.Join(err, readErr, s.db.DropAll()); err != nil {
		return err
	}
	batch := s.db.NewWriteBatch()
	defer batch.Cancel()
	for _, p := range slices.Backward(kept) {
		if err := batch.Set(p.key, p.value); err != nil {
			return err
		}
	}
	if err := batch.Flush(); err != nil {
		return err
	}
	return s.measure()
}

// read returns the newest entries below q.Before that match, oldest first.
func (s *store) read(q query) ([]Entry, error) {
	var out []Entry
	var readErr error
	if q.Before == 0 {
		return nil, nil
	}
	err := s.walk(true, q.Before-1, func(id uint64, item *badger.Item) bool {
		var s stored
		readErr = item.Value(func(raw []byte) error { return json.Unmarshal(raw, &s) })
		e := Entry{ID: id, Position: s.Position, Event: s.Event}
		if readErr != nil {
			readErr = fmt.Errorf("%w: entry %d: %w", errDamaged, id, readErr)
			return false
		}
		if q.Matches(&e.Event) {
			out = append(out, e)
		}
		return len(out) < q.limit()
	})
	slices.Reverse(out)
	return out, errors.Join(err, readErr)
}

// troubleOf names the error for the agent.
func troubleOf(err error) trouble {
	switch {
	case err == nil:
		return none
	case errors.Is(err, errFull), errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return full
	case errors.Is(err, errLocked):
		return locked
	case errors.Is(err, errGone):
		return gone
	case corrupt(err):
		return broken
	}
	return failed
}

// oneLine makes an error fit a log line: Badger's hold stack traces.
func oneLine(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text
}
