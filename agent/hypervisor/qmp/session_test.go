package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const greeting = `{"QMP": {"version": {"qemu": {"major": 7}}, "capabilities": ["oob"]}}` + "\n"

// request is a command as QEMU sees it.
type request struct {
	Execute   string          `json:"execute"`
	Arguments json.RawMessage `json:"arguments"`
	ID        uint64          `json:"id"`
}

// play serves one connection with the given function.
func play(t *testing.T, serve func(conn net.Conn)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "q")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		serve(conn)
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return path
}

// answering serves greeting and capabilities, then passes commands on.
func answering(each func(w io.Writer, r request)) func(net.Conn) {
	return func(conn net.Conn) {
		_, _ = io.WriteString(conn, greeting)
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			var r request
			if json.Unmarshal(lines.Bytes(), &r) != nil {
				return
			}
			if r.Execute == "qmp_capabilities" {
				fmt.Fprintf(conn, `{"return": {}, "id": %d}`+"\r\n", r.ID)
				continue
			}
			each(conn, r)
		}
	}
}

func dial(t *testing.T, path string, handle func(Event)) *Session {
	t.Helper()
	s, err := Dial(t.Context(), path, handle)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(); <-s.Ended() })
	return s
}

func TestAnswersMeetTheirCalls(t *testing.T) {
	const calls = 50
	var mu sync.Mutex
	var waiting []request
	// Answers come in the opposite order of the commands.
	s := dial(t, play(t, answering(func(w io.Writer, r request) {
		mu.Lock()
		defer mu.Unlock()
		if waiting = append(waiting, r); len(waiting) < calls {
			return
		}
		for _, r := range slices.Backward(waiting) {
			fmt.Fprintf(w, `{"return": {"name": %q}, "id": %d}`+"\n", r.Execute, r.ID)
		}
	})), nil)
	var all sync.WaitGroup
	for i := range calls {
		all.Go(func() {
			var got struct{ Name string }
			name := fmt.Sprintf("command-%d", i)
			if err := s.Execute(t.Context(), name, map[string]int{"i": i}, &got); err != nil || got.Name != name {
				t.Errorf("%s: answered %q, %v", name, got.Name, err)
			}
		})
	}
	all.Wait()
}

func TestRefusalNamesTheCommand(t *testing.T) {
	s := dial(t, play(t, answering(func(w io.Writer, r request) {
		fmt.Fprintf(w, `{"error": {"class": "GenericError", "desc": "no room"}, "id": %d}`+"\n", r.ID)
	})), nil)
	err := s.Execute(t.Context(), "dance", nil, nil)
	var refusal *Error
	if !errors.As(err, &refusal) || refusal.Command != "dance" || refusal.Desc != "no room" || refusal.Class != "GenericError" {
		t.Errorf("got %v", err)
	}
}

func TestEventsComeInOrderAndBeforeTheAnswer(t *testing.T) {
	var names []string
	s := dial(t, play(t, answering(func(w io.Writer, r request) {
		fmt.Fprintf(w, `{"event": "A", "timestamp": {"seconds": 5, "microseconds": 7}}`+"\n"+`{"event": "B", "data": {"x": 1}}`+"\n"+`{"return": {}, "id": %d}`+"\n", r.ID)
	})), func(e Event) { names = append(names, e.Name) })
	if err := s.Execute(t.Context(), "x", nil, nil); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(names, ""); got != "AB" {
		t.Errorf("events %q, want AB", got)
	}
}

func TestALateAnswerIsDropped(t *testing.T) {
	first := make(chan uint64, 1)
	s := dial(t, play(t, answering(func(w io.Writer, r request) {
		if r.Execute == "slow" {
			first <- r.ID
			return
		}
		fmt.Fprintf(w, `{"return": 1, "id": %d}`+"\n"+`{"return": 2, "id": %d}`+"\n", <-first, r.ID)
	})), nil)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.Execute(ctx, "slow", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("slow: %v", err)
	}
	var got int
	if err := s.Execute(t.Context(), "quick", nil, &got); err != nil || got != 2 {
		t.Errorf("quick: %d, %v", got, err)
	}
}

func TestAHungQEMUHoldsUpNobody(t *testing.T) {
	hang := make(chan struct{})
	silent := func(conn net.Conn) { <-hang }
	deaf := func(conn net.Conn) {
		_, _ = io.WriteString(conn, greeting)
		lines := bufio.NewReader(conn)
		_, _ = lines.ReadString('\n')
		_, _ = io.WriteString(conn, `{"return": {}, "id": 1}`+"\n")
		<-hang
	}
	soon := func() (context.Context, context.CancelFunc) {
		return context.WithTimeout(t.Context(), 20*time.Millisecond)
	}
	// Released before the players' own clean-up, which waits for them.
	path, deafPath := play(t, silent), play(t, deaf)
	t.Cleanup(func() { close(hang) })

	ctx, cancel := soon()
	defer cancel()
	if _, err := Dial(ctx, path, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no greeting: %v", err)
	}
	s := dial(t, deafPath, nil)
	// More than the socket takes: the last write blocks, in part or before.
	for i := 0; ; i++ {
		ctx, cancel := soon()
		_, err := s.Send(ctx, "x", strings.Repeat("y", 100_000))
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			break
		}
		if err != nil || i == maxCalls {
			t.Fatalf("call %d: %v", i, err)
		}
	}
	ctx, cancel = soon()
	defer cancel()
	if err := s.Execute(ctx, "x", nil, nil); err == nil {
		t.Error("a deaf QEMU answered")
	}
}

func TestTooManyCalls(t *testing.T) {
	s := dial(t, play(t, answering(func(io.Writer, request) {})), nil)
	for range maxCalls {
		if _, err := s.Send(t.Context(), "x", nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Send(t.Context(), "x", nil); err == nil {
		t.Error("calls pile up without bound")
	}
}

func TestTheEndAnswersEveryCall(t *testing.T) {
	tests := map[string]string{
		"closed":          "",
		"no JSON":         "hello\n",
		"neither":         "{}\n",
		"both":            `{"return": 1, "event": "A", "id": 2}` + "\n",
		"second greeting": greeting,
		"no id":           `{"error": {"class": "GenericError", "desc": "what?"}}` + "\n",
		"too long":        `{"return": "` + strings.Repeat("x", MaxMessage) + `", "id": 2}` + "\n",
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			s := dial(t, play(t, func(conn net.Conn) {
				_, _ = io.WriteString(conn, greeting)
				lines := bufio.NewReader(conn)
				_, _ = lines.ReadString('\n')
				_, _ = io.WriteString(conn, `{"return": {}, "id": 1}`+"\n")
				_, _ = lines.ReadString('\n')
				_, _ = io.WriteString(conn, text)
			}), nil)
			err := s.Execute(t.Context(), "x", nil, nil)
			if !errors.Is(err, ErrClosed) {
				t.Errorf("got %v, want %v", err, ErrClosed)
			}
			t.Log(err)
			if err := s.Execute(t.Context(), "y", nil, nil); !errors.Is(err, ErrClosed) {
				t.Errorf("after the end: %v, want %v", err, ErrClosed)
			}
		})
	}
}

func TestDialErrors(t *testing.T) {
	if _, err := Dial(t.Context(), filepath.Join(t.TempDir(), "none"), nil); err == nil {
		t.Error("connected to nothing")
	}
	notQMP := play(t, func(conn net.Conn) { _, _ = io.WriteString(conn, "220 mail.example\r\n") })
	if _, err := Dial(t.Context(), notQMP, nil); err == nil || !strings.Contains(err.Error(), "220 mail") {
		t.Errorf("not QMP: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		greeting, `{"return": {}, "id": 3}`, `{"return": null}`, `{"error": {"class": "c", "desc": "d"}, "id": 1}`,
		`{"event": "SHUTDOWN", "data": {"guest": true}, "timestamp": {"seconds": 1, "microseconds": 2}}`,
		`{"id": -1, "return": 1}`, `[]`, `{}`, ``, `{"event": "", "return": 1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		m, err := decode(line)
		if err == nil && m.Greeting == nil && m.Return == nil && m.Error == nil && m.Event == "" {
			t.Errorf("%q is read as nothing", line)
		}
		_ = m.event()
	})
}
