package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come. It is no measurement.
const patience = 30 * time.Second

type greeting struct {
	Name string `json:"name"`
	N    int    `json:"n"`
}

func methods() *Mux {
	m := NewMux()
	Handle(m, "greet", func(_ context.Context, in greeting) (string, error) { return "hello " + in.Name, nil })
	Handle(m, "refuse", func(context.Context, struct{}) (string, error) {
		return "", Errorf(Refused, "host h1 runs machines").WithRemedy("evacuate %s first", "h1")
	})
	Handle(m, "fail", func(context.Context, struct{}) (string, error) { return "", errors.New("disk on fire") })
	Handle(m, "wrapped", func(context.Context, struct{}) (string, error) {
		return "", fmt.Errorf("starting: %w", Errorf(NotFound, "no machine %q", "v9"))
	})
	Handle(m, "hang", func(ctx context.Context, _ struct{}) (string, error) { <-ctx.Done(); return "", ctx.Err() })
	Handle(m, "panic", func(context.Context, struct{}) (string, error) { panic(http.ErrAbortHandler) })
	HandleStream(m, "count", func(_ context.Context, in greeting, send func(any) error) error {
		for n := range in.N {
			if err := send(greeting{N: n}); err != nil {
				return err
			}
		}
		switch in.Name {
		case "fails":
			return Errorf(Unavailable, "the datastore went away\nand more").WithRemedy("wait")
		case "breaks":
			panic(http.ErrAbortHandler)
		}
		return nil
	})
	HandleStream(m, "forever", func(ctx context.Context, _ struct{}, send func(any) error) error {
		for n := 0; ctx.Err() == nil; n++ {
			if err := send(n); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	return m
}

func socketIn(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ctl") // a test's own directory may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "agent.sock")
}

// agent serves a socket until stop is called or the test ends.
func agent(t *testing.T, socket string) (stop func()) {
	t.Helper()
	l, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := l.Serve(ctx, methods()); err != nil {
			t.Errorf("serving: %v", err)
		}
	})
	stop = func() { cancel(); done.Wait() }
	t.Cleanup(stop)
	return stop
}

func connect(t *testing.T, socket string) *Client {
	t.Helper()
	c := NewClient(socket)
	t.Cleanup(c.Close)
	return c
}

func long(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func TestCall(t *testing.T) {
	socket := socketIn(t)
	agent(t, socket)
	c := connect(t, socket)
	var out string
	if err := c.Call(long(t), "greet", greeting{Name: "h1"}, &out); err != nil || out != "hello h1" {
		t.Errorf("got %q, %v", out, err)
	}
	if err := c.Call(long(t), "greet", nil, nil); err != nil {
		t.Errorf("nothing in, nothing out: %v", err)
	}
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("the socket's mode is %v (%v); want 0660", info.Mode(), err)
	}
}

func TestErrorsAreTyped(t *testing.T) {
	socket := socketIn(t)
	agent(t, socket)
	c := connect(t, socket)
	for _, x := range []struct {
		method string
		in     any
		want   Error
	}{
		{"refuse", nil, Error{Code: Refused, Message: "host h1 runs machines", Remedy: "evacuate h1 first"}},
		{"fail", nil, Error{Code: Internal, Message: "disk on fire"}},
		{"wrapped", nil, Error{Code: NotFound, Message: `no machine "v9"`}},
		{"nothing", nil, Error{Code: NotFound}},
		{"greet", map[string]int{"nmae": 1}, Error{Code: Invalid}},
		{"greet", "text", Error{Code: Invalid}},
		{"greet", greeting{Name: strings.Repeat("x", MaxRequest)}, Error{Code: Invalid}},
		{"greet", func() {}, Error{Code: Invalid}},
		{"panic", nil, Error{Code: Unavailable}},
	} {
		err := c.Call(long(t), x.method, x.in, nil)
		got, ok := errors.AsType[*Error](err)
		if !ok {
			t.Errorf("%s: got %v", x.method, err)
			continue
		}
		want := x.want
		if want.Message == "" { // only the code is given
			want.Message, want.Remedy = got.Message, got.Remedy
		}
		if d := cmp.Diff(want, *got); d != "" {
			t.Errorf("%s (-want +got):\n%s", x.method, d)
		}
	}
}

func TestOnlyPost(t *testing.T) {
	socket := socketIn(t)
	agent(t, socket)
	c := connect(t, socket)
	answer, err := c.http.Get("http://agent/v1/greet")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusBadRequest {
		t.Errorf("GET was answered %s", answer.Status)
	}
}

func TestDeadline(t *testing.T) {
	socket := socketIn(t)
	agent(t, socket)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	err := connect(t, socket).Call(ctx, "hang", nil, nil)
	if CodeOf(err) != Unavailable || !strings.Contains(err.Error(), "in time") {
		t.Errorf("got %v", err)
	}
}

func TestStream(t *testing.T) {
	socket := socketIn(t)
	agent(t, socket)
	c := connect(t, socket)
	count := func(name string) (n int, err error) {
		err = c.Stream(long(t), "count", greeting{Name: name, N: 1000}, func(raw json.RawMessage) error {
			var g greeting
			if err := json.Unmarshal(raw, &g); err != nil || g.N != n {
				t.Fatalf("line %d is %s (%v)", n, raw, err)
			}
			n++
			return nil
		})
		return n, err
	}
	if n, err := count(""); n != 1000 || err != nil {
		t.Errorf("complete: got %d lines, %v", n, err)
	}
	n, err := count("fails")
	if e, ok := errors.AsType[*Error](err); n != 1000 || !ok || e.Code != Unavailable || e.Remedy != "wait" || !strings.Contains(e.Message, "went away") {
		t.Errorf("failing: got %d lines, %v", n, err)
	}
	if _, err := count("breaks"); CodeOf(err) != Unavailable {
		t.Errorf("broken off: got %v", err)
	}
	if err := c.Stream(long(t), "refuse", nil, nil); CodeOf(err) != Refused {
		t.Errorf("refused: got %v", err)
	}
	stop := errors.New("enough")
	if err := c.Stream(long(t), "forever", nil, func(json.RawMessage) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the caller's own error: got %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if err := c.Stream(ctx, "forever", nil, func(json.RawMessage) error { cancel(); return nil }); err != nil {
		t.Errorf("cancelled: got %v", err)
	}
}

func TestStoppingEndsStreamsAndRemovesTheSocket(t *testing.T) {
	socket := socketIn(t)
	stop := agent(t, socket)
	c := connect(t, socket)
	started := make(chan struct{})
	var once sync.Once
	var streaming sync.WaitGroup
	streaming.Go(func() {
		_ = c.Stream(long(t), "forever", nil, func(json.RawMessage) error { once.Do(func() { close(started) }); return nil })
	})
	<-started
	stop()
	streaming.Wait()
	if _, err := os.Lstat(socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there (%v)", err)
	}
	err := c.Call(long(t), "greet", nil, nil)
	if CodeOf(err) != NotRunning || !strings.Contains(err.Error(), socket) || !strings.Contains(err.Error(), "systemctl start") {
		t.Errorf("got %v; want not-running, the socket and the remedy", err)
	}
}

func TestStaleSocketIsReplacedAndALiveOneRefused(t *testing.T) {
	socket := socketIn(t)
	stale(t, socket)
	if err := connect(t, socket).Call(long(t), "greet", nil, nil); CodeOf(err) != NotRunning {
		t.Errorf("asking a stale socket: got %v", err)
	}
	agent(t, socket)
	refused := func(why string) {
		t.Helper()
		if l, err := Listen(socket); err == nil {
			l.Close()
			t.Errorf("%s: a second agent took the socket", why)
		} else if !strings.Contains(err.Error(), "another agent runs") {
			t.Errorf("%s: got %v", why, err)
		}
	}
	refused("by the lock")
	if err := os.Remove(socket + ".lock"); err != nil {
		t.Fatal(err)
	}
	refused("by asking")
	if err := connect(t, socket).Call(long(t), "greet", nil, nil); err != nil {
		t.Errorf("the first agent: %v", err)
	}
}

// stale leaves the socket of a process that died.
func stale(t *testing.T, socket string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

func TestManyAgentsStartAtOnce(t *testing.T) {
	socket := socketIn(t)
	stale(t, socket)
	var starting sync.WaitGroup
	var mu sync.Mutex
	var won []*Listener
	for range 20 {
		starting.Go(func() {
			if l, err := Listen(socket); err == nil {
				mu.Lock()
				won = append(won, l)
				mu.Unlock()
			}
		})
	}
	starting.Wait()
	if len(won) != 1 {
		t.Errorf("%d agents have the socket", len(won))
	}
	for _, l := range won {
		l.Close()
	}
}

func TestListenRefuses(t *testing.T) {
	dir := filepath.Dir(socketIn(t))
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, socket, says string }{
		{"too long", filepath.Join(dir, strings.Repeat("x", 108)), "at most 107"},
		{"relative", "agent.sock", "absolute"},
		{"no directory", filepath.Join(dir, "missing", "agent.sock"), "does not exist"},
		{"directory is a file", filepath.Join(file, "agent.sock"), "is no directory"},
		{"something else is there", file, "something else"},
		{"anybody may write there", filepath.Join(open, "agent.sock"), "chmod o-w"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := Listen(c.socket)
			if err == nil {
				l.Close()
				t.Fatal("it was accepted")
			}
			if !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.socket) {
				t.Errorf("got %v; want it to name the socket and %q", err, c.says)
			}
		})
	}
	if raw, err := os.ReadFile(file); err != nil || string(raw) != "precious" {
		t.Errorf("the file is now %q (%v)", raw, err)
	}
	err := connect(t, filepath.Join(dir, strings.Repeat("x", 108))).Call(long(t), "greet", nil, nil)
	if CodeOf(err) != Invalid || !strings.Contains(err.Error(), "at most 107") {
		t.Errorf("a client with a path too long: got %v", err)
	}
}

func TestNotPermitted(t *testing.T) {
	err := NewClient("/x").failed(context.Background(), &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EACCES)})
	if err.Code != NotPermitted || !strings.Contains(err.Remedy, "root") {
		t.Errorf("got %v", err)
	}
}

func FuzzDecodeError(f *testing.F) {
	f.Add([]byte(`{"code":"refused","message":"no","remedy":"yes"}`))
	f.Add([]byte(`{}`))
	f.Add([]byte(`<html>`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if e := decodeError(raw, "500"); e == nil || e.Code == "" || e.Message == "" {
			t.Errorf("%q became %+v", raw, e)
		}
	})
}
