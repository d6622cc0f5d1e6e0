package libvirt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// callLimit bounds an ordinary call, which takes about 15 ms.
	callLimit = 5 * time.Second
	// parallelCalls is how many calls run at a time. Calls for one domain may hang
	// where the daemon answers others; more of them would take its workers away.
	parallelCalls = 8
)

var (
	// errSilent means that the daemon has the call and does not answer. What was
	// asked may be done still.
	errSilent = errors.New("libvirtd does not answer")
	// errAbsent means that there is no daemon to talk to, or that it went away.
	errAbsent = errors.New("libvirtd can't be reached")
	// errNoDomain means that the daemon knows no such domain.
	errNoDomain = errors.New("libvirt has no such domain")
)

// virsh runs calls to one daemon.
type virsh struct {
	binary, uri string
	slots       chan struct{}
}

func newVirsh(uri string) *virsh {
	return &virsh{binary: "virsh", uri: uri, slots: make(chan struct{}, parallelCalls)}
}

// call runs one command and returns what it prints.
func (v *virsh) call(ctx context.Context, args ...string) (string, error) {
	return v.callWithin(ctx, callLimit, args...)
}

// callWithin is call with a limit of its own, for what takes longer.
func (v *virsh) callWithin(ctx context.Context, limit time.Duration, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	select {
	case v.slots <- struct{}{}:
		defer func() { <-v.slots }()
	case <-ctx.Done():
		return "", fmt.Errorf("virsh %s: %w: %d calls are under way (%w)", args[0], errSilent, parallelCalls, ctx.Err())
	}
	return v.run(ctx, args...)
}

// callAside is call for what waits for no domain, and so for no other call.
func (v *virsh) callAside(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	return v.run(ctx, args...)
}

func (v *virsh) run(ctx context.Context, args ...string) (string, error) {
	cmd := v.command(ctx, args...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	if err == nil {
		return out.String(), nil
	}
	what, _, _ := strings.Cut(args[0], " ") // of several commands the first
	return "", fmt.Errorf("virsh %s: %w", what, explain(ctx, err, said.String()))
}

// command prepares a call whose whole process group ends with its context.
func (v *virsh) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, v.binary, append([]string{"--quiet", "--connect", v.uri}, args...)...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "LC_ALL=C", "LIBVIRT_DEFAULT_URI=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = time.Second
	return cmd
}

// explain tells the kinds of failure apart.
func explain(ctx context.Context, err error, said string) error {
	words := oneLine(said)
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("%w: virsh is not installed; on Debian: apt-get install libvirt-clients libvirt-daemon-system", errAbsent)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%w in time (%w)", errSilent, ctx.Err())
	case ctx.Err() != nil:
		return ctx.Err()
	case strings.Contains(said, "failed to connect to the hypervisor"),
		strings.Contains(said, "Disconnected from"), strings.Contains(said, "client socket is closed"), strings.Contains(said, "End of file while reading data"):
		return fmt.Errorf("%w: %s", errAbsent, words)
	case strings.Contains(said, "failed to get domain"), strings.Contains(said, "Domain not found"):
		return fmt.Errorf("%w: %s", errNoDomain, words)
	case words == "":
		return err
	}
	return errors.New(words)
}

// oneLine makes one line of what virsh says.
func oneLine(said string) string {
	var lines []string
	for line := range strings.Lines(said) {
		if line = strings.TrimPrefix(strings.TrimSpace(line), "error: "); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "; ")
}
