package guard

import (
	"bufio"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// connected returns both ends of a connection.
func connected(t *testing.T) (here, there *net.UnixConn) {
	t.Helper()
	listener, err := net.Listen("unix", filepath.Join(shortDir(t), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dialled, err := net.Dial("unix", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = dialled.Close(), accepted.Close() })
	return accepted.(*net.UnixConn), dialled.(*net.UnixConn)
}

// A guard that had no processor for longer than a client has to read gives that client up
// only where there is no room for what it is to be told.
func TestADeadlineThatPassedUnnoticed(t *testing.T) {
	here, there := connected(t)
	if err := here.SetWriteDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	c := &connection{conn: here}
	if err := c.put([]byte("told\n")); err != nil {
		t.Fatalf("a client with room was given up: %v", err)
	}
	if line, err := bufio.NewReader(there).ReadString('\n'); err != nil || line != "told\n" {
		t.Errorf("it was told %q, %v", line, err)
	}
	line := []byte(strings.Repeat("x", 1<<16) + "\n")
	for range 1000 { // more than a socket takes
		if err := c.put(line); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("without room: %v", err)
			}
			return
		}
	}
	t.Error("a client that does not read is waited for")
}
