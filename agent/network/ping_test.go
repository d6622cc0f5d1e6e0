package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestPingLoopback(t *testing.T) {
	for _, address := range []string{"127.0.0.1", "127.0.0.9", "::ffff:127.0.0.1"} {
		answered, err := Ping(context.Background(), netip.MustParseAddr(address), patience)
		if errors.Is(err, ErrNotPermitted) {
			t.Skipf("this process may not ping: %v", err)
		}
		if err != nil || !answered {
			t.Errorf("%s: got %v, %v", address, answered, err)
		}
	}
}

func TestPingRefusesNonsense(t *testing.T) {
	if _, err := Ping(context.Background(), netip.Addr{}, time.Second); err == nil {
		t.Error("no address was pinged")
	}
	if _, err := Ping(context.Background(), netip.MustParseAddr("127.0.0.1"), 0); err == nil {
		t.Error("pinged within no time")
	}
}

func TestPingEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	// On a cancelled context the answer of the loopback may still come first.
	_, _ = Ping(ctx, netip.MustParseAddr("127.0.0.1"), time.Hour)
}

// What "not permitted" is, and what only looks like it.
func TestForbidden(t *testing.T) {
	listen := &net.OpError{Op: "listen", Err: os.NewSyscallError("socket", syscall.EPERM)}
	write := &net.OpError{Op: "write", Err: os.NewSyscallError("sendto", syscall.EPERM)}
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{listen, true},
		{fmt.Errorf("wrapped: %w", listen), true},
		{os.NewSyscallError("socket", syscall.EACCES), true},
		{write, false},
		{os.NewSyscallError("bind", syscall.EACCES), false},
		{fs.ErrPermission, false},
		{&net.OpError{Op: "listen", Err: syscall.EAFNOSUPPORT}, false},
	} {
		if got := forbidden(c.err); got != c.want {
			t.Errorf("forbidden(%v) = %v", c.err, got)
		}
	}
}

const withoutRights = "STOREBEAT_TEST_PING_WITHOUT_RIGHTS"

// Without rights a ping must say that it was not asked, never that no answer came.
func TestPingWithoutRights(t *testing.T) {
	if os.Getenv(withoutRights) != "" {
		_, err := Ping(context.Background(), netip.MustParseAddr("127.0.0.1"), patience)
		fmt.Printf("not permitted: %v (%v)\n", errors.Is(err, ErrNotPermitted), err)
		return
	}
	if group, err := os.ReadFile("/proc/sys/net/ipv4/ping_group_range"); err != nil || !strings.HasPrefix(string(group), "1\t0") {
		t.Skipf("net.ipv4.ping_group_range is %q: everybody may ping here", group)
	}
	setpriv, err := exec.LookPath("setpriv")
	if err != nil || os.Geteuid() != 0 {
		t.Skip("needs root and setpriv (util-linux), to give up CAP_NET_RAW")
	}
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(setpriv, "--bounding-set=-net_raw", "--inh-caps=-net_raw", binary, "-test.run=^TestPingWithoutRights$", "-test.v")
	command.Env = append(os.Environ(), withoutRights+"=1")
	out, err := command.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "not permitted: true") {
		t.Errorf("got %v\n%s", err, out)
	}
}
