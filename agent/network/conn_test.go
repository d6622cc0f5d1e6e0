package network

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"storebeat/agent/clock"
	"storebeat/datastorehb"
	"storebeat/partition"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come. It is no measurement.
const patience = 20 * time.Second

type arrival struct {
	raw  []byte
	from netip.AddrPort
	at   datastorehb.Instant
}

func loopback(k byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, k}), 0)
}

func open(t *testing.T, o Options) *Conn {
	t.Helper()
	c, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// receive runs c until the test ends.
func receive(t *testing.T, c *Conn) <-chan arrival {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	arrivals := make(chan arrival, 100)
	var done sync.WaitGroup
	done.Go(func() {
		c.Run(ctx, func(raw []byte, from netip.AddrPort, at datastorehb.Instant) {
			arrivals <- arrival{raw, from, at}
		})
	})
	t.Cleanup(func() { cancel(); done.Wait() })
	return arrivals
}

func next(t *testing.T, arrivals <-chan arrival) arrival {
	t.Helper()
	select {
	case a := <-arrivals:
		return a
	case <-time.After(patience):
		t.Fatal("no packet arrived")
		return arrival{}
	}
}

func TestSendReachesEveryAddressOfThePeer(t *testing.T) {
	b := open(t, Options{Self: 2, Addresses: []netip.AddrPort{loopback(2), loopback(3)}})
	a := open(t, Options{Self: 1, Addresses: []netip.AddrPort{loopback(4), loopback(5)},
		Peers: map[datastorehb.HostID][]netip.AddrPort{2: b.Addresses()}})
	arrivals := receive(t, b)

	before := clock.Now()
	if err := a.Send(2, []byte("beat")); err != nil {
		t.Fatal(err)
	}
	froms := map[netip.AddrPort]bool{}
	for range 2 {
		got := next(t, arrivals)
		if string(got.raw) != "beat" {
			t.Errorf("got %q", got.raw)
		}
		if got.at < before || got.at > clock.Now() {
			t.Errorf("received at %v, which is not after %v", got.at, before)
		}
		froms[got.from] = true
	}
	want := map[netip.AddrPort]bool{a.Addresses()[0]: true, a.Addresses()[1]: true}
	if d := cmp.Diff(want, froms, cmp.Comparer(func(x, y netip.AddrPort) bool { return x == y })); d != "" {
		t.Errorf("each network must use its own address (-want +got):\n%s", d)
	}
	if s := a.Stats(); s.Sent != 2 || s.SendErrors != 0 {
		t.Errorf("sender counted %+v", s)
	}
	if s := b.Stats(); s.Received != 2 {
		t.Errorf("receiver counted %+v", s)
	}
}

func TestIPv6Loopback(t *testing.T) {
	six := netip.AddrPortFrom(netip.IPv6Loopback(), 0)
	if l, err := net.ListenUDP("udp6", net.UDPAddrFromAddrPort(six)); err != nil {
		t.Skipf("no IPv6 on this machine: %v", err)
	} else {
		l.Close()
	}
	b := open(t, Options{Self: 2, Addresses: []netip.AddrPort{six}})
	a := open(t, Options{Self: 1, Addresses: []netip.AddrPort{loopback(1), six},
		Peers: map[datastorehb.HostID][]netip.AddrPort{2: b.Addresses()}})
	arrivals := receive(t, b)
	if err := a.Send(2, []byte("six")); err != nil {
		t.Fatal(err)
	}
	if got := next(t, arrivals); string(got.raw) != "six" {
		t.Errorf("got %q", got.raw)
	}
}

func TestSizes(t *testing.T) {
	b := open(t, Options{Self: 2, Addresses: []netip.AddrPort{loopback(2)}})
	a := open(t, Options{Self: 1, Addresses: []netip.AddrPort{loopback(1)},
		Peers: map[datastorehb.HostID][]netip.AddrPort{2: b.Addresses()}})
	arrivals := receive(t, b)

	for _, n := range []int{0, partition.MaxPacket + 1} {
		if err := a.Send(2, make([]byte, n)); err == nil {
			t.Errorf("%d bytes were sent", n)
		}
	}
	// A stranger does not keep to the limit.
	stranger, err := net.Dial("udp4", b.Addresses()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	for _, n := range []int{partition.MaxPacket + 1, 9000, 60000} {
		if _, err := stranger.Write(make([]byte, n)); err != nil {
			t.Fatal(err)
		}
	}
	largest := bytes.Repeat([]byte{7}, partition.MaxPacket)
	if err := a.Send(2, largest); err != nil {
		t.Fatal(err)
	}
	if got := next(t, arrivals); !bytes.Equal(got.raw, largest) {
		t.Errorf("got %d bytes first; want the largest packet allowed", len(got.raw))
	}
	if s := b.Stats(); s.Oversize != 3 || s.Received != 1 {
		t.Errorf("counted %+v", s)
	}
}

func TestSendErrorsAreCountedAndLoggedOnce(t *testing.T) {
	var lines bytes.Buffer
	a := open(t, Options{
		Self: 1, Addresses: []netip.AddrPort{loopback(1)},
		Peers: map[datastorehb.HostID][]netip.AddrPort{
			2: {netip.MustParseAddrPort("[fd00::1]:7000")}, // no own address of that family
			3: {{}},
		},
		Log: hclog.New(&hclog.LoggerOptions{Output: &lines}),
	})
	for range 50 {
		if err := a.Send(2, []byte("x")); err == nil {
			t.Fatal("no error")
		}
	}
	for _, to := range []datastorehb.HostID{3, 4} {
		if err := a.Send(to, []byte("x")); err == nil || !strings.Contains(err.Error(), "no address") {
			t.Errorf("host %d: got %v", to, err)
		}
	}
	if s := a.Stats(); s.SendErrors != 50 || s.Sent != 0 {
		t.Errorf("counted %+v", s)
	}
	if n := strings.Count(lines.String(), "can't be sent"); n != 1 {
		t.Errorf("logged %d lines; want 1:\n%s", n, lines.String())
	}
}

// A receiver that never reads must not hold the sender up.
func TestSendNeverBlocks(t *testing.T) {
	b := open(t, Options{Self: 2, Addresses: []netip.AddrPort{loopback(2)}})
	a := open(t, Options{Self: 1, Addresses: []netip.AddrPort{loopback(1)},
		Peers: map[datastorehb.HostID][]netip.AddrPort{2: b.Addresses()}})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 20_000 {
			_ = a.Send(2, make([]byte, partition.MaxPacket))
		}
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("Send blocked")
	}
}

func TestAddressThatIsNotThere(t *testing.T) {
	// TEST-NET-1: no interface has it.
	c := open(t, Options{Self: 1, Addresses: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.7:0")}})
	receive(t, c)
}

func TestListenRefuses(t *testing.T) {
	a := open(t, Options{Self: 1, Addresses: []netip.AddrPort{loopback(1)}})
	if c, err := Listen(Options{Self: 2, Addresses: []netip.AddrPort{loopback(2), a.Addresses()[0]}}); err == nil {
		c.Close()
		t.Error("an address in use was opened a second time")
	} else if !strings.Contains(err.Error(), a.Addresses()[0].String()) {
		t.Errorf("the error does not name the address: %v", err)
	}
	for _, addresses := range [][]netip.AddrPort{nil, {{}}} {
		if _, err := Listen(Options{Self: 2, Addresses: addresses}); err == nil {
			t.Errorf("addresses %v were accepted", addresses)
		}
	}
}

func TestSetPeersWhileSending(t *testing.T) {
	b := open(t, Options{Self: 2, Addresses: []netip.AddrPort{loopback(2)}})
	a := open(t, Options{Self: 1, Addresses: []netip.AddrPort{loopback(1)}})
	arrivals := receive(t, b)
	if err := a.Send(2, []byte("x")); err == nil {
		t.Error("sent to an unknown host")
	}
	var changing sync.WaitGroup
	changing.Go(func() {
		for range 100 {
			a.SetPeers(map[datastorehb.HostID][]netip.AddrPort{1: a.Addresses(), 2: b.Addresses()})
		}
	})
	for range 100 {
		_ = a.Send(2, []byte("maybe"))
	}
	changing.Wait()
	if d := cmp.Diff([]datastorehb.HostID{2}, a.Peers()); d != "" {
		t.Errorf("a host is no peer of itself (-want +got):\n%s", d)
	}
	if err := a.Send(2, []byte("surely")); err != nil {
		t.Fatal(err)
	}
	for string(next(t, arrivals).raw) != "surely" {
	}
}

func TestRunEndsWhenClosed(t *testing.T) {
	c, err := Listen(Options{Self: 1, Addresses: []netip.AddrPort{loopback(1), {}, loopback(2)}})
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() { c.Run(context.Background(), func([]byte, netip.AddrPort, datastorehb.Instant) {}) })
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	done.Wait()
}
