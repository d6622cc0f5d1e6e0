package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"storebeat/datastorehb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come. It is no measurement.
const patience = 30 * time.Second

var (
	key     = [32]byte{1, 2, 3}
	cluster = uuid.MustParse("6f1f5a52-6c0e-4d5c-9d61-0f3a8b1c2d3e")
)

func identity(t *testing.T, key [32]byte, cluster uuid.UUID, self datastorehb.HostID) *Identity {
	t.Helper()
	id, err := NewIdentity(key, cluster, self)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// serve starts a server for a host until the test ends.
func serve(t *testing.T, id *Identity, o ServerOptions, handler Handler) netip.AddrPort {
	t.Helper()
	l, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := NewServer(id, o, handler).Serve(ctx, l); err != nil {
			t.Errorf("serving: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); done.Wait() })
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func client(t *testing.T, id *Identity, peers map[datastorehb.HostID][]netip.AddrPort) *Client {
	t.Helper()
	c := NewClient(id, peers)
	t.Cleanup(c.Close)
	return c
}

func at(a ...netip.AddrPort) []netip.AddrPort { return a }

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func echo(_ context.Context, from datastorehb.HostID, body []byte) ([]byte, error) {
	return append([]byte{byte(from)}, body...), nil
}

func TestMessageAndReply(t *testing.T) {
	address := serve(t, identity(t, key, cluster, 2), ServerOptions{}, echo)
	c := client(t, identity(t, key, cluster, 1), map[datastorehb.HostID][]netip.AddrPort{2: at(address)})
	for _, body := range [][]byte{nil, []byte("hello"), bytes.Repeat([]byte("x"), MaxMessage-1)} {
		reply, err := c.Send(within(t, patience), 2, body)
		if err != nil || len(reply) != len(body)+1 || reply[0] != 1 {
			t.Errorf("%d bytes: got %d bytes back, %v", len(body), len(reply), err)
		}
	}
}

func TestHandlerErrorIsRemote(t *testing.T) {
	address := serve(t, identity(t, key, cluster, 2), ServerOptions{}, func(context.Context, datastorehb.HostID, []byte) ([]byte, error) {
		return nil, errors.New("host is in maintenance")
	})
	c := client(t, identity(t, key, cluster, 1), map[datastorehb.HostID][]netip.AddrPort{2: at(address)})
	_, err := c.Send(within(t, patience), 2, nil)
	remote, ok := errors.AsType[*RemoteError](err)
	if !ok || remote.Host != 2 || remote.Message != "host is in maintenance" {
		t.Errorf("got %v", err)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	called := make(chan datastorehb.HostID, 10)
	var lines lockedBuffer
	address := serve(t, identity(t, key, cluster, 2), ServerOptions{Log: hclog.New(&hclog.LoggerOptions{Output: &lines})},
		func(_ context.Context, from datastorehb.HostID, _ []byte) ([]byte, error) {
			called <- from
			return nil, nil
		})
	peers := map[datastorehb.HostID][]netip.AddrPort{2: at(address), 3: at(address)}
	for _, c := range []struct {
		name string
		id   *Identity
		to   datastorehb.HostID
		says string
	}{
		{"wrong key", identity(t, [32]byte{9}, cluster, 1), 2, "cluster key"},
		{"wrong cluster", identity(t, key, uuid.New(), 1), 2, ""},
		{"wrong host", identity(t, key, cluster, 1), 3, "another host"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := client(t, c.id, peers).Send(within(t, patience), c.to, []byte("x"))
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v; want it to name %q", err, c.says)
			}
		})
	}
	// A client that trusts anybody: the server must refuse it all the same.
	good := identity(t, key, cluster, 1)
	for name, change := range map[string]func(*tls.Config){
		"no certificate":           func(c *tls.Config) { c.Certificates = nil },
		"certificate of wrong key": func(c *tls.Config) { c.Certificates = []tls.Certificate{identity(t, [32]byte{9}, cluster, 1).own} },
		"certificate of other cluster": func(c *tls.Config) {
			c.Certificates = []tls.Certificate{identity(t, key, uuid.New(), 1).own}
		},
		"TLS 1.2": func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 },
	} {
		t.Run(name, func(t *testing.T) {
			config := good.client(2)
			config.RootCAs, config.InsecureSkipVerify = nil, true
			change(config)
			post(t, address, config, "")
		})
	}
	t.Run("no TLS", func(t *testing.T) { post(t, address, nil, "") })
	t.Run("the same way with everything right", func(t *testing.T) {
		post(t, address, good.client(2), "200 OK")
		if from := <-called; from != 1 {
			t.Errorf("the message is said to be from host %d", from)
		}
	})
	select {
	case from := <-called:
		t.Errorf("a message of a stranger was handled, as from host %d", from)
	default:
	}
	if n := strings.Count(lines.String(), "cluster key"); n != 1 {
		t.Errorf("strangers filled the log with %d lines; want 1:\n%s", n, lines.String())
	}
}

// post sends a message by hand. No status means that there must be no 200.
func post(t *testing.T, address netip.AddrPort, config *tls.Config, status string) {
	t.Helper()
	scheme := "https"
	if config == nil {
		scheme = "http"
	}
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	h := http.Client{Transport: transport, Timeout: patience}
	answer, err := h.Post(scheme+"://"+address.String()+messagePath, "", strings.NewReader("x"))
	if err == nil {
		defer answer.Body.Close()
		if answer.Status != status && (status != "" || answer.StatusCode == http.StatusOK) {
			t.Errorf("answered %s; want %q", answer.Status, status)
		}
	} else if status != "" {
		t.Error(err)
	}
}

func TestOversize(t *testing.T) {
	address := serve(t, identity(t, key, cluster, 2), ServerOptions{}, func(_ context.Context, _ datastorehb.HostID, body []byte) ([]byte, error) {
		if string(body) == "large reply" {
			return make([]byte, MaxMessage+1), nil
		}
		return nil, nil
	})
	id := identity(t, key, cluster, 1)
	c := client(t, id, map[datastorehb.HostID][]netip.AddrPort{2: at(address)})
	if _, err := c.Send(within(t, patience), 2, make([]byte, MaxMessage+1)); err == nil || !strings.Contains(err.Error(), "1048577 bytes") {
		t.Errorf("sending too much: got %v", err)
	}
	if _, err := c.Send(within(t, patience), 2, []byte("large reply")); err == nil || !strings.Contains(err.Error(), "reply has 1048577 bytes") {
		t.Errorf("replying too much: got %v", err)
	}
	// The sender's limit is not what protects the receiver.
	h := http.Client{Transport: &http.Transport{TLSClientConfig: id.client(2), DisableKeepAlives: true}, Timeout: patience}
	answer, err := h.Post("https://"+address.String()+messagePath, "", io.LimitReader(zeros{}, 10*MaxMessage))
	if err == nil {
		answer.Body.Close()
		if answer.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("answered %s", answer.Status)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// silent accepts connections and says nothing, like a host that is frozen.
func silent(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { io.Copy(io.Discard, conn); conn.Close() })
		}
	})
	t.Cleanup(func() { l.Close(); conns.Wait() })
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func TestHungPeerBlocksNobodyElse(t *testing.T) {
	address := serve(t, identity(t, key, cluster, 2), ServerOptions{}, echo)
	c := client(t, identity(t, key, cluster, 1), map[datastorehb.HostID][]netip.AddrPort{2: at(address), 3: at(silent(t))})
	ctx, cancel := context.WithCancel(context.Background())
	var stuck sync.WaitGroup
	for range 50 {
		stuck.Go(func() {
			if _, err := c.Send(ctx, 3, []byte("x")); err == nil {
				t.Error("the silent host answered")
			}
		})
	}
	for range 50 {
		if _, err := c.Send(within(t, patience), 2, []byte("x")); err != nil {
			t.Errorf("sending to a healthy host: %v", err)
		}
	}
	cancel()
	stuck.Wait()
}

// A handler that hangs fills the places of its own sender only.
func TestPlacesPerHost(t *testing.T) {
	release := make(chan struct{})
	entered := make(chan struct{}, 10)
	address := serve(t, identity(t, key, cluster, 9), ServerOptions{PerHost: 2}, func(ctx context.Context, from datastorehb.HostID, _ []byte) ([]byte, error) {
		if from == 1 {
			entered <- struct{}{}
			<-release
		}
		return nil, nil
	})
	peers := map[datastorehb.HostID][]netip.AddrPort{9: at(address)}
	greedy := client(t, identity(t, key, cluster, 1), peers)
	var stuck sync.WaitGroup
	for range 2 {
		stuck.Go(func() { _, _ = greedy.Send(within(t, patience), 9, nil) })
		<-entered
	}
	_, err := greedy.Send(within(t, patience), 9, nil)
	if remote, ok := errors.AsType[*RemoteError](err); !ok || remote.Status != http.StatusServiceUnavailable {
		t.Errorf("the third message: got %v", err)
	}
	if _, err := client(t, identity(t, key, cluster, 2), peers).Send(within(t, patience), 9, nil); err != nil {
		t.Errorf("another host: %v", err)
	}
	close(release)
	stuck.Wait()
	if _, err := greedy.Send(within(t, patience), 9, nil); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestWarmConnectionNeedsNoHandshake(t *testing.T) {
	address := serve(t, identity(t, key, cluster, 2), ServerOptions{}, echo)
	c := client(t, identity(t, key, cluster, 1), map[datastorehb.HostID][]netip.AddrPort{2: at(address), 3: at(silent(t))})
	ctx, cancel := context.WithCancel(context.Background())
	var warming sync.WaitGroup
	warming.Go(func() {
		c.KeepWarm(ctx, time.Millisecond, func() []datastorehb.HostID { return []datastorehb.HostID{2, 3, 77} })
	})
	h, err := c.host(2)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); h.dials.Load() == 0 || h.warming.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no connection was made")
		}
	}
	cancel()
	warming.Wait()
	before := h.dials.Load()
	for range 100 {
		if _, err := c.Send(within(t, patience), 2, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if n := h.dials.Load(); n != before {
		t.Errorf("%d new handshakes for messages to a host that was warm", n-before)
	}
}

func TestSecondAddressServes(t *testing.T) {
	address := serve(t, identity(t, key, cluster, 2), ServerOptions{}, echo)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := closed.Addr().(*net.TCPAddr).AddrPort()
	closed.Close()
	c := client(t, identity(t, key, cluster, 1), map[datastorehb.HostID][]netip.AddrPort{2: at(dead, address), 3: at(dead), 4: nil})
	if _, err := c.Send(within(t, patience), 2, nil); err != nil {
		t.Error(err)
	}
	for to, says := range map[datastorehb.HostID]string{3: dead.String(), 4: "no address", 5: "no address"} {
		if _, err := c.Send(within(t, patience), to, nil); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("host %d: got %v; want it to name %q", to, err, says)
		}
	}
}

func TestRestartedPeerIsFoundAgain(t *testing.T) {
	l, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().(*net.TCPAddr).AddrPort()
	c := client(t, identity(t, key, cluster, 1), map[datastorehb.HostID][]netip.AddrPort{2: at(address)})
	for range 3 {
		ctx, cancel := context.WithCancel(context.Background())
		var done sync.WaitGroup
		done.Go(func() { _ = NewServer(identity(t, key, cluster, 2), ServerOptions{}, echo).Serve(ctx, l) })
		for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			if _, err := c.Send(within(t, patience), 2, nil); err == nil {
				break
			} else if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
		cancel()
		done.Wait()
		if l, err = Listen(address); err != nil {
			t.Fatal(err)
		}
	}
	l.Close()
}

func TestConnectionLimit(t *testing.T) {
	address := serve(t, identity(t, key, cluster, 2), ServerOptions{MaxConnections: 1}, echo)
	first := client(t, identity(t, key, cluster, 1), map[datastorehb.HostID][]netip.AddrPort{2: at(address)})
	if _, err := first.Send(within(t, patience), 2, nil); err != nil {
		t.Fatal(err)
	}
	second := client(t, identity(t, key, cluster, 3), map[datastorehb.HostID][]netip.AddrPort{2: at(address)})
	if _, err := second.Send(within(t, patience), 2, nil); err == nil {
		t.Error("a connection beyond the limit was served")
	}
	if _, err := first.Send(within(t, patience), 2, nil); err != nil {
		t.Errorf("the connection within the limit: %v", err)
	}
}

func TestAuthorityIsTheSameOnEveryHost(t *testing.T) {
	a, _, err := authority(key, cluster)
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := authority(key, cluster)
	if err != nil || !a.Equal(b) {
		t.Errorf("the same key gave two authorities (%v)", err)
	}
	if c, _, err := authority([32]byte{9}, cluster); err != nil || a.Equal(c) {
		t.Errorf("two keys gave one authority (%v)", err)
	}
	for _, bad := range []struct {
		cluster uuid.UUID
		self    datastorehb.HostID
	}{{uuid.Nil, 1}, {cluster, 0}} {
		if _, err := NewIdentity(key, bad.cluster, bad.self); err == nil {
			t.Errorf("an identity was made for host %d of cluster %v", bad.self, bad.cluster)
		}
	}
}

// In a synctest bubble the wall clock says the year 2000 to begin with, and
// whatever we like later. Both hosts made their certificates today.
func TestWallClocksDoNotMatter(t *testing.T) {
	server, client := identity(t, key, cluster, 2).server(), identity(t, key, cluster, 1).client(2)
	synctest.Test(t, func(t *testing.T) {
		for range 4 {
			handshake(t, server, client)
			time.Sleep(30 * 365 * 24 * time.Hour)
		}
		if time.Now().Year() < 2100 {
			t.Errorf("the test only came to %v", time.Now())
		}
		late, err := NewIdentity(key, cluster, 1)
		if err != nil {
			t.Fatal(err)
		}
		handshake(t, server, late.client(2))
	})
}

func handshake(t *testing.T, server, client *tls.Config) {
	t.Helper()
	a, b := net.Pipe()
	s, c := tls.Server(a, server), tls.Client(b, client)
	var done sync.WaitGroup
	done.Go(func() {
		if err := s.Handshake(); err != nil {
			t.Errorf("server, at %v: %v", time.Now(), err)
		}
		_, _ = s.Write([]byte("x"))
	})
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Errorf("client, at %v: %v", time.Now(), err)
	}
	done.Wait()
	a.Close()
	b.Close()
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func BenchmarkWarmMessage(b *testing.B) {
	id2, _ := NewIdentity(key, cluster, 2)
	id1, _ := NewIdentity(key, cluster, 1)
	l, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { _ = NewServer(id2, ServerOptions{}, echo).Serve(ctx, l) })
	c := NewClient(id1, map[datastorehb.HostID][]netip.AddrPort{2: at(l.Addr().(*net.TCPAddr).AddrPort())})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Send(ctx, 2, []byte("hello")); err != nil {
			b.Fatal(err)
		}
	}
	c.Close()
	cancel()
	done.Wait()
}
