package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// child is the store process as the agent sees it.
type child struct {
	command *exec.Cmd
	in      *os.File // pipes of our own, because they know deadlines
	out     *os.File
	replies *json.Decoder
	last    words
	exited  chan struct{}
}

func startChild(argv []string, dir string) (*child, error) {
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, theirIn.Close(), in.Close())
	}
	c := &child{in: in, out: out, replies: json.NewDecoder(out), exited: make(chan struct{})}
	c.command = exec.Command(argv[0], append(argv[1:len(argv):len(argv)], dir)...)
	c.command.Stdin, c.command.Stdout, c.command.Stderr = theirIn, theirOut, &c.last
	err = c.command.Start()
	_, _ = theirIn.Close(), theirOut.Close()
	if err != nil {
		return nil, errors.Join(err, in.Close(), out.Close())
	}
	go func() {
		_ = c.command.Wait()
		close(c.exited)
	}()
	return c, nil
}

// call asks and waits for the reply until the deadline.
func (c *child) call(r request, within time.Duration) (reply, error) {
	deadline := time.Now().Add(within)
	raw, err := json.Marshal(r)
	if err != nil {
		return reply{}, err
	}
	if err := errors.Join(c.in.SetWriteDeadline(deadline), c.out.SetReadDeadline(deadline)); err != nil {
		return reply{}, err
	}
	if _, err := c.in.Write(raw); err != nil {
		return reply{}, c.failure("writing to", err)
	}
	var out reply
	if err := c.replies.Decode(&out); err != nil {
		return reply{}, c.failure("reading from", err)
	}
	return out, nil
}

func (c *child) failure(doing string, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w: the disk may hang", errHung)
	}
	if c.ended(time.Second) {
		return fmt.Errorf("%w (%v) %s", errCrashed, c.command.ProcessState, c.last.String())
	}
	return fmt.Errorf("%s the store process: %w", doing, err)
}

var (
	errHung    = errors.New("the store process does not answer")
	errCrashed = errors.New("the store process ended")
)

func (c *child) ended(within time.Duration) bool {
	select {
	case <-c.exited:
		return true
	case <-time.After(within):
		return false
	}
}

// stop lets the process close the store and go; kill makes it go.
func (c *child) stop() { _ = c.in.Close() }

func (c *child) kill() {
	_, _ = c.in.Close(), c.out.Close()
	_ = c.command.Process.Kill() // one that hangs in the kernel goes when the disk lets it
}

// words keeps the beginning of what the process said at its end.
type words struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if room := 512 - w.text.Len(); room > 0 {
		w.text.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// String returns the first line.
func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	line, _, _ := strings.Cut(strings.TrimSpace(w.text.String()), "\n")
	return line
}
