package guard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// spawnTimeout bounds Spawn when its context has no deadline.
const spawnTimeout = 5 * time.Second

// Spawn starts "binary guard --socket SOCKET args…" as a process that outlives
// the caller: its own session and process group, nothing shared with it. It
// returns a connection once the guard answers. An error carries what the process
// wrote to its standard error.
func Spawn(ctx context.Context, binary, socket string, args ...string) (*Client, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, spawnTimeout)
		defer cancel()
	}
	output, stderr, err := newExcerpt()
	if err != nil {
		return nil, err
	}
	defer output.end()
	command := exec.Command(binary, append([]string{"guard", "--socket", socket}, args...)...)
	command.Dir = "/"
	command.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "NOTIFY_SOCKET=") }) // the agent's alone
	command.Stderr = stderr
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = command.Start()
	stderr.Close()
	if err != nil {
		return nil, fmt.Errorf("start guard: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	client, err := awaitGuard(ctx, socket, command.Process.Pid, ended)
	if err != nil {
		return nil, fmt.Errorf("start guard: %w%s", err, output)
	}
	return client, nil
}

// awaitGuard dials until the process started answers. An answer of another
// process is of a guard that was there before, and no success.
func awaitGuard(ctx context.Context, socket string, pid int, ended <-chan error) (*Client, error) {
	for {
		client, err := Dial(ctx, socket)
		if err == nil && client.PID() == pid {
			if err = client.Ping(ctx); err == nil {
				return client, nil
			}
		}
		if client != nil {
			_ = client.Close()
		}
		select {
		case exit := <-ended:
			return nil, fmt.Errorf("process %d has ended: %w", pid, errors.Join(exit, errors.New("it does not guard")))
		case <-ctx.Done():
			return nil, fmt.Errorf("process %d does not answer at %s: %w", pid, socket, errors.Join(err, ctx.Err()))
		case <-time.After(confirmPeriod):
		}
	}
}

// excerpt keeps the beginning of what a process writes to a pipe.
type excerpt struct {
	pipe *os.File
	mu   sync.Mutex
	text bytes.Buffer
	done chan struct{}
}

const excerptSize = 4096

// newExcerpt returns the excerpt and the pipe's other end. Once the excerpt has
// ended, the process's writes fail, which a guard doesn't mind.
func newExcerpt() (*excerpt, *os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("make a pipe for the guard: %w", err)
	}
	e := &excerpt{pipe: r, done: make(chan struct{})}
	go func() {
		defer close(e.done)
		_, _ = io.Copy(e, r)
	}()
	return e, w, nil
}

// Write keeps what there is room for, and takes the rest.
func (e *excerpt) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.text.Write(p[:min(len(p), excerptSize-e.text.Len())])
	return len(p), nil
}

// String returns what was written, ready to follow an error. The process has
// ended or is given up, so it waits only a moment for the last of it.
func (e *excerpt) String() string {
	select {
	case <-e.done:
	case <-time.After(confirmPeriod):
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if text := bytes.TrimSpace(e.text.Bytes()); len(text) > 0 {
		return ": " + string(text)
	}
	return ""
}

func (e *excerpt) end() {
	e.pipe.Close()
	<-e.done
}
