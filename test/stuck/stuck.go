package stuck

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"storebeat/test/faultfs"
)

// limit is how long anything may take that is to happen at all.
const limit = 30 * time.Second

// Storage is a file system that is about to hang.
type Storage struct {
	t       testing.TB
	path    string // where it is mounted
	server  *part
	reader  *part // waits for a page of the file that the others map
	victims []*part
	all     []*part
}

// New mounts a file system that works until Hang.
func New(t testing.TB) *Storage {
	t.Helper()
	if err := faultfs.Available(); err != nil {
		t.Skip("needs storage that hangs: ", err)
	}
	below, path := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(below, file), make([]byte, 1<<16), 0o644); err != nil {
		t.Fatal(err)
	}
	s := &Storage{t: t, path: path}
	t.Cleanup(s.end)
	s.server = s.play("serve", nil, below)
	s.reader = s.play("read", nil)
	return s
}

// end ends all parts. What hangs can't end before the storage works again, but
// will not go on then either.
func (s *Storage) end() {
	for _, p := range s.all {
		if p != s.server && p.pid > 0 {
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
	}
	for _, p := range s.all { // the server is the first
		_ = p.in.Close()
		if err := p.cmd.Wait(); err != nil && p == s.server {
			s.t.Errorf("the server of hanging storage: %v", err)
		}
	}
}

// Process starts a process that is going to hang, and returns its id. Its
// environment begins with env. A process that can be looked at leads its session, so
// that those who look for machines in other tests meanwhile can tell that it is none
// of theirs.
func (s *Storage) Process(env ...string) int {
	s.t.Helper()
	p := s.play("map", env)
	s.victims = append(s.victims, p)
	return p.pid
}

// Hang has the storage hang, and returns once every process hangs with it.
func (s *Storage) Hang() {
	s.t.Helper()
	s.server.tell(s.t, "hang")
	s.reader.goOn(s.t)
	s.await("the reader to wait for its page", func() bool { return s.server.tell(s.t, "hung") != "0" })
	for _, v := range s.victims {
		v.goOn(s.t)
		s.await(fmt.Sprintf("process %d to hang", v.pid), func() bool { return !answers(v.pid) })
	}
}

func (s *Storage) await(what string, ok func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// answers reports whether the kernel says what the arguments of a process are. One
// that never says costs a thread until the storage works again.
func answers(pid int) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	}()
	select {
	case <-done:
		return true
	case <-time.After(300 * time.Millisecond):
		return false
	}
}

// part is one process of the play. It says its process id when it is ready, and a
// line for each that it is told.
type part struct {
	cmd *exec.Cmd // the shell around it
	pid int
	in  io.WriteCloser
	out *bufio.Scanner
}

// play starts a part, and waits until it is ready.
func (s *Storage) play(role string, env []string, args ...string) *part {
	s.t.Helper()
	// A shell leads the session: it can be looked at, and carries none of env.
	words := append([]string{"-c", `"$@"; exit $?`, "sh", "env", envRole + "=" + strings.Join(append([]string{role, s.path}, args...), "\n")}, env...)
	p := &part{cmd: exec.Command("/bin/sh", append(words, os.Args[0])...)}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	p.cmd.Stderr = os.Stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		s.t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	p.out = bufio.NewScanner(out)
	s.all = append(s.all, p)
	if !p.out.Scan() {
		s.t.Fatalf("part %s has ended before it was ready", role)
	}
	if p.pid, err = strconv.Atoi(p.out.Text()); err != nil {
		s.t.Fatalf("part %s says %v", role, err)
	}
	return p
}

// goOn lets a part go on to where it hangs.
func (p *part) goOn(t testing.TB) {
	t.Helper()
	if _, err := io.WriteString(p.in, "go\n"); err != nil {
		t.Fatal(err)
	}
}

// tell gives a part a word and returns its answer.
func (p *part) tell(t testing.TB, word string) string {
	t.Helper()
	if _, err := io.WriteString(p.in, word+"\n"); err != nil {
		t.Fatal(err)
	}
	if !p.out.Scan() {
		t.Fatalf("no answer to %q", word)
	}
	return p.out.Text()
}
