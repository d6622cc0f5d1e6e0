package faultfs

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Mount is one mounted view of a directory.
type Mount struct {
	path   string
	gate   *gate
	server *fuse.Server
}

// Available returns why this computer can mount nothing, or nil.
func Available() error {
	if os.Geteuid() != 0 {
		return errors.New("mounting needs root")
	}
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("FUSE can't be used: %w", err)
	}
	return f.Close()
}

// New mounts the directory at path, which must be an empty directory. The mount
// is healthy.
func New(directory, path string) (*Mount, error) {
	root, err := fs.NewLoopbackRoot(directory)
	if err != nil {
		return nil, fmt.Errorf("mount %s at %s: %w", directory, path, err)
	}
	var never time.Duration
	o := &fs.Options{AttrTimeout: &never, EntryTimeout: &never, NegativeTimeout: &never}
	o.FsName, o.Name = directory, "faultfs"
	o.AllowOther, o.DirectMountStrict, o.EnableLocks, o.MaxWrite = true, true, true, 1<<20
	g := &gate{RawFileSystem: fs.NewNodeFS(root, o)}
	server, err := fuse.NewServer(g, path, &o.MountOptions)
	if err != nil {
		return nil, fmt.Errorf("mount %s at %s: %w", directory, path, err)
	}
	go server.Serve()
	m := &Mount{path: path, gate: g, server: server}
	if err := server.WaitMount(); err != nil {
		return nil, errors.Join(fmt.Errorf("mount %s at %s: %w", directory, path, err), m.Close())
	}
	return m, nil
}

// Path is where the mount is.
func (m *Mount) Path() string { return m.path }

// Hang makes every request wait until the mount is healed or closed, deaf to signals.
func (m *Mount) Hang() { m.gate.set(fault{hang: make(chan struct{})}) }

// Fail makes every request fail.
func (m *Mount) Fail(errno syscall.Errno) { m.gate.set(fault{errno: errno}) }

// Delay makes every request take longer.
func (m *Mount) Delay(by time.Duration) { m.gate.set(fault{delay: by}) }

// Heal makes requests work, those that hang included.
func (m *Mount) Heal() { m.gate.set(fault{}) }

// Hung is how many requests hang.
func (m *Mount) Hung() int { return m.gate.waiting() }

// Detach unmounts lazily: the path leads to the directory underneath, and files
// that are open go on as before.
func (m *Mount) Detach() error { return unix.Unmount(m.path, unix.MNT_DETACH) }

// Close lets hung requests end, breaks the connection, so that whoever still uses
// the mount gets an error, and unmounts.
func (m *Mount) Close() error {
	m.Heal()
	_ = unix.Unmount(m.path, unix.MNT_FORCE) // breaks the connection; it is busy if somebody uses it
	if err := m.Detach(); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount %s: %w", m.path, err)
	}
	return nil
}
