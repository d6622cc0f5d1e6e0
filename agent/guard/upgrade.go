package guard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"storebeat/datastorehb"
)

// A guard is upgraded without a gap: on SIGHUP it executes the program that stands
// under its own path now, in the same process. What it knows goes along in a file
// in memory, and its socket, its connections, its lock and the watchdog device stay
// open. Deadlines are instants of the boot-time clock and go on counting; the new
// program's first act is to look at them.
//
// Before that, the new program is asked whether it understands the state; one that
// does not, or can't be run, is left alone and the guard goes on as it is. A new
// program that has taken the process over and can't read the state after all knows
// nothing: it freezes what it finds and ends, and whoever started the guard starts
// another.

const (
	// stateVersion is the version of the state that one program hands to the next.
	// A program takes its own and the one before.
	stateVersion = 1
	// stateVariable names the file descriptor of the state in the environment.
	stateVariable = "STOREBEAT_GUARD_STATE"

	askTime    = 5 * time.Second       // for the new program to say whether it understands
	settleTime = 50 * time.Millisecond // for what is on its way to clients
)

// state is everything that goes along.
type state struct {
	Version  int                 `json:"version"`
	At       datastorehb.Instant `json:"at"` // when it was written down
	Keeper   keeperState         `json:"keeper"`
	Listener int                 `json:"listener"` // file descriptors
	Lock     int                 `json:"lock"`
	Watchdog int                 `json:"watchdog"` // -1 for none
	Fed      datastorehb.Instant `json:"fed"`
	Clients  []clientState       `json:"clients"`
	AgentRun uint64              `json:"agent_run"`
}

// clientState is a connection.
type clientState struct {
	FD    int    `json:"fd"`
	Rest  []byte `json:"rest"`  // of a request that is not complete yet
	Agent bool   `json:"agent"` // it is the agent's
}

// CanTakeOver reports whether this program understands the state of a running
// guard, of the given version.
func CanTakeOver(version int) error {
	if version < stateVersion-1 || version > stateVersion {
		return fmt.Errorf("the running guard's state has version %d, and this program understands %d and the one before", version, stateVersion)
	}
	return nil
}

// upgrade asks the program under the guard's own path whether it could take over.
// The answer comes to the loop.
func (s *server) upgrade(ctx context.Context) {
	if s.asking {
		return
	}
	s.asking = true
	go func() {
		ctx, cancel := context.WithTimeout(ctx, askTime)
		defer cancel()
		arguments := append(slices.Clone(os.Args[1:]), "--takes-over", strconv.Itoa(stateVersion))
		out, err := exec.CommandContext(ctx, s.binary, arguments...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%s can't take over: %w: %s", s.binary, err, out[:min(len(out), excerptSize)])
		}
		select {
		case s.asked <- err:
		case <-s.stopped:
		}
	}()
}

// handOver executes the new program. It returns only if that fails, and then the
// guard goes on as before.
func (s *server) handOver() {
	s.turn()
	s.pause()
	s.turn()
	s.flush() // nothing is sent from here on
	err := s.execute()
	s.resume()
	s.log.say(hclog.Error, "the guard could not be upgraded and goes on", "program", s.binary, "error", err)
}

// pause makes connections and listener stand still, with nothing of theirs on its way.
func (s *server) pause() {
	past := time.Unix(1, 0)
	_ = s.listener.SetDeadline(past)
	for paused := false; !paused; {
		select {
		case conn := <-s.accepted:
			s.admit(conn)
		case <-s.acceptPaused:
			paused = true
		}
	}
	for c := range s.clients {
		_ = c.conn.SetReadDeadline(past)
	}
	for c := range s.clients {
		for reading := true; reading; {
			select {
			case one := <-s.calls:
				s.receive(one)
			case <-c.reading.done:
				reading = false
			}
		}
	}
}

// flush waits a moment until clients have what was sent to them. Who does not read
// is left.
func (s *server) flush() {
	deadline := time.Now().Add(settleTime)
	for c := range s.clients {
		if c.left {
			continue
		}
		_ = c.conn.SetWriteDeadline(deadline)
		c.keep.Store(true)
		close(c.outbox)
		if <-c.written; c.failed {
			c.left = true
			c.conn.Close()
		}
	}
}

// resume lets connections and listener go on.
func (s *server) resume() {
	for c := range s.clients {
		if c.left {
			s.drop(c, errors.New("it did not read what was sent to it"))
			continue
		}
		c.keep.Store(false)
		c.outbox = make(chan []byte, outboxLines)
		_ = c.conn.SetDeadline(time.Time{})
		c.start(c.reading.rest, s.calls, s.stopped)
	}
	_ = s.listener.SetDeadline(time.Time{})
	s.acceptGoOn <- struct{}{}
}

// snapshot returns all that goes along. keep makes a file stay open for the next
// program, and returns its descriptor there.
func (s *server) snapshot(keep func(name string, conn syscall.Conn) (int, error)) (st state, err error) {
	place := func(name string, conn syscall.Conn) int {
		fd, keepErr := keep(name, conn)
		err = errors.Join(err, keepErr)
		return fd
	}
	st = state{Version: stateVersion, At: s.now(), Keeper: s.keeper.state(), AgentRun: s.agentRun, Watchdog: -1,
		Listener: place(keptListener, s.listener), Lock: place(keptLock, s.lock)}
	if s.watchdog != nil {
		st.Watchdog, st.Fed = place(keptWatchdog, s.watchdog.device), s.watchdog.fed
	}
	for c := range s.clients {
		if !c.left {
			st.Clients = append(st.Clients, clientState{FD: place(clientName(len(st.Clients)), c.conn), Rest: c.reading.rest, Agent: c == s.agent})
		}
	}
	return st, err
}

// execute writes the state down and executes the new program.
func (s *server) execute() error {
	var open []int
	defer func() {
		for _, fd := range open {
			_ = unix.Close(fd)
		}
	}()
	st, err := s.snapshot(func(_ string, conn syscall.Conn) (int, error) {
		fd, err := inheritable(conn)
		if err == nil {
			open = append(open, fd)
		}
		return fd, err
	})
	if err != nil {
		return err
	}
	file, err := writeState(&st)
	if err != nil {
		return err
	}
	open = append(open, file)
	return execBlocked(s.binary, os.Args, append(os.Environ(), stateVariable+"="+strconv.Itoa(file)))
}

// inheritable returns a second descriptor of an open file, which a new program keeps.
func inheritable(conn syscall.Conn) (fd int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, err
	}
	controlErr := raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD, 3) })
	if err := errors.Join(controlErr, err); err != nil {
		return -1, fmt.Errorf("keep a file open for the new program: %w", err)
	}
	return fd, nil
}

// writeState writes the state into a file in memory that a new program keeps.
func writeState(st *state) (fd int, err error) {
	raw, err := json.Marshal(st)
	if err != nil {
		return -1, fmt.Errorf("write the guard's state down: %w", err)
	}
	fd, err = unix.MemfdCreate("storebeat-guard", 0)
	if err != nil {
		return -1, fmt.Errorf("write the guard's state down: %w", err)
	}
	for len(raw) > 0 {
		n, err := unix.Write(fd, raw)
		if err != nil {
			_ = unix.Close(fd)
			return -1, fmt.Errorf("write the guard's state down: %w", err)
		}
		raw = raw[n:]
	}
	_, err = unix.Seek(fd, 0, io.SeekStart)
	return fd, err
}

// execBlocked executes a program with the signals that end a guard held back: they
// reach the new program once it is ready for them, and not while nobody is.
func execBlocked(binary string, args, environment []string) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var ends, before unix.Sigset_t
	for _, signal := range []syscall.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP} {
		ends.Val[(signal-1)/64] |= 1 << (uint(signal-1) % 64)
	}
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &ends, &before); err != nil {
		return fmt.Errorf("hold signals back: %w", err)
	}
	err := syscall.Exec(binary, args, environment)
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
	return fmt.Errorf("execute %s: %w", binary, err)
}

// inherited reads the state that the program before has left, nil if there was none.
func inherited() (*state, error) {
	value := os.Getenv(stateVariable)
	if value == "" {
		return nil, nil
	}
	_ = os.Unsetenv(stateVariable)
	fd, err := strconv.Atoi(value)
	if err != nil || fd < 3 {
		return nil, fmt.Errorf("%s=%q names no file", stateVariable, value)
	}
	return readState(os.NewFile(uintptr(fd), "state"))
}

// readState reads a state, and closes its file.
func readState(file *os.File) (*state, error) {
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the state of the guard before: %w", err)
	}
	return decodeState(raw)
}

func decodeState(raw []byte) (*state, error) {
	var st state
	if err := json.Unmarshal(raw, &st); err != nil {
		return nil, fmt.Errorf("read the state of the guard before: %w", err)
	}
	if err := CanTakeOver(st.Version); err != nil {
		return nil, err
	}
	return &st, st.Keeper.check()
}

// inherit takes over what the program before has left.
func (s *server) inherit(st *state) error {
	s.keeper.restore(st.Keeper)
	s.enforce() // first of all: a deadline may have passed meanwhile
	listener, err := connOf(st.Listener, func(f *os.File) (any, error) { return net.FileListener(f) })
	if err != nil {
		return err
	}
	s.listener = listener.(*net.UnixListener)
	if err := s.introduce(); err != nil {
		return err
	}
	s.lock = closedOnExec(st.Lock, "lock")
	if st.Watchdog >= 0 {
		s.watchdog = &watchdog{device: closedOnExec(st.Watchdog, "watchdog"), fed: st.Fed, ever: true}
	}
	s.agentRun = st.AgentRun
	for _, c := range st.Clients {
		conn, err := connOf(c.FD, func(f *os.File) (any, error) { return net.FileConn(f) })
		if err != nil {
			s.complain("a connection is lost in the upgrade", "error", err)
			continue
		}
		client := s.connect(conn.(*net.UnixConn), c.Rest)
		if c.Agent {
			s.agent = client
		}
	}
	if s.agent == nil && !s.keeper.alone {
		s.keeper.AgentLeft(s.now())
	}
	s.log.say(hclog.Info, "guard goes on in the new program", "pause", s.now().Sub(st.At), "machines", len(s.keeper.machines), "clients", len(s.clients))
	return nil
}

// introduce makes the kernel tell who connects from now on that it is this process
// that listens. It may be another one than before.
func (s *server) introduce() error {
	raw, err := s.listener.SyscallConn()
	if err != nil {
		return fmt.Errorf("listen on: %w", err)
	}
	var listenErr error
	if err := errors.Join(raw.Control(func(fd uintptr) { listenErr = unix.Listen(int(fd), unix.SOMAXCONN) }), listenErr); err != nil {
		return fmt.Errorf("listen on: %w", err)
	}
	return nil
}

// connOf makes a listener or a connection of a descriptor, which it closes.
func connOf(fd int, of func(*os.File) (any, error)) (any, error) {
	file := os.NewFile(uintptr(fd), "inherited")
	if file == nil {
		return nil, fmt.Errorf("descriptor %d of the guard before is not open", fd)
	}
	defer file.Close()
	conn, err := of(file)
	if err != nil {
		return nil, fmt.Errorf("take over descriptor %d of the guard before: %w", fd, err)
	}
	return conn, nil
}

// closedOnExec makes a file of a descriptor that no later program inherits by accident.
func closedOnExec(fd int, name string) *os.File {
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), name)
}
