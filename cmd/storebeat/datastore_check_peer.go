package main

import (
	"context"
	"io"
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
		host, path, given := strings.Cut(peer, ":")
		if !given {
			path = nameOrPath
		}
		if host == "" || strings.HasPrefix(host, "-") || path == "" {
			return nil, end, fail(exitUsage, "--peer %q: give a host, or HOST:PATH", peer)
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
