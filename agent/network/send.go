package network

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"storebeat/agent/clock"
	"storebeat/datastorehb"
	"storebeat/partition"
)

// peer is another host and the ways to it.
type peer struct {
	id    datastorehb.HostID
	paths []*path
}

// path is one address of a peer and the socket that reaches it.
type path struct {
	to      netip.AddrPort
	through *socket // nil: no own address has the family of to
	wire    unix.Sockaddr
	failing atomic.Bool
	repeat  clock.Pace
}

// route finds the socket for each address of a peer.
func (c *Conn) route(id datastorehb.HostID, addresses []netip.AddrPort) *peer {
	p := &peer{id: id}
	for k, a := range addresses {
		if !a.IsValid() {
			continue
		}
		a = unmapped(a)
		p.paths = append(p.paths, &path{to: a, through: c.socketFor(k, a), wire: wireAddress(a), repeat: clock.Pace{Every: logEvery}})
	}
	return p
}

func (c *Conn) socketFor(k int, to netip.AddrPort) *socket {
	fits := func(s *socket) bool { return s != nil && s.address.Addr().Is4() == to.Addr().Is4() }
	if k < len(c.sockets) && fits(c.sockets[k]) {
		return c.sockets[k]
	}
	for _, s := range c.sockets {
		if fits(s) {
			return s
		}
	}
	return nil
}

// Send hands the payload to the kernel once for every address of the host, and
// never waits: what the kernel can't take at once is lost, like any packet. The
// error tells that no address took it. It is already counted and logged, so
// most callers ignore it.
func (c *Conn) Send(to datastorehb.HostID, payload []byte) error {
	if len(payload) == 0 || len(payload) > partition.MaxPacket {
		return fmt.Errorf("a heartbeat of %d bytes can't be sent: it must have 1 to %d", len(payload), partition.MaxPacket)
	}
	p := (*c.peers.Load())[to]
	if p == nil || len(p.paths) == 0 {
		return fmt.Errorf("host %d has no address for network heartbeats: add one to the configuration", to)
	}
	var errs []error
	for _, path := range p.paths {
		err := path.send(payload)
		c.sentOrNot(p, path, err)
		if err != nil {
			errs = append(errs, fmt.Errorf("sending to host %d at %v: %w", to, path.to, err))
		}
	}
	if len(errs) < len(p.paths) {
		return nil
	}
	return errors.Join(errs...)
}

func (p *path) send(payload []byte) error {
	if p.through == nil {
		return errors.New("this host has no address of that family")
	}
	var sendErr error
	// The function returns true whatever happened: to return false would be to
	// wait until the socket is writable.
	err := p.through.raw.Write(func(fd uintptr) bool {
		sendErr = unix.Sendto(int(fd), payload, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, p.wire)
		return true
	})
	if err != nil {
		return err
	}
	return sendErr
}

// sentOrNot counts, and logs the first failure of a path, its end, and a
// reminder now and then in between.
func (c *Conn) sentOrNot(p *peer, path *path, err error) {
	if err == nil {
		c.sent.Add(1)
		if path.failing.CompareAndSwap(true, false) {
			c.log.Info("network heartbeats can be sent again", "host", p.id, "address", path.to)
		}
		return
	}
	c.sendErrors.Add(1)
	first := path.failing.CompareAndSwap(false, true)
	if ok, held := path.repeat.Allow(clock.Now()); ok || first {
		c.log.Warn("network heartbeat can't be sent", "host", p.id, "address", path.to, "error", err, "held", held)
	}
}

func wireAddress(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16(), ZoneId: zone(a.Addr())}
}
