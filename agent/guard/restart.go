package guard

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"storebeat/datastorehb"
)

// A guard that its service manager restarts ends without freezing anything: it
// leaves its state and its open files with the manager, as it would hand them to
// another program (upgrade.go), and the next guard takes them from there. For the
// moment between the two nobody guards; the agent does not notice as long as
// that is shorter than its patience, and freezes everything if it is longer.

const (
	restartAskTime = time.Second     // for the manager to say whether the guard is being restarted
	keptTime       = 5 * time.Second // for which what a guard left is worth anything
)

// What is left with the manager, by name.
const (
	keptState    = "state"
	keptListener = "listener"
	keptLock     = "lock"
	keptWatchdog = "watchdog"
	keptClient   = "client" // and its number
)

// end finds out whether the guard is told to end for good. Until that is known it
// goes on. The answer comes to the loop.
func (s *server) end() {
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), restartAskTime)
		defer cancel()
		s.ending <- s.options.Manager != nil && s.options.Manager.Restarts(ctx)
	}()
}

// leave leaves everything with the manager. If that fails the guard goes on.
func (s *server) leave() error {
	s.turn()
	s.pause()
	s.turn()
	s.flush()
	if err := s.keep(); err != nil {
		s.resume()
		return err
	}
	s.listener.SetUnlinkOnClose(false)
	s.log.say(hclog.Info, "guard is restarted and leaves what it knows to the next one", "machines", len(s.keeper.machines), "clients", len(s.clients))
	return nil
}

func (s *server) keep() error {
	files := map[string]int{}
	defer func() {
		for _, fd := range files {
			_ = unix.Close(fd)
		}
	}()
	st, err := s.snapshot(func(name string, conn syscall.Conn) (int, error) {
		fd, err := inheritable(conn)
		if err == nil {
			files[name] = fd
		}
		return fd, err
	})
	if err != nil {
		return err
	}
	if files[keptState], err = writeState(&st); err != nil {
		delete(files, keptState)
		return err
	}
	return s.options.Manager.Keep(files)
}

// kept returns the state that a guard has left with the manager, nil if there is none that
// is worth anything.
func (s *server) kept() (*state, error) {
	if s.options.Manager == nil {
		return nil, nil
	}
	files, err := s.options.Manager.Kept()
	if err != nil || len(files) == 0 {
		return nil, err
	}
	names := slices.Collect(maps.Keys(files))
	defer func() { // The next guard must not find it once more.
		if err := s.options.Manager.Release(names); err != nil {
			s.log.say(hclog.Error, "the service manager keeps what the guard before left", "error", err)
		}
	}()
	st, err := stateIn(files, s.now())
	if err != nil {
		for _, fd := range files {
			_ = unix.Close(fd)
		}
		s.log.say(hclog.Error, "what the guard before left is of no use", "error", err)
		return nil, nil
	}
	return st, nil
}

// stateIn reads the state among files, and puts the others in their places in it. It closes what it has no place for.
func stateIn(files map[string]int, now datastorehb.Instant) (*state, error) {
	left := maps.Clone(files)
	take := func(name string) int {
		fd, ok := left[name]
		if !ok {
			return -1
		}
		delete(left, name)
		return fd
	}
	fd := take(keptState)
	if fd < 0 {
		return nil, errors.New("it left no state")
	}
	st, err := readState(os.NewFile(uintptr(fd), keptState))
	delete(files, keptState) // it is closed
	if err != nil {
		return nil, err
	}
	if age := now.Sub(st.At); age < 0 || age > keptTime {
		return nil, fmt.Errorf("it is %v old, more than %v", age, keptTime)
	}
	fed := st.Watchdog >= 0 // one that nobody goes on feeding resets the computer
	st.Listener, st.Lock, st.Watchdog = take(keptListener), take(keptLock), take(keptWatchdog)
	if st.Listener < 0 || st.Lock < 0 || fed && st.Watchdog < 0 {
		return nil, fmt.Errorf("its socket, lock or watchdog is not among %q", slices.Sorted(maps.Keys(files)))
	}
	for i := range st.Clients {
		st.Clients[i].FD = take(clientName(i))
	}
	st.Clients = slices.DeleteFunc(st.Clients, func(c clientState) bool { return c.FD < 0 }) // closed meanwhile
	for _, fd := range left {
		_ = unix.Close(fd)
	}
	return st, nil
}

func clientName(i int) string { return keptClient + strconv.Itoa(i) }
