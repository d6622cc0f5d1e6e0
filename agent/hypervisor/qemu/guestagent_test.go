package qemu

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// agentPlayer answers as a guest agent does, or in ways in which one should not.
func agentPlayer(t *testing.T, play func(line string, conn net.Conn)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					play(lines.Text(), conn)
				}
			}()
		}
	}()
	return path
}

// synced answers the greeting, after what an earlier exchange has left.
func synced(line string, conn net.Conn) bool {
	at := strings.Index(line, "guest-sync-delimited")
	if at < 0 {
		return false
	}
	id := strings.TrimRight(line[strings.LastIndex(line, ":")+1:], "}")
	fmt.Fprintf(conn, "{\"return\": 7}\nrubbish\n\xff{\"return\": %s}\n", id)
	return true
}

func TestPowerDown(t *testing.T) {
	tests := map[string]struct {
		play func(string, net.Conn)
		want string
	}{
		"consent": {func(line string, conn net.Conn) {
			if !synced(line, conn) {
				_ = conn.Close()
			}
		}, ""},
		"silence": {func(line string, conn net.Conn) { synced(line, conn) }, ""},
		"refusal": {func(line string, conn net.Conn) {
			if !synced(line, conn) {
				fmt.Fprintln(conn, `{"error": {"class": "GenericError", "desc": "not now"}}`)
			}
		}, "not now"},
		"nobody":   {func(string, net.Conn) {}, "does not answer"},
		"flood":    {func(_ string, conn net.Conn) { _, _ = conn.Write(bytes.Repeat([]byte("x"), 2*maxAgentReply)) }, "bytes"},
		"stranger": {func(_ string, conn net.Conn) { fmt.Fprintln(conn, `{"return": 1}`); _ = conn.Close() }, "does not answer"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := powerDown(t.Context(), agentPlayer(t, test.play))
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	if err := powerDown(t.Context(), filepath.Join(t.TempDir(), "none")); !errors.Is(err, errNoAgent) {
		t.Errorf("without a channel: %v", err)
	}
}

// A caller that gives up is not held up.
func TestPowerDownEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := powerDown(ctx, agentPlayer(t, func(string, net.Conn) {})); err == nil || ctx.Err() == nil {
		t.Errorf("got %v before the context had ended", err)
	}
}

func FuzzReadReply(f *testing.F) {
	f.Add([]byte("{\"return\": {}}\n"))
	f.Add([]byte("\xff{\"return\": 7}\n{\"error\": {\"desc\": \"x\"}}\n"))
	f.Add([]byte("\xff\xff\n\n[]\nnull\n"))
	f.Fuzz(func(t *testing.T, said []byte) {
		reply, err := readReply(bufio.NewReader(bytes.NewReader(said)))
		if err == nil && reply.Return == nil && reply.Error == nil {
			t.Errorf("%q is read as nothing", said)
		}
	})
}
