package main

import (
	"context"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"

	"storebeat/datastorehb/check"
)

// start starts this program on every peer. What it returns ends them, and is never nil.
func (o checkOptions) start(ctx context.Context, nameOrPath string) (peers []check.Peer, end func(), err error) {
	var ends []func()
	end = func() {
		for _, e := range ends {
			e()
		}
	}
	rsh := strings.Fields(o.rsh)
	if len(o.peers) > 0 && len(rsh) == 0 {
		return nil, end, fail(exitUsage, "--rsh is empty: give a command such as ssh, that runs a program on another host")
	}
	for _, peer := range o.peers {
		host, path, ok := splitPeer(peer, nameOrPath)
		if !ok {
			return nil, end, fail(exitUsage, "--peer %q: give a host, or HOST:PATH, with an IPv6 address in brackets before a path", peer)
		}
		words := append(rsh[1:len(rsh):len(rsh)], host, "storebeat", "datastore", "check", "--answer", quoted(path))
		conn, stop, err := startPeer(exec.CommandContext(ctx, rsh[0], words...))
		if err != nil {
			return nil, end, fail(exitFailed, "start the program on %s by %q: %v; name another command with --rsh", host, o.rsh, err)
		}
		ends = append(ends, stop)
		peers = append(peers, check.Peer{Name: host, Conn: conn})
	}
	return peers, end, nil
}

// splitPeer takes apart what --peer is given: [USER@]HOST, with a path after a colon or
// with the usual one. The host is as ssh wants it, an IPv6 address without brackets.
func splitPeer(peer, usual string) (host, path string, ok bool) {
	user, address, named := strings.Cut(peer, "@")
	if !named || strings.Contains(user, ":") { // the @ is in a path
		user, address, named = "", peer, false
	}
	host, path, given := strings.Cut(address, ":")
	switch rest, bracket := strings.CutPrefix(address, "["); {
	case bracket:
		var closed bool
		host, rest, closed = strings.Cut(rest, "]")
		path, given = strings.CutPrefix(rest, ":")
		if _, err := netip.ParseAddr(host); err != nil || !closed || rest != "" && !given {
			return "", "", false
		}
	case isIPv6(address):
		host, given = address, false
	}
	if !given {
		path = usual
	}
	if host == "" || path == "" || named && user == "" || strings.HasPrefix(user+host, "-") {
		return "", "", false
	}
	if user != "" {
		host = user + "@" + host
	}
	return host, path, true
}

func isIPv6(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is6()
}

// quoted keeps a path whole, for the shell by which ssh starts programs.
func quoted(path string) string {
	if strings.Trim(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+@,") == "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// pipes are a program's input and output.
type pipes struct {
	io.Reader
	io.Writer
}

// startPeer starts a program to talk with. What it says on standard error is the
// user's to read.
func startPeer(c *exec.Cmd) (conn io.ReadWriter, stop func(), err error) {
	c.Stderr, c.WaitDelay = os.Stderr, time.Second
	in, err := c.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := c.Start(); err != nil {
		return nil, nil, err
	}
	stop = func() {
		_ = in.Close() // ends the other side
		over := time.AfterFunc(2*time.Second, func() { _ = c.Process.Kill() })
		defer over.Stop()
		_, _ = io.Copy(io.Discard, out)
		_ = c.Wait() // how it ended, the findings say
	}
	return pipes{out, in}, stop, nil
}
