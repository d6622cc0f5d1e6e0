package nfslab

import (
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// space is a network namespace: that of one thread, and of what it starts. The
// kernel takes this thread for their parent, so all of them die with the program.
type space struct{ calls chan func() }

func newSpace() (*space, error) {
	s, made := &space{calls: make(chan func())}, make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the space
		err := unix.Unshare(unix.CLONE_NEWNET)
		made <- err
		if err != nil {
			return
		}
		for call := range s.calls {
			call()
		}
	}()
	if err := <-made; err != nil {
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	return s, nil
}

func (s *space) close() { close(s.calls) }

// start starts a program in the space.
func (s *space) start(c *exec.Cmd) error {
	if c.SysProcAttr == nil {
		c.SysProcAttr = &syscall.SysProcAttr{}
	}
	c.SysProcAttr.Setpgid, c.SysProcAttr.Pdeathsig = true, syscall.SIGKILL
	started := make(chan error)
	s.calls <- func() { started <- c.Start() }
	return <-started
}

// ip changes the network, a command of ip a line.
func (s *space) ip(commands ...string) error {
	c := exec.Command("ip", "-batch", "-")
	c.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	var output strings.Builder
	c.Stdout, c.Stderr = &output, &output
	if err := s.start(c); err != nil {
		return err
	}
	if err := c.Wait(); err != nil {
		return fmt.Errorf("ip: %w: %s", err, output.String())
	}
	return nil
}
