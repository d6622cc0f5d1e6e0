package peer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"storebeat/datastorehb"
)

const (
	dialTimeout = 3 * time.Second

	// headStart is what each address has before the next one is tried as well.
	headStart = 150 * time.Millisecond

	// unanswered is how long sent bytes may lack their TCP acknowledgement before
	// the connection counts as dead.
	unanswered = 5 * time.Second
)

// host is another host and the connections to it. Each has a transport of its
// own, so that nothing is shared that one host could use up.
type host struct {
	id        datastorehb.HostID
	tls       *tls.Config
	addresses atomic.Pointer[[]netip.AddrPort]
	transport *http.Transport
	warming   atomic.Bool
	dials     atomic.Uint64 // handshakes begun, for tests
}

func newHost(id datastorehb.HostID, config *tls.Config) *host {
	h := &host{id: id, tls: config}
	h.transport = &http.Transport{
		DialTLSContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return h.connect(ctx) },
		Protocols:              onlyHTTP1(),
		MaxConnsPerHost:        connectionsPerHost,
		MaxIdleConnsPerHost:    connectionsPerHost,
		IdleConnTimeout:        0, // never: they are to be there when a failover comes
		DisableCompression:     true,
		MaxResponseHeaderBytes: 8 << 10,
	}
	return h
}

func (h *host) setAddresses(addresses []netip.AddrPort) {
	valid := slices.DeleteFunc(slices.Clone(addresses), func(a netip.AddrPort) bool { return !a.IsValid() })
	if old := h.addresses.Swap(&valid); old != nil && !slices.Equal(*old, valid) {
		h.transport.CloseIdleConnections()
	}
}

func (h *host) close() { h.transport.CloseIdleConnections() }

// connect makes a connection to whichever address answers first. Its time is
// bounded here because the transport lets a dial outlive the message it was for.
func (h *host) connect(ctx context.Context) (net.Conn, error) {
	h.dials.Add(1)
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	plain, err := race(ctx, *h.addresses.Load())
	if err != nil {
		return nil, err
	}
	conn := tls.Client(plain, h.tls)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = plain.Close()
		return nil, fmt.Errorf("handshake with %v: %w", plain.RemoteAddr(), err)
	}
	return conn, nil
}

type dialed struct {
	conn net.Conn
	err  error
}

// race dials all addresses, one head start after the other, and returns the
// first connection.
func race(ctx context.Context, addresses []netip.AddrPort) (net.Conn, error) {
	if len(addresses) == 0 {
		return nil, errors.New("it has no address: add one to the configuration")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan dialed, len(addresses))
	for k, a := range addresses {
		go func() {
			conn, err := dialAfter(ctx, time.Duration(k)*headStart, a)
			results <- dialed{conn, err}
		}()
	}
	var errs []error
	for left := len(addresses) - 1; left >= 0; left-- {
		r := <-results
		if r.err == nil {
			go closeRest(results, left)
			return r.conn, nil
		}
		errs = append(errs, r.err)
	}
	return nil, errors.Join(errs...)
}

// closeRest takes in the losers, whose dials are cancelled by then.
func closeRest(results <-chan dialed, left int) {
	for range left {
		if r := <-results; r.err == nil {
			_ = r.conn.Close()
		}
	}
}

func dialAfter(ctx context.Context, wait time.Duration, a netip.AddrPort) (net.Conn, error) {
	if wait > 0 {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
	d := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: unanswered, Interval: 2 * time.Second, Count: 3},
		Control:         giveUpEarly,
	}
	return d.DialContext(ctx, "tcp", a.String())
}

// giveUpEarly keeps a connection to a dead host from looking alive for the
// quarter of an hour that TCP would go on trying.
func giveUpEarly(_, _ string, raw syscall.RawConn) error {
	var err error
	controlled := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unanswered.Milliseconds()))
	})
	return errors.Join(controlled, err)
}

// explain adds the remedy to errors that come from a wrong key or a mix-up of hosts.
func explain(err error) error {
	if name, ok := errors.AsType[x509.HostnameError](err); ok {
		return fmt.Errorf("another host answers at its address: %w; correct the addresses in the configuration", name)
	}
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	var remote *net.OpError
	if unknown || alert || errors.As(err, &remote) && remote.Op == "remote error" {
		return fmt.Errorf("%w; both hosts must have the same cluster key and cluster UUID", err)
	}
	return err
}
