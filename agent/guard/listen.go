package guard

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// listen opens the guard's socket. A lock beside it, held as long as the process
// lives, keeps a second guard away, even from one that hangs; so a socket found
// under the lock was left by a dead guard.
func listen(path string) (*net.UnixListener, *os.File, error) {
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("lock the guard's socket: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, nil, fmt.Errorf("another guard holds %s: %w; end it first", lock.Name(), err)
	}
	listener, err := bind(path)
	if err != nil {
		lock.Close()
		return nil, nil, err
	}
	return listener, lock, nil
}

func bind(path string) (*net.UnixListener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&os.ModeSocket == 0 {
			return nil, fmt.Errorf("%s is there and is no socket; choose another path for the guard's socket", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove the socket of a guard that is gone: %w", err)
		}
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("open the guard's socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		listener.Close()
		return nil, fmt.Errorf("close the guard's socket to others: %w", err)
	}
	return listener, nil
}

// peer returns who is at the other end of a connection. The kernel vouches for it.
func peer(conn *net.UnixConn) (*unix.Ucred, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("ask who is connected: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err == nil {
		err = credErr
	}
	if err != nil {
		return nil, fmt.Errorf("ask who is connected: %w", err)
	}
	return cred, nil
}

// mayConnect admits the guard's own user and root. The socket's mode does the
// same, but only from the moment after it was made.
func mayConnect(conn *net.UnixConn) error {
	cred, err := peer(conn)
	if err != nil {
		return err
	}
	if cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
		return fmt.Errorf("process %d of user %d may not speak to the guard", cred.Pid, cred.Uid)
	}
	return nil
}
