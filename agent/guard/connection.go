package guard

import (
	"bufio"
	"net"
	"time"
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
	left   bool // the loop has let go of it
}

// call is what a connection has brought: a request, a line that is none, or
// its end.
type call struct {
	from    *connection
	request request
	err     error // of the request
	closed  bool
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

// write empties the outbox until the loop leaves the connection.
func (c *connection) write() {
	defer c.conn.Close()
	for line := range c.outbox {
		if c.conn.SetWriteDeadline(time.Now().Add(writeTimeout)) != nil {
			return
		}
		if _, err := c.conn.Write(line); err != nil {
			return
		}
	}
}

// read brings every line to the loop until the connection ends or the loop does.
func (c *connection) read(calls chan<- call, stopped <-chan struct{}) {
	deliver := func(one call) bool {
		one.from = c
		select {
		case calls <- one:
			return true
		case <-stopped:
			return false
		}
	}
	scanner := bufio.NewScanner(c.conn)
	scanner.Buffer(make([]byte, 0, 4096), maxRequest)
	for scanner.Scan() {
		r, err := decodeRequest(scanner.Bytes())
		if !deliver(call{request: r, err: err}) {
			return
		}
	}
	deliver(call{closed: true, err: scanner.Err()})
}
