package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	socketMode = 0o660

	// maxSocketPath is what fits a sockaddr_un with its closing zero byte.
	maxSocketPath = 107

	goodbye = time.Second // for requests under way when the agent stops
)

// Listener is an open control socket.
type Listener struct {
	path string
	net  net.Listener
	lock *os.File

	closing sync.Once
	err     error
}

// Serve opens the socket and answers requests until ctx is done.
func Serve(ctx context.Context, socket string, handler http.Handler) error {
	l, err := Listen(socket)
	if err != nil {
		return err
	}
	return l.Serve(ctx, handler)
}

// Listen opens the socket. From then on a second agent is refused and clients
// can connect; they are answered once Serve runs.
func Listen(socket string) (*Listener, error) {
	if err := checkPath(socket); err != nil {
		return nil, err
	}
	lock, err := lockSocket(socket)
	if err != nil {
		return nil, err
	}
	l, err := bind(socket)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &Listener{path: socket, net: l, lock: lock}, nil
}

// Serve answers requests until ctx is done, closes the socket and removes it.
// Requests under way get a second to end.
func (l *Listener) Serve(ctx context.Context, handler http.Handler) error {
	defer l.Close()
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ConnContext:       withUser,
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		cancel() // streams would never end of themselves
		bye, done := context.WithTimeout(context.Background(), goodbye)
		defer done()
		if server.Shutdown(bye) != nil {
			_ = server.Close()
		}
	})
	err := server.Serve(l.net)
	if stop() { // ctx is not done: serving failed by itself
		_ = server.Close()
		return fmt.Errorf("serving control socket %s: %w", l.path, err)
	}
	<-stopped
	return nil
}

// Close closes and removes the socket. A Serve under way fails.
func (l *Listener) Close() error {
	l.closing.Do(func() {
		err := l.net.Close() // removes the file as well
		if errors.Is(err, net.ErrClosed) {
			err = nil
		}
		l.err = errors.Join(err, l.lock.Close())
	})
	return l.err
}

func checkPath(socket string) error {
	if len(socket) > maxSocketPath {
		return fmt.Errorf("control socket %s: its path has %d bytes and a unix socket takes at most %d; choose a shorter run directory", socket, len(socket), maxSocketPath)
	}
	if !filepath.IsAbs(socket) {
		return fmt.Errorf("control socket %q is no absolute path; give one such as /run/storebeat/agent.sock", socket)
	}
	directory := filepath.Dir(socket)
	info, err := os.Stat(directory)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("control socket %s: directory %s does not exist; create it, owned by the agent's user, with mode 0750", socket, directory)
	case err != nil:
		return fmt.Errorf("control socket %s: %w", socket, err)
	case !info.IsDir():
		return fmt.Errorf("control socket %s: %s is no directory", socket, directory)
	case info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0:
		return fmt.Errorf("control socket %s: anybody may write to directory %s (mode %04o) and could put a socket of their own there; chmod o-w it", socket, directory, info.Mode().Perm())
	}
	return nil
}

// lockTime is how long a former agent may take to be gone altogether.
const lockTime = 2 * time.Second

// lockSocket settles which of two agents that start at once is the one. The
// lock goes with the process, the file stays.
func lockSocket(socket string) (*os.File, error) {
	path := socket + ".lock"
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking control socket %s: %w", socket, err)
	}
	// A process that the agent before was just about to start holds the lock for a moment more.
	for deadline := time.Now().Add(lockTime); ; time.Sleep(20 * time.Millisecond) {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(deadline) {
			break
		}
	}
	if err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, inUse(socket)
		}
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return f, nil
}

func inUse(socket string) error {
	return fmt.Errorf("control socket %s is in use: another agent runs on this host; stop it first (systemctl stop storebeat), or give this one a run directory of its own", socket)
}

func bind(socket string) (net.Listener, error) {
	if err := clearStale(socket); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("opening control socket: %w", err)
	}
	if err := os.Chmod(socket, socketMode); err != nil {
		return nil, errors.Join(fmt.Errorf("opening control socket: %w", err), l.Close())
	}
	return l, nil
}

// clearStale removes the socket of an agent that is no more. It asks before: an
// agent whose lock file somebody deleted is still alive.
func clearStale(socket string) error {
	info, err := os.Lstat(socket)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("control socket %s: %w", socket, err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("control socket %s: something else of that name is there (%v); move it away, or configure another socket", socket, info.Mode().Type())
	}
	conn, err := net.DialTimeout("unix", socket, time.Second)
	if err == nil {
		_ = conn.Close()
		return inUse(socket)
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("control socket %s: can't tell whether an agent serves it: %w", socket, err)
	}
	if err := os.Remove(socket); err != nil {
		return fmt.Errorf("removing the control socket that a dead agent left: %w", err)
	}
	return nil
}
