package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxCalls bounds the calls that wait for an answer at once.
const maxCalls = 256

// ErrClosed means that the session has ended.
var ErrClosed = errors.New("QMP session has ended")

// Session is one negotiated conversation with one QEMU.
type Session struct {
	conn    net.Conn
	writing chan struct{} // holds one token; a mutex that a context can give up on
	handle  func(Event)
	ended   chan struct{}

	mu    sync.Mutex
	calls map[uint64]*Call
	last  uint64
	cause error
}

// Call is a command that has been sent.
type Call struct {
	name     string
	answered chan struct{}
	result   json.RawMessage
	err      error
}

// Dial connects to QEMU's monitor socket and negotiates. A QEMU that is stopped
// accepts the connection and then says nothing: Dial waits for its greeting
// until the context ends. handle gets every event; it may be nil.
func Dial(ctx context.Context, path string, handle func(Event)) (*Session, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("connect to QEMU's monitor: %w", err)
	}
	s, err := negotiate(ctx, conn, handle)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("QEMU's monitor at %s: %w", path, err), conn.Close())
	}
	return s, nil
}

// negotiate reads the greeting and leaves QMP's opening mode, in which QEMU
// takes no other command.
func negotiate(ctx context.Context, conn net.Conn, handle func(Event)) (*Session, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	lines := newLines(conn)
	first, err := next(lines)
	if err == nil && first.Greeting == nil {
		err = errors.New("its first message is no greeting")
	}
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("wait for the greeting: %w", err)
	}
	if !stop() {
		return nil, ctx.Err()
	}
	s := &Session{conn: conn, writing: make(chan struct{}, 1), handle: handle, ended: make(chan struct{}), calls: map[uint64]*Call{}}
	go s.read(lines)
	if err := s.Execute(ctx, "qmp_capabilities", nil, nil); err != nil {
		s.end(err)
		return nil, fmt.Errorf("negotiate: %w", err)
	}
	return s, nil
}

// Ended is closed when the session has ended, for whatever reason.
func (s *Session) Ended() <-chan struct{} { return s.ended }

// Peer returns the id of the process that listens on the monitor's socket.
func (s *Session) Peer() (pid int, err error) {
	conn, ok := s.conn.(*net.UnixConn)
	if !ok {
		return 0, errors.New("the monitor is no unix socket")
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var credErr error
	err = raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); credErr == nil {
			pid = int(cred.Pid)
		}
	})
	return pid, errors.Join(err, credErr)
}

// Close ends the session. QEMU goes on.
func (s *Session) Close() error {
	s.end(ErrClosed)
	return nil
}

// Execute sends a command and waits for the answer. A result that is not nil
// gets what QEMU returned.
func (s *Session) Execute(ctx context.Context, name string, arguments, result any) error {
	call, err := s.Send(ctx, name, arguments)
	if err != nil {
		return err
	}
	return call.Wait(ctx, result)
}

// Send sends a command without waiting for the answer. It works on a stopped
// QEMU too, which obeys once it is let go.
func (s *Session) Send(ctx context.Context, name string, arguments any) (*Call, error) {
	call, id, err := s.register(name)
	if err != nil {
		return nil, err
	}
	line, err := encode(name, arguments, id)
	if err == nil {
		err = s.write(ctx, line)
	}
	if err != nil {
		s.forget(id)
		return nil, fmt.Errorf("send %s to QEMU: %w", name, err)
	}
	return call, nil
}

// Answered is closed once the answer is there, or the session has ended.
func (c *Call) Answered() <-chan struct{} { return c.answered }

// Wait waits for the answer.
func (c *Call) Wait(ctx context.Context, result any) error {
	select {
	case <-c.answered:
	case <-ctx.Done():
		return fmt.Errorf("QEMU does not answer %s: %w", c.name, ctx.Err())
	}
	if c.err != nil {
		return c.err
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(c.result, result); err != nil {
		return fmt.Errorf("QEMU's answer to %s makes no sense: %w", c.name, err)
	}
	return nil
}

func (s *Session) register(name string) (*Call, uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil {
		return nil, 0, fmt.Errorf("%s: %w", name, s.cause)
	}
	if len(s.calls) >= maxCalls {
		return nil, 0, fmt.Errorf("%s: %d commands wait for an answer already; QEMU is frozen or hangs", name, maxCalls)
	}
	s.last++
	call := &Call{name: name, answered: make(chan struct{})}
	s.calls[s.last] = call
	return call, s.last, nil
}

func (s *Session) forget(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.calls, id)
}

// write sends a line whole. A line that went out in part has broken the
// stream, so the session ends.
func (s *Session) write(ctx context.Context, line []byte) error {
	select {
	case s.writing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ended:
		return ErrClosed
	}
	defer func() { <-s.writing }()
	if err := ctx.Err(); err != nil {
		return err
	}
	_ = s.conn.SetWriteDeadline(time.Time{})
	expired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(expired)
		_ = s.conn.SetWriteDeadline(time.Unix(1, 0))
	})
	n, err := s.conn.Write(line)
	if !stop() {
		<-expired
	}
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil && n > 0 {
		s.end(fmt.Errorf("%w: a command was sent in part: %w", ErrClosed, err))
	}
	return err
}

// read takes apart what QEMU sends, until the session ends.
func (s *Session) read(lines *bufio.Scanner) {
	for {
		m, err := next(lines)
		if err == nil {
			err = s.take(m)
		}
		if err != nil {
			s.end(fmt.Errorf("%w: %w", ErrClosed, err))
			return
		}
	}
}

func (s *Session) take(m message) error {
	switch {
	case m.Greeting != nil:
		return errors.New("QEMU sent a second greeting")
	case m.Event != "":
		if s.handle != nil {
			s.handle(m.event())
		}
		return nil
	case m.ID == nil:
		return fmt.Errorf("%w: %v", errUnidentified, m.Error)
	}
	s.answer(*m.ID, m)
	return nil
}

// answer hands an answer to its call. Nobody may be waiting any more.
func (s *Session) answer(id uint64, m message) {
	s.mu.Lock()
	call := s.calls[id]
	delete(s.calls, id)
	s.mu.Unlock()
	if call == nil {
		return
	}
	call.result = m.Return
	if m.Error != nil {
		m.Error.Command = call.name
		call.err = m.Error
	}
	close(call.answered)
}

// end closes the connection and answers every open call with the cause.
func (s *Session) end(cause error) {
	s.mu.Lock()
	if s.cause != nil {
		s.mu.Unlock()
		return
	}
	s.cause = cause
	calls := s.calls
	s.calls = nil
	s.mu.Unlock()
	_ = s.conn.Close()
	for _, call := range calls {
		call.err = fmt.Errorf("%s: %w", call.name, cause)
		close(call.answered)
	}
	close(s.ended)
}

func newLines(r io.Reader) *bufio.Scanner {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 4096), MaxMessage)
	return lines
}

// next reads one message, skipping empty lines.
func next(lines *bufio.Scanner) (message, error) {
	for lines.Scan() {
		if len(lines.Bytes()) > 0 {
			// The scanner reuses its buffer; json.RawMessage copies what it keeps.
			return decode(lines.Bytes())
		}
	}
	err := lines.Err()
	if errors.Is(err, bufio.ErrTooLong) {
		return message{}, fmt.Errorf("QEMU sent a message of more than %d bytes", MaxMessage)
	}
	if err == nil {
		err = io.EOF
	}
	return message{}, err
}
