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
	ended  chan struct{}
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
	m, err := serve(directory, path, true)
	if err != nil {
		return nil, fmt.Errorf("mount %s at %s: %w", directory, path, err)
	}
	m.path = path
	if err := m.server.WaitMount(); err != nil {
		return nil, errors.Join(fmt.Errorf("mount %s at %s: %w", directory, path, err), m.Close())
	}
	return m, nil
}

// Serve serves a directory through a connection to FUSE that somebody else has
// opened and mounted: in another mount namespace, where this program can't touch
// the mount by mistake. Path says nothing of such a mount. The connection belongs
// to the mount from now on.
func Serve(directory string, connection *os.File) (*Mount, error) {
	defer connection.Close()
	fd, err := unix.FcntlInt(connection.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("serve %s: %w", directory, err)
	}
	m, err := serve(directory, fmt.Sprintf("/dev/fd/%d", fd), false)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("serve %s: %w", directory, err), unix.Close(fd))
	}
	return m, nil
}

// Options are the mount options that a connection must be mounted with which
// is given to Serve.
const Options = "rootmode=40000,user_id=0,group_id=0,allow_other,max_read=1048576"

func serve(directory, at string, direct bool) (*Mount, error) {
	root, err := fs.NewLoopbackRoot(directory)
	if err != nil {
		return nil, err
	}
	var never time.Duration
	o := &fs.Options{AttrTimeout: &never, EntryTimeout: &never, NegativeTimeout: &never}
	o.FsName, o.Name = directory, "faultfs"
	o.AllowOther, o.DirectMountStrict, o.EnableLocks, o.MaxWrite = true, direct, true, 1<<20
	g := newGate(fs.NewNodeFS(root, o))
	o.PanicHandler = g.panicked
	server, err := fuse.NewServer(g, at, &o.MountOptions)
	if err != nil {
		return nil, err
	}
	m := &Mount{gate: g, server: server, ended: make(chan struct{})}
	go func() {
		defer close(m.ended)
		server.Serve()
		g.release()
	}()
	return m, nil
}

// Path is where the mount is.
func (m *Mount) Path() string { return m.path }

// Inject replaces all faults of the mount. Of several that strike an operation,
// the first does. Requests that hang go on, and meet the new ones.
func (m *Mount) Inject(faults ...Fault) error {
	for _, f := range faults {
		if err := f.Validate(); err != nil {
			return err
		}
	}
	m.gate.set(faults)
	return nil
}

// Hang makes every request wait until the mount is healed or closed, deaf to signals.
func (m *Mount) Hang() { m.gate.set([]Fault{{Kind: Hang}}) }

// Fail makes every request fail.
func (m *Mount) Fail(errno syscall.Errno) { m.gate.set([]Fault{{Kind: Error, Errno: errno}}) }

// Delay makes every request take longer.
func (m *Mount) Delay(by time.Duration) { m.gate.set([]Fault{{Kind: Slow, Delay: by}}) }

// Heal makes requests work, those that hang included.
func (m *Mount) Heal() { m.gate.set(nil) }

// Hung is how many requests hang.
func (m *Mount) Hung() int { return m.gate.waiting() }

// Counts returns how often each operation was asked for since the mount was made.
func (m *Mount) Counts() map[Op]int { return m.gate.counted() }

// Revoke takes all locks of the mount away, as a file server does when a client's
// lease of its locks has run out: what was open of the locked files is refused
// from then on, late writes included.
func (m *Mount) Revoke() { m.gate.revoke() }

// Detach unmounts lazily: the path leads to the directory underneath, and files
// that are open go on as before.
func (m *Mount) Detach() error { return unix.Unmount(m.path, unix.MNT_DETACH) }

// Disconnect refuses every request from now on, those that hang included, and
// carries none of them out: the host at the other end is dead.
func (m *Mount) Disconnect() { m.Fail(syscall.ENOTCONN) }

// Err says that the file system itself failed in answering a request, which no fault
// accounts for; nil if it did not.
func (m *Mount) Err() error { return m.gate.err() }

// Ended is closed when nobody can use the mount any more and its locks are free.
func (m *Mount) Ended() <-chan struct{} { return m.ended }

// Close ends hung requests, breaks the connection, so that whoever still uses
// the mount gets an error, and unmounts. A mount that was made by Serve goes with
// its mount namespace. The error also says what Err does.
func (m *Mount) Close() error {
	m.Disconnect()
	if m.path == "" {
		return m.Err()
	}
	_ = unix.Unmount(m.path, unix.MNT_FORCE) // breaks the connection; it is busy if somebody uses it
	if err := m.Detach(); err != nil && !errors.Is(err, unix.EINVAL) {
		return errors.Join(fmt.Errorf("unmount %s: %w", m.path, err), m.Err())
	}
	return m.Err()
}
