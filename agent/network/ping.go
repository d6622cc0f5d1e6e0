package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	probing "github.com/prometheus-community/pro-bing"
	"golang.org/x/sys/unix"
)

// ErrNotPermitted says that this process may not send ICMP echo requests at
// all. The address was not asked, which is not the same as no answer.
var ErrNotPermitted = errors.New("not permitted to send ICMP echo requests: run the agent as root, give it CAP_NET_RAW, or widen net.ipv4.ping_group_range")

// Ping sends one ICMP echo request and waits for the answer until timeout.
//
//	true,  nil             the address answered
//	false, nil             it was asked and did not answer in time
//	false, ErrNotPermitted it was not asked (test with errors.Is)
//	false, other error     the request could not leave this host (no route, link
//	                       down, ctx done): evidence against the own network
func Ping(ctx context.Context, address netip.Addr, timeout time.Duration) (bool, error) {
	address = address.Unmap()
	if !address.IsValid() || timeout <= 0 {
		return false, fmt.Errorf("can't ping address %v within %v: give a valid address and a positive timeout", address, timeout)
	}
	if err := leaves(address); err != nil {
		return false, fmt.Errorf("pinging %v: %w", address, err)
	}
	// Raw sockets need a capability, datagram ones a group: try both, the likelier first.
	answered, err := pingAs(ctx, address, timeout, os.Geteuid() == 0)
	if forbidden(err) {
		answered, err = pingAs(ctx, address, timeout, os.Geteuid() != 0)
	}
	switch {
	case forbidden(err):
		return false, fmt.Errorf("pinging %v: %w (%v)", address, ErrNotPermitted, err)
	case err != nil:
		return false, fmt.Errorf("pinging %v: %w", address, err)
	}
	return answered, nil
}

func pingAs(ctx context.Context, address netip.Addr, timeout time.Duration, raw bool) (bool, error) {
	p := probing.New(address.String())
	p.SetIPAddr(&net.IPAddr{IP: address.AsSlice(), Zone: address.Zone()})
	p.SetPrivileged(raw)
	p.SetLogger(probing.NoopLogger{})
	p.Count, p.Timeout, p.Interval = 1, timeout, timeout
	p.RecordRtts, p.RecordTTLs = false, false
	if err := p.RunWithContext(ctx); err != nil {
		return false, err
	}
	return p.PacketsRecv > 0, nil
}

// forbidden tells a refused socket from a refused packet: a firewall answers a
// packet with EPERM, too, but then the socket was had.
func forbidden(err error) bool {
	if !errors.Is(err, fs.ErrPermission) {
		return false
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Op == "listen"
	}
	var call *os.SyscallError
	return errors.As(err, &call) && call.Syscall == "socket"
}

// leaves asks the kernel for a route without sending anything. The ping library
// takes the EACCES of a "prohibit" route for a broadcast address and would try
// for ever.
func leaves(address netip.Addr) error {
	domain := unix.AF_INET6
	if address.Is4() {
		domain = unix.AF_INET
	}
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, wireAddress(netip.AddrPortFrom(address, 9)))
}

func zone(a netip.Addr) uint32 {
	if a.Zone() == "" {
		return 0
	}
	if n, err := strconv.ParseUint(a.Zone(), 10, 32); err == nil {
		return uint32(n)
	}
	if i, err := net.InterfaceByName(a.Zone()); err == nil {
		return uint32(i.Index)
	}
	return 0
}
