package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"storebeat/agent/clock"
	"storebeat/datastorehb"
	"storebeat/partition"
)

const (
	// receiveBuffer holds one burst of a thousand hosts that all send at once.
	receiveBuffer = 2 << 20

	// logEvery is how often a lasting trouble is logged again.
	logEvery = time.Minute
)

// Options say where a host listens and whom it talks to.
type Options struct {
	Self datastorehb.HostID

	// Addresses are this host's own, one for each network it is on. An invalid
	// (zero) address stands for a network this host is not on.
	Addresses []netip.AddrPort

	// Peers lists the addresses of the other hosts in the order of Addresses: the
	// k-th address of a peer is on the network of the k-th own address. A peer's
	// address beyond that is reached from the first own address of its family.
	Peers map[datastorehb.HostID][]netip.AddrPort

	Log hclog.Logger // nil: nothing is logged
}

// Stats counts what happened since Listen. Every number only grows.
type Stats struct {
	Sent       uint64 // packets the kernel took
	SendErrors uint64 // packets it refused
	Received   uint64 // packets delivered
	Oversize   uint64 // packets dropped for their size
	ReadErrors uint64
}

// Conn sends and receives network heartbeats on all of a host's networks.
type Conn struct {
	self    datastorehb.HostID
	log     hclog.Logger
	sockets []*socket // in the order of Options.Addresses, nil where there is none
	deliver sync.Mutex
	peers   atomic.Pointer[map[datastorehb.HostID]*peer]

	sent, sendErrors, received, oversize, readErrors atomic.Uint64

	unreadable clock.Pace
	tooLarge   clock.Pace
}

// Listen opens one socket for each own address. It fails when an address can't
// be had, because another process listens there, and then opens none.
func Listen(o Options) (*Conn, error) {
	c := &Conn{
		self:       o.Self,
		log:        o.Log,
		unreadable: clock.Pace{Every: logEvery},
		tooLarge:   clock.Pace{Every: logEvery},
	}
	if c.log == nil {
		c.log = hclog.NewNullLogger()
	}
	if !slices.ContainsFunc(o.Addresses, netip.AddrPort.IsValid) {
		return nil, fmt.Errorf("host %d has no address for network heartbeats: give it one in the configuration", o.Self)
	}
	for _, a := range o.Addresses {
		s, err := listen(a)
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.sockets = append(c.sockets, s)
	}
	c.SetPeers(o.Peers)
	return c, nil
}

// SetPeers replaces the addresses of the other hosts, as after a change of the
// configuration. It may be called at any time.
func (c *Conn) SetPeers(peers map[datastorehb.HostID][]netip.AddrPort) {
	next := make(map[datastorehb.HostID]*peer, len(peers))
	for id, addresses := range peers {
		if id != c.self {
			next[id] = c.route(id, addresses)
		}
	}
	c.peers.Store(&next)
}

// Peers returns the hosts that Send can reach, in rising order.
func (c *Conn) Peers() []datastorehb.HostID {
	return slices.Sorted(maps.Keys(*c.peers.Load()))
}

// Addresses returns the own addresses, with the ports that were really opened.
func (c *Conn) Addresses() []netip.AddrPort {
	out := make([]netip.AddrPort, len(c.sockets))
	for k, s := range c.sockets {
		if s != nil {
			out[k] = s.conn.LocalAddr().(*net.UDPAddr).AddrPort()
		}
	}
	return out
}

// Stats returns the counters.
func (c *Conn) Stats() Stats {
	return Stats{
		Sent: c.sent.Load(), SendErrors: c.sendErrors.Load(),
		Received: c.received.Load(), Oversize: c.oversize.Load(), ReadErrors: c.readErrors.Load(),
	}
}

// Close closes the sockets. A Run under way returns.
func (c *Conn) Close() error {
	var errs []error
	for _, s := range c.sockets {
		if s != nil {
			errs = append(errs, s.conn.Close())
		}
	}
	return errors.Join(errs...)
}

// Run delivers every packet until ctx is done or the Conn is closed. The calls
// of deliver never overlap; raw belongs to deliver from then on.
func (c *Conn) Run(ctx context.Context, deliver func(raw []byte, from netip.AddrPort, at datastorehb.Instant)) {
	stop := context.AfterFunc(ctx, func() {
		for _, s := range c.sockets {
			if s != nil {
				_ = s.conn.SetReadDeadline(time.Unix(1, 0)) // wakes the reader
			}
		}
	})
	defer stop()
	var readers sync.WaitGroup
	for _, s := range c.sockets {
		if s != nil {
			readers.Go(func() { c.read(ctx, s, deliver) })
		}
	}
	readers.Wait()
}

func (c *Conn) read(ctx context.Context, s *socket, deliver func([]byte, netip.AddrPort, datastorehb.Instant)) {
	// One byte more than allowed, to tell a packet that fits from one cut short.
	buffer := make([]byte, partition.MaxPacket+1)
	for ctx.Err() == nil {
		n, from, err := s.conn.ReadFromUDPAddrPort(buffer)
		at := clock.Now()
		switch {
		case err != nil:
			if !c.readFailed(ctx, s, at, err) {
				return
			}
		case n > partition.MaxPacket:
			c.oversize.Add(1)
			if ok, held := c.tooLarge.Allow(at); ok {
				c.log.Warn("dropped a packet too large to be a heartbeat", "from", from, "limit", partition.MaxPacket, "held", held)
			}
		default:
			c.received.Add(1)
			c.hand(deliver, slices.Clone(buffer[:n]), unmapped(from), at)
		}
	}
}

func (c *Conn) hand(deliver func([]byte, netip.AddrPort, datastorehb.Instant), raw []byte, from netip.AddrPort, at datastorehb.Instant) {
	c.deliver.Lock()
	defer c.deliver.Unlock()
	deliver(raw, from, at)
}

// readFailed says whether to go on reading. A socket that fails again and again,
// as while its interface is down, is read ten times a second and no more.
func (c *Conn) readFailed(ctx context.Context, s *socket, at datastorehb.Instant, err error) bool {
	if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
		return false
	}
	c.readErrors.Add(1)
	if ok, held := c.unreadable.Allow(at); ok {
		c.log.Warn("receiving network heartbeats failed", "address", s.address, "error", err, "held", held)
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(100 * time.Millisecond):
		return true
	}
}

// socket is one own address.
type socket struct {
	address netip.AddrPort
	conn    *net.UDPConn
	raw     syscall.RawConn
}

func listen(a netip.AddrPort) (*socket, error) {
	if !a.IsValid() {
		return nil, nil
	}
	a = unmapped(a)
	lc := net.ListenConfig{Control: Freebind(a.Addr())}
	pc, err := lc.ListenPacket(context.Background(), family(a.Addr()), a.String())
	if err != nil {
		return nil, fmt.Errorf("listening for network heartbeats on udp %v: %w; is another agent running here, or does the address belong to another host?", a, err)
	}
	conn := pc.(*net.UDPConn)
	_ = conn.SetReadBuffer(receiveBuffer) // the kernel gives what it allows
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &socket{address: a, conn: conn, raw: raw}, nil
}

// Freebind is for net.ListenConfig.Control. It lets a socket be bound to an
// address that is not there, as when the link is down at boot: such a host must
// still start, and find itself isolated.
func Freebind(a netip.Addr) func(network, address string, raw syscall.RawConn) error {
	level, option := unix.SOL_IPV6, unix.IPV6_FREEBIND
	if a.Unmap().Is4() {
		level, option = unix.SOL_IP, unix.IP_FREEBIND
	}
	return func(_, _ string, raw syscall.RawConn) error {
		var err error
		controlled := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, option, 1) })
		return errors.Join(controlled, err)
	}
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "udp4"
	}
	return "udp6"
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
