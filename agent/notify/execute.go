package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
)

// afterEnd is how long the output of a command is read after it has ended:
// something that it left behind may hold it open.
const afterEnd = 500 * time.Millisecond

// mostOutput is how much of what a failing command says is logged, in bytes.
const mostOutput = 400

// execute runs the rule's command in a process group of its own. Starting a
// program can itself hang, on storage that does: nobody but the rule's own
// worker waits for that.
func execute(ctx context.Context, r *Rule, n *Notification) (Result, error) {
	body, err := json.Marshal(n)
	if err != nil {
		return Failed, fmt.Errorf("encode the event: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.Timeout, errTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.Command[0], r.Command[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdin = "/", append(inherited(), n.environment()...), bytes.NewReader(append(body, '\n'))
	var said tail
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = afterEnd
	err = cmd.Run()
	switch {
	case errors.Is(context.Cause(ctx), errTimeout) && err != nil:
		return TimedOut, fmt.Errorf("%s was killed: it ran for longer than %v%s", r.Command[0], r.Timeout, said.quoted())
	case err == nil, errors.Is(err, exec.ErrWaitDelay): // the command itself ended with 0
		return Delivered, nil
	}
	return Failed, fmt.Errorf("%s: %w%s", r.Command[0], err, said.quoted())
}

var errTimeout = errors.New("the command ran for too long")

// inherited are the variables that a command gets from the agent's own
// environment: not those of the agent's service manager.
func inherited() (env []string) {
	for _, name := range []string{"PATH", "HOME", "LANG", "LC_ALL", "TZ"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// environment gives the facts that a short script needs.
func (n *Notification) environment() []string {
	vm := ""
	if n.VM != uuid.Nil {
		vm = n.VM.String()
	}
	var env []string
	for _, v := range []struct{ name, value string }{
		{"CLUSTER", n.Cluster}, {"BY", n.By}, {"EVENT", string(n.Kind)}, {"SEVERITY", string(n.Severity)},
		{"TIME", n.Time.Format(time.RFC3339)}, {"TEXT", n.Text}, {"HOST", n.Host}, {"DATASTORE", n.Datastore},
		{"MACHINE", n.Machine}, {"VM", vm}, {"MEANING", n.Meaning}, {"REMEDY", n.Remedy},
	} {
		env = append(env, "STOREBEAT_"+v.name+"="+strings.ReplaceAll(v.value, "\x00", ""))
	}
	return env
}

// tail keeps the end of what a command says.
type tail struct{ text []byte }

// Write takes everything, so that the command is never held up.
func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	if over := len(t.text) - mostOutput; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}

func (t *tail) quoted() string {
	if len(t.text) == 0 {
		return ""
	}
	return fmt.Sprintf(", saying %q", bytes.TrimSpace(t.text))
}
