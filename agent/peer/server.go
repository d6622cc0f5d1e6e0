package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"storebeat/agent/clock"
	"storebeat/agent/network"
	"storebeat/datastorehb"
)

const (
	// MaxMessage is the largest message and the largest reply, in bytes.
	MaxMessage = 1 << 20

	messagePath = "/message"
	alivePath   = "/alive"
)

// Handler takes one message from another host and returns the reply. Handlers
// run at the same time.
type Handler func(ctx context.Context, from datastorehb.HostID, body []byte) ([]byte, error)

// ServerOptions bound what a server takes on. Zero values stand for defaults.
type ServerOptions struct {
	HandlerTimeout time.Duration // for one message; 10 s
	MaxConnections int           // open at a time, known or not; 4,096
	PerHost        int           // messages handled at a time for one host; 8
	Log            hclog.Logger  // nil: nothing is logged

	// Join takes the request of a host that has no certificate, and anybody can
	// send one: it asks for a token first. Nil refuses all.
	Join func(ctx context.Context, body []byte) ([]byte, error)
}

// Server takes messages from other hosts.
type Server struct {
	identity *Identity
	options  ServerOptions
	handler  Handler
	refusals clock.Pace
	joins    atomic.Int32 // under way

	mu    sync.Mutex
	inUse map[datastorehb.HostID]int
}

// NewServer returns a server that is not listening yet.
func NewServer(identity *Identity, o ServerOptions, handler Handler) *Server {
	if o.HandlerTimeout <= 0 {
		o.HandlerTimeout = 10 * time.Second
	}
	if o.MaxConnections <= 0 {
		o.MaxConnections = 4096
	}
	if o.PerHost <= 0 {
		o.PerHost = 8
	}
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	return &Server{
		identity: identity, options: o, handler: handler,
		refusals: clock.Pace{Every: time.Minute},
		inUse:    map[datastorehb.HostID]int{},
	}
}

// Listen opens the address, whether it is there already or not.
func Listen(address netip.AddrPort) (net.Listener, error) {
	lc := net.ListenConfig{Control: network.Freebind(address.Addr())}
	l, err := lc.Listen(context.Background(), "tcp", address.String())
	if err != nil {
		return nil, fmt.Errorf("listening for other agents on tcp %v: %w; is another agent running here, or does the address belong to another host?", address, err)
	}
	return l, nil
}

// Serve takes messages until ctx is done, and closes the listener. Handlers
// under way have their context cancelled.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	server := &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ReadHeaderTimeout: 5 * time.Second, // the handshake, too
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      s.options.HandlerTimeout + 10*time.Second,
		IdleTimeout:       5 * time.Minute,
		MaxHeaderBytes:    8 << 10,
		Protocols:         onlyHTTP1(),
		BaseContext:       func(net.Listener) context.Context { return requests },
		ErrorLog:          log.New(s, "", 0),
	}
	stop := context.AfterFunc(ctx, func() {
		cancel()
		_ = server.Close()
	})
	defer stop()
	err := server.Serve(tls.NewListener(s.bounded(l), s.identity.server()))
	if ctx.Err() != nil {
		return nil
	}
	_ = server.Close()
	return fmt.Errorf("taking messages from other agents on %v: %w", l.Addr(), err)
}

// Write takes the lines of the HTTP server, all of which tell of connections
// that came to nothing. A stranger must not be able to fill the log with them.
func (s *Server) Write(line []byte) (int, error) {
	if ok, held := s.refusals.Allow(clock.Now()); ok {
		s.options.Log.Warn("a connection from another agent failed: if that host belongs to the cluster, compare its cluster key and UUID with this one's",
			"reason", string(line[:max(0, len(line)-1)]), "held", held)
	}
	return len(line), nil
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if r.TLS.ServerName == joinName(s.identity.cluster) {
		s.join(w, r)
		return
	}
	from, err := s.identity.hostOf(*r.TLS)
	if err != nil { // the handshake checked it, so it can't be
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	switch r.URL.Path {
	case alivePath:
		w.WriteHeader(http.StatusNoContent)
	case messagePath:
		s.message(w, r, from)
	default:
		http.NotFound(w, r)
	}
}

func (s *Server) message(w http.ResponseWriter, r *http.Request, from datastorehb.HostID) {
	if !s.enter(from) {
		http.Error(w, fmt.Sprintf("%d messages of host %d are being handled already; send again later", s.options.PerHost, from), http.StatusServiceUnavailable)
		return
	}
	defer s.leave(from)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxMessage))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		http.Error(w, fmt.Sprintf("the message is larger than %d bytes", MaxMessage), http.StatusRequestEntityTooLarge)
		return
	}
	if err != nil {
		http.Error(w, "the message did not arrive in full: "+err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.options.HandlerTimeout)
	defer cancel()
	reply, err := s.handler(ctx, from, body)
	if err == nil && len(reply) > MaxMessage {
		err = fmt.Errorf("the reply has %d bytes, more than the %d allowed", len(reply), MaxMessage)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write(reply) // a sender that is gone learns it from its own error
}

func (s *Server) enter(from datastorehb.HostID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inUse[from] >= s.options.PerHost {
		return false
	}
	s.inUse[from]++
	return true
}

func (s *Server) leave(from datastorehb.HostID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inUse[from]--; s.inUse[from] == 0 {
		delete(s.inUse, from)
	}
}

func onlyHTTP1() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	return p
}

// bounded drops connections beyond the limit at once: to let them wait would
// let strangers keep members out for longer.
func (s *Server) bounded(l net.Listener) net.Listener {
	return &boundedListener{Listener: l, free: make(chan struct{}, s.options.MaxConnections)}
}

type boundedListener struct {
	net.Listener
	free chan struct{}
}

func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.free <- struct{}{}:
			return &boundedConn{Conn: conn, release: sync.OnceFunc(func() { <-l.free })}, nil
		default:
			_ = conn.Close()
		}
	}
}

type boundedConn struct {
	net.Conn
	release func()
}

func (c *boundedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
