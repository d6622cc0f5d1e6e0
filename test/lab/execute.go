package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
)

// enterCgroup has a shell become one of the host's processes before it executes a
// program. It is not left to the kernel at the fork: in the cgroup of a frozen
// host the child would stop before it has executed anything, our thread would wait
// for that without being interruptible, and Go's collector for the thread, so that
// the storage that this program serves would hang too.
const enterCgroup = `echo $$ > "$0/cgroup.procs" && exec "$@"`

// Run runs a program on the host and returns what it wrote. When the context ends
// first the program is killed, and left behind if it hangs on storage.
func (h *Host) Run(ctx context.Context, argv ...string) (string, error) {
	argv, err := h.Enter(argv...)
	if err != nil {
		return "", err
	}
	var output bytes.Buffer
	c := exec.Command("sh", slices.Concat([]string{"-c", enterCgroup, string(h.cgroup)}, argv)...)
	c.Env, c.Stdout, c.Stderr = hostEnv(), &output, &output
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		return "", err
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			err = fmt.Errorf("%s on %s: %w: %s", strings.Join(argv[len(argv)-1:], " "), h.Name, err, output.String())
		}
		return output.String(), err
	case <-ctx.Done():
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL) // it may have ended
		return "", fmt.Errorf("a program on %s: %w", h.Name, ctx.Err())
	}
}

// Enter returns the words that run a program on the host when they are run
// outside of it. The program under test needs no path.
func (h *Host) Enter(argv ...string) ([]string, error) {
	pids, err := h.cgroup.pids()
	if err != nil {
		return nil, err
	}
	if len(argv) > 0 && argv[0] == "storebeat" {
		argv = append([]string{h.lab.binary}, argv[1:]...)
	}
	at := slices.IndexFunc(pids, isFirst)
	if at < 0 {
		return nil, errors.New(h.Name + " is off")
	}
	enter := []string{"nsenter", "--target", fmt.Sprint(pids[at]), "--mount", "--net", "--pid", "--ipc", "--uts", "--cgroup", "--time", "--"}
	return append(enter, argv...), nil
}

// isFirst reports whether a process has number 1 in its namespace.
func isFirst(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if numbers, ok := strings.CutPrefix(line, "NSpid:"); ok {
			fields := strings.Fields(numbers)
			return len(fields) > 1 && fields[len(fields)-1] == "1"
		}
	}
	return false
}
