package guard

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxConnections = 16
	outboxLines    = 1024 // answers and events a client may leave unread
	writeTimeout   = 2 * time.Second
)

// connection is one client as the guard's loop sees it.
type connection struct {
	conn   *net.UnixConn
	outbox chan []byte
	left   bool        // the loop has let go of it
	keep   atomic.Bool // it stays open when the outbox is closed: a new program takes it over

	written chan struct{} // closed when the outbox is empty, or can't be emptied
	failed  bool          // it can't; to be read after written is closed
	reading *reading
}

// reading is what is read from a connection until it ends, or is paused by a
// deadline in the past.
type reading struct {
	rest []byte        // read, and no complete line; to be looked at after done is closed
	done chan struct{} // closed when nothing is read any more
}

// call is what a connection has brought: a request, a line that is none, or
// its end.
type call struct {
	from    *connection
	request request
	err     error // of the request
	closed  bool
}

// start reads and writes until the loop leaves the connection, or pauses it.
func (c *connection) start(rest []byte, calls chan<- call, stopped <-chan struct{}) {
	c.written = make(chan struct{})
	c.reading = &reading{rest: rest, done: make(chan struct{})}
	go c.write()
	go c.read(c.reading, calls, stopped)
}

// send puts an answer into the outbox, or gives the client up if it doesn't
// read: it will connect again and ask for the inventory.
func (c *connection) send(a answer) {
	line, err := encode(a)
	if err != nil || c.left {
		return
	}
	select {
	case c.outbox <- line:
	default:
		c.leave()
	}
}

// leave ends the connection. What is in the outbox is sent first.
func (c *connection) leave() {
	if !c.left {
		c.left = true
		close(c.outbox)
	}
}

// write empties the outbox until the loop closes it.
func (c *connection) write() {
	defer close(c.written)
	for line := range c.outbox {
		if !c.failed && !c.keep.Load() {
			c.failed = c.conn.SetWriteDeadline(time.Now().Add(writeTimeout)) != nil
		}
		if !c.failed {
			c.failed = c.put(line) != nil
		}
		if c.failed && !c.keep.Load() {
			c.conn.Close()
		}
	}
	if !c.keep.Load() {
		c.conn.Close()
	}
}

// put writes a line within the connection's deadline. That one may have passed while the
// guard had no processor, and then nobody has been waited for: what there is room for is
// written all the same. An agent that loses its guard freezes every machine.
func (c *connection) put(line []byte) error {
	n, err := c.conn.Write(line)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	raw, rawErr := c.conn.SyscallConn()
	if rawErr != nil {
		return errors.Join(err, rawErr)
	}
	rest := line[n:]
	rawErr = raw.Control(func(fd uintptr) {
		for len(rest) > 0 {
			n, sendErr := unix.SendmsgN(int(fd), rest, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
			if sendErr != nil && !errors.Is(sendErr, unix.EINTR) {
				return
			}
			rest = rest[max(n, 0):]
		}
	})
	if len(rest) > 0 || rawErr != nil {
		return errors.Join(err, rawErr)
	}
	return nil
}

// read brings every line to the loop until the connection ends, the loop does, or
// a deadline pauses it.
func (c *connection) read(r *reading, calls chan<- call, stopped <-chan struct{}) {
	defer close(r.done)
	deliver := func(one call) bool {
		one.from = c
		select {
		case calls <- one:
			return true
		case <-stopped:
			return false
		}
	}
	buffer := make([]byte, 4096)
	for {
		for line, rest, found := bytes.Cut(r.rest, []byte{'\n'}); found; line, rest, found = bytes.Cut(r.rest, []byte{'\n'}) {
			request, err := decodeRequest(line)
			r.rest = rest
			if !deliver(call{request: request, err: err}) {
				return
			}
		}
		if len(r.rest) > maxRequest {
			deliver(call{closed: true, err: fmt.Errorf("request is longer than %d bytes", maxRequest)})
			return
		}
		n, err := c.conn.Read(buffer)
		r.rest = append(r.rest, buffer[:n]...)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && bytes.IndexByte(r.rest, '\n') < 0:
			return
		case err == nil || errors.Is(err, os.ErrDeadlineExceeded):
		case errors.Is(err, io.EOF):
			deliver(call{closed: true})
			return
		default:
			deliver(call{closed: true, err: err})
			return
		}
	}
}
