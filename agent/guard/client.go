package guard

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/freeze"
	"storebeat/datastorehb"
)

// ErrRefused is in the chain of errors by which a guard that is alive says no.
// All other errors of a Client mean that the guard is gone, hangs, or that the
// caller gave up; whether it has done what was asked is then unknown.
var ErrRefused = errors.New("guard refuses")

// callTimeout bounds calls whose context has no deadline. A guard answers in
// milliseconds, or hangs.
const callTimeout = 2 * time.Second

// eventBuffer is how many events the agent may leave unread.
const eventBuffer = 4096

// Client is the agent's connection to its guard. Its methods may be called from
// several goroutines. A Client doesn't reconnect: when Done is closed, dial
// again, say Hello and compare the inventory.
type Client struct {
	conn   *net.UnixConn
	pid    int                           // of who listened when this connected
	guard  atomic.Pointer[freeze.Handle] // who answered last, nil while nobody has
	events chan Event
	done   chan struct{}
	fed    atomic.Int64 // an instant
	older  atomic.Bool  // the guard speaks the version before this one

	writing sync.Mutex // held while a request is written
	mu      sync.Mutex // guards what follows
	next    uint64
	waiting map[uint64]chan answer
	err     error
}

// Dial connects to the guard at a socket.
func Dial(ctx context.Context, socket string) (*Client, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("connect to guard: %w", err)
	}
	unixConn := conn.(*net.UnixConn)
	cred, err := peer(unixConn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	c := &Client{
		conn: unixConn, pid: int(cred.Pid), events: make(chan Event, eventBuffer),
		done: make(chan struct{}), waiting: map[uint64]chan answer{},
	}
	go c.read()
	return c, nil
}

// PID returns the process id of the guard that answered last. Of one that has not
// answered yet the kernel knows it.
func (c *Client) PID() int {
	if h := c.guard.Load(); h != nil {
		return h.PID
	}
	return c.pid
}

// Guard returns the process that answered last. It may have been restarted since.
func (c *Client) Guard() (freeze.Handle, error) {
	if h := c.guard.Load(); h != nil {
		return *h, nil
	}
	return freeze.Of(c.pid, "")
}

// Events delivers what the guard reports to the agent, from Hello on. It is
// closed with the connection; what was missed shows in the next inventory.
func (c *Client) Events() <-chan Event { return c.events }

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err says why the connection has ended; nil while it has not.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection. The guard goes on.
func (c *Client) Close() error {
	c.fail(errors.New("connection to guard was closed"))
	<-c.done
	return nil
}

// Hello makes this connection the agent's, in place of any earlier one, and
// returns what the guard knows.
func (c *Client) Hello(ctx context.Context, incarnation uint64) (Inventory, error) {
	i, err := c.inventory(ctx, request{Op: opHello, Version: protocolVersion, Incarnation: incarnation})
	if errors.Is(err, ErrRefused) {
		c.older.Store(true)
		i, err = c.inventory(ctx, request{Op: opHello, Version: oldestVersion, Incarnation: incarnation})
	}
	return i, err
}

// Inventory returns what the guard knows. It may be asked on any connection.
func (c *Client) Inventory(ctx context.Context) (Inventory, error) {
	return c.inventory(ctx, request{Op: opInventory})
}

func (c *Client) inventory(ctx context.Context, r request) (Inventory, error) {
	a, err := c.call(ctx, r)
	if err != nil {
		return Inventory{}, err
	}
	if a.Inventory == nil {
		return Inventory{}, errors.New("guard answered without an inventory")
	}
	c.guard.Store(&a.Inventory.Guard)
	return *a.Inventory, nil
}

// Ping returns nil if the guard answers.
func (c *Client) Ping(ctx context.Context) error {
	a, err := c.call(ctx, request{Op: opPing})
	if err == nil {
		c.fed.Store(int64(a.Fed))
		if a.Guard != nil {
			c.guard.Store(a.Guard)
		}
	}
	return err
}

// Fed returns when the guard fed the watchdog last, as of the newest Ping; 0 if
// it has none.
func (c *Client) Fed() datastorehb.Instant { return datastorehb.Instant(c.fed.Load()) }

// SetLease tells the guard of a term's lease, or of its new deadline.
func (c *Client) SetLease(ctx context.Context, datastore uuid.UUID, term uint64, length time.Duration, deadline datastorehb.Instant) error {
	_, err := c.call(ctx, request{Op: opSetLease, Datastore: datastore, Term: term, Length: length, Deadline: deadline})
	return err
}

// BeginCustody makes the guard hold the lease of a term without limit (R11). The
// own slot on the datastore must say so already, by a write that has completed
// under that lease.
func (c *Client) BeginCustody(ctx context.Context, datastore uuid.UUID, term uint64) error {
	if c.older.Load() {
		return fmt.Errorf("%w: it is of an earlier version, which knows nothing of custody; restart it once to upgrade it", ErrRefused)
	}
	_, err := c.call(ctx, request{Op: opCustody, Datastore: datastore, Term: term})
	return err
}

// EndCustody makes the guard limit the lease again, and returns the deadline. The
// write that ends custody on the datastore must not be issued before.
func (c *Client) EndCustody(ctx context.Context, datastore uuid.UUID, term uint64) (datastorehb.Instant, error) {
	a, err := c.call(ctx, request{Op: opEnd, Datastore: datastore, Term: term})
	return a.Deadline, err
}

// Register makes the guard hold a machine, frozen. Term and State of the
// machine are the guard's and are not looked at. The freeze has been issued when
// Register returns; the event MachineFrozen tells when it is done.
func (c *Client) Register(ctx context.Context, machine Machine) error {
	_, err := c.call(ctx, request{Op: opRegister, Machine: &machine})
	return err
}

// LetGo asks the guard to let machines run under a term. The error concerns the
// call; whether a machine runs is said by the result.
func (c *Client) LetGo(ctx context.Context, datastore uuid.UUID, term uint64, vms []uuid.UUID) (LetGoResult, error) {
	a, err := c.call(ctx, request{Op: opLetGo, Datastore: datastore, Term: term, VMs: vms})
	if err != nil {
		return LetGoResult{}, err
	}
	if a.LetGo == nil {
		return LetGoResult{}, errors.New("guard answered without a result")
	}
	return *a.LetGo, nil
}

// Freeze makes the guard freeze machines, whatever their lease says. The freeze
// has been issued when Freeze returns; the event MachineFrozen tells when it is done.
func (c *Client) Freeze(ctx context.Context, vms ...uuid.UUID) error {
	_, err := c.call(ctx, request{Op: opFreeze, VMs: vms})
	return err
}

// Forget makes the guard drop machines that are gone. It refuses for others.
func (c *Client) Forget(ctx context.Context, vms ...uuid.UUID) error {
	_, err := c.call(ctx, request{Op: opForget, VMs: vms})
	return err
}

// call sends a request and waits for its answer, the context, or the end of the
// connection.
func (c *Client) call(ctx context.Context, r request) (answer, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	reply := make(chan answer, 1)
	id, err := c.expect(reply)
	if err != nil {
		return answer{}, err
	}
	defer c.forgetCall(id)
	r.ID = id
	if err := c.write(ctx, r); err != nil {
		return answer{}, err
	}
	select {
	case a := <-reply:
		if a.Error != "" {
			return a, fmt.Errorf("%w to %s: %s", ErrRefused, r.Op, a.Error)
		}
		return a, nil
	case <-c.done:
		return answer{}, fmt.Errorf("%s: %w", r.Op, c.Err())
	case <-ctx.Done():
		return answer{}, fmt.Errorf("%s: guard process %d gives no answer: %w", r.Op, c.PID(), ctx.Err())
	}
}

func (c *Client) expect(reply chan answer) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	c.next++
	c.waiting[c.next] = reply
	return c.next, nil
}

func (c *Client) forgetCall(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
}

// write sends a request. After half a request the rest of the stream means
// nothing, so a failed write ends the connection.
func (c *Client) write(ctx context.Context, r request) error {
	line, err := encode(r)
	if err != nil {
		return err
	}
	if len(line) > maxRequest {
		return fmt.Errorf("%s: request of %d bytes is longer than the %d that the guard takes; split it", r.Op, len(line), maxRequest)
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	deadline, _ := ctx.Deadline()
	err = c.conn.SetWriteDeadline(deadline)
	if err == nil {
		_, err = c.conn.Write(line)
	}
	if err != nil {
		err = fmt.Errorf("%s: write to guard process %d: %w", r.Op, c.PID(), err)
		c.fail(err)
	}
	return err
}

// read delivers answers and events until the connection ends.
func (c *Client) read() {
	defer close(c.done)
	defer close(c.events)
	scanner := bufio.NewScanner(c.conn)
	scanner.Buffer(make([]byte, 0, 4096), maxAnswer)
	for scanner.Scan() {
		var a answer
		if err := json.Unmarshal(scanner.Bytes(), &a); err != nil {
			c.fail(fmt.Errorf("guard process %d sends what is no message: %w", c.PID(), err))
			return
		}
		if !c.deliver(a) {
			return
		}
	}
	c.fail(fmt.Errorf("guard process %d has closed the connection: %w", c.PID(), errors.Join(scanner.Err(), net.ErrClosed)))
}

func (c *Client) deliver(a answer) bool {
	if a.Event != nil {
		select {
		case c.events <- *a.Event:
			return true
		default:
			c.fail(fmt.Errorf("%d events of the guard were left unread", eventBuffer))
			return false
		}
	}
	c.mu.Lock()
	reply := c.waiting[a.ID]
	delete(c.waiting, a.ID)
	c.mu.Unlock()
	if reply != nil {
		reply <- a
		return true
	}
	if a.ID == 0 && a.Error != "" {
		c.fail(fmt.Errorf("%w: %s", ErrRefused, a.Error))
		return false
	}
	// The answer to a call that was given up.
	return true
}

// fail ends the connection; the first reason stands.
func (c *Client) fail(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	c.mu.Unlock()
	c.conn.Close()
}
