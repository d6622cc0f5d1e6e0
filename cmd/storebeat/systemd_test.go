package main

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"storebeat/agent"
	"storebeat/agent/control"
	"storebeat/agent/core"
)

// TestTellSystemd stands in for systemd and for the agent: ready comes only once
// the agent answers, the watchdog is fed after that, and the end is told.
func TestTellSystemd(t *testing.T) {
	dir := t.TempDir()
	notify := listenAsSystemd(t, dir)
	t.Setenv("WATCHDOG_USEC", strconv.Itoa(int((90 * time.Millisecond).Microseconds())))
	ctx, cancel := context.WithCancel(t.Context())
	ended, end := context.WithCancel(t.Context())
	socket := filepath.Join(dir, "s")
	served := make(chan error, 1)
	m := control.NewMux()
	view := core.View{Host: 2, Name: "beta", MasterName: "alpha", GuardUp: true, Hosts: []core.HostView{{ID: 1, Machines: 7}, {ID: 2, Machines: 1}}}
	control.Handle(m, agent.MethodView, func(context.Context, agent.ViewRequest) (core.View, error) { return view, nil })
	told := make(chan struct{})
	go func() {
		defer close(told)
		tellSystemd(ctx, ended, socket)
	}()
	expect(t, notify, "STATUS=starting")
	go func() { served <- control.Serve(t.Context(), socket, m) }()
	const brief = "\nSTATUS=host beta, master alpha, 1 machine here"
	expect(t, notify, "READY=1"+brief)
	expect(t, notify, "WATCHDOG=1"+brief)
	expect(t, notify, "WATCHDOG=1"+brief)
	cancel()
	for got := read(t, notify); got != "STOPPING=1"; got = read(t, notify) {
		if !strings.HasPrefix(got, "WATCHDOG=1") {
			t.Fatalf("got %q after the end began", got)
		}
	}
	expect(t, notify, "EXTEND_TIMEOUT_USEC=30000000")
	end()
	<-told
	select {
	case err := <-served:
		t.Fatalf("the stand-in for the agent ended: %v", err)
	default:
	}
}

func TestTellSystemdWithoutSystemd(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	tellSystemd(t.Context(), t.Context(), filepath.Join(t.TempDir(), "s")) // returns at once
}

func listenAsSystemd(t *testing.T, dir string) *net.UnixConn {
	address := &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"}
	conn, err := net.ListenUnixgram("unixgram", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", address.Name)
	return conn
}

func read(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	var message [512]byte
	err := conn.SetReadDeadline(time.Now().Add(patience))
	n, readErr := conn.Read(message[:])
	if err := errors.Join(err, readErr); err != nil {
		t.Fatal(err)
	}
	return string(message[:n])
}

func expect(t *testing.T, conn *net.UnixConn, prefix string) {
	t.Helper()
	if got := read(t, conn); !strings.HasPrefix(got, prefix) {
		t.Fatalf("systemd was told %q, want %q", got, prefix)
	}
}
