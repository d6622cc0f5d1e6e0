package store

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// FS is what a store asks of a file system. Names are relative to one directory
// that was opened once, with slashes. It is small so that tests can stand in
// between and fail any of its operations.
type FS interface {
	// Open opens a file with the flags of open(2). A created file has mode 0600.
	Open(name string, flags int) (File, error)
	// Link gives the file a second name. It fails with fs.ErrExist if there is
	// one, and of all that try, on all hosts, exactly one succeeds. An error may
	// mean that only the reply was lost.
	Link(from, to string) error
	// Rename moves a file or a directory, over an empty directory if there is one.
	Rename(from, to string) error
	// Unlink removes a name of a file.
	Unlink(name string) error
	// Mkdir makes a directory with mode 0700.
	Mkdir(name string) error
	// List returns the names in a directory, in no order.
	List(name string) ([]string, error)
	// Stat asks the server, not a cache, and by doing so makes a client that caches
	// (NFS) notice that a directory has changed.
	Stat(name string) (Stat, error)
	// SyncDir makes the names in a directory durable.
	SyncDir(name string) error
	// Close lets go of the directory.
	Close() error
}

// File is an open file. Each call is one system call. With direct I/O, buffers,
// offsets and lengths are multiples of datastorehb.BlockSize.
type File interface {
	io.ReaderAt
	io.WriterAt
	// Sync makes contents and length durable.
	Sync() error
	// Stat describes the open file, whatever became of its name.
	Stat() (Stat, error)
	// Close closes the file.
	Close() error
}

// Stat describes a file or a directory.
type Stat struct {
	Device uint64
	Inode  uint64
	Links  uint32
	Size   int64
}

func (s Stat) same(o Stat) bool { return s.Device == o.Device && s.Inode == o.Inode }

// dirFS is the FS of the operating system: *at(2) calls below an open directory.
type dirFS struct{ fd int }

func openDir(path string) (FS, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return &dirFS{fd}, nil
}

func wrap(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: name, Err: err}
}

func (d *dirFS) Open(name string, flags int) (File, error) {
	fd, err := unix.Openat(d.fd, name, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, wrap("open", name, err)
	}
	return &osFile{fd, name}, nil
}

func (d *dirFS) Link(from, to string) error {
	return wrap("link", to, unix.Linkat(d.fd, from, d.fd, to, 0))
}

func (d *dirFS) Rename(from, to string) error {
	return wrap("rename", to, unix.Renameat(d.fd, from, d.fd, to))
}

func (d *dirFS) Unlink(name string) error { return wrap("unlink", name, unix.Unlinkat(d.fd, name, 0)) }

func (d *dirFS) Mkdir(name string) error { return wrap("mkdir", name, unix.Mkdirat(d.fd, name, 0o700)) }

func (d *dirFS) List(name string) ([]string, error) {
	fd, err := unix.Openat(d.fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, wrap("list", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	return f.Readdirnames(-1)
}

func (d *dirFS) Stat(name string) (Stat, error) {
	st, err := statx(d.fd, name, unix.AT_STATX_FORCE_SYNC|unix.AT_SYMLINK_NOFOLLOW)
	return st, wrap("stat", name, err)
}

// SyncDir takes EINVAL for "nothing to sync": some network file systems have no
// fsync for directories, because their servers answer only when a change is durable.
func (d *dirFS) SyncDir(name string) error {
	fd, err := unix.Openat(d.fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return wrap("sync", name, err)
	}
	defer unix.Close(fd)
	if err := unix.Fsync(fd); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTSUP) {
		return wrap("sync", name, err)
	}
	return nil
}

func (d *dirFS) Close() error { return unix.Close(d.fd) }

func statx(fd int, name string, flags int) (Stat, error) {
	var x unix.Statx_t
	if err := unix.Statx(fd, name, flags, unix.STATX_BASIC_STATS, &x); err != nil {
		return Stat{}, err
	}
	return Stat{Device: unix.Mkdev(x.Dev_major, x.Dev_minor), Inode: x.Ino, Links: x.Nlink, Size: int64(x.Size)}, nil
}

type osFile struct {
	fd   int
	name string
}

// ReadAt is one pread(2). It goes on only after a short count of whole blocks,
// because direct I/O must not begin within one.
func (f *osFile) ReadAt(b []byte, off int64) (n int, err error) {
	for n < len(b) {
		m, err := retry(func() (int, error) { return unix.Pread(f.fd, b[n:], off+int64(n)) })
		if err != nil {
			return n, wrap("read", f.name, err)
		}
		n += m
		if m == 0 || n%512 != 0 {
			return n, io.EOF
		}
	}
	return n, nil
}

// WriteAt is one pwrite(2). Only after a short one it goes on, because the next
// says what is wrong.
func (f *osFile) WriteAt(b []byte, off int64) (n int, err error) {
	for n < len(b) {
		m, err := retry(func() (int, error) { return unix.Pwrite(f.fd, b[n:], off+int64(n)) })
		if err == nil && m == 0 {
			err = io.ErrShortWrite
		}
		if err != nil {
			return n, wrap("write", f.name, err)
		}
		n += m
	}
	return n, nil
}

func (f *osFile) Sync() error { return wrap("sync", f.name, unix.Fsync(f.fd)) }

func (f *osFile) Stat() (Stat, error) {
	st, err := statx(f.fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_FORCE_SYNC)
	return st, wrap("stat", f.name, err)
}

func (f *osFile) Close() error { return unix.Close(f.fd) }

// retry repeats a call that a signal interrupted before it did anything.
func retry(call func() (int, error)) (n int, err error) {
	for {
		if n, err = call(); err != unix.EINTR {
			return n, err
		}
	}
}

func isAbsent(err error) bool { return errors.Is(err, fs.ErrNotExist) }

func isExisting(err error) bool { return errors.Is(err, fs.ErrExist) }
