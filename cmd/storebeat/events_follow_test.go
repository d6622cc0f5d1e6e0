package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"storebeat/agent"
	"storebeat/agent/control"
	"storebeat/agent/core"
	"storebeat/agent/journal"
	"storebeat/datastorehb"
)

// A follower that loses its agent says so once, and asks for what comes after what it has shown.
func TestFollowingThroughAnAgentThatIsAway(t *testing.T) {
	dir, err := os.MkdirTemp("", "sb-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	asked := make(chan agent.FollowRequest, 1)
	var out, errOut lockedBuffer
	a := &app{socket: socket, out: &out, errOut: &errOut}
	ctx, cancel := context.WithCancel(t.Context())
	var following sync.WaitGroup
	defer following.Wait()
	defer cancel()
	for run, name := range []string{"first", "second", "third"} {
		end := serveFollowers(t, socket, asked, agent.FollowItem{Journal: 7, News: journal.News{Gap: run == 2,
			Entry: &journal.Entry{Event: core.Event{Kind: "term-won", Text: name}}, At: journal.Position{Run: name, Seq: uint64(run)}}})
		if run == 0 {
			following.Go(func() {
				err := a.follow(ctx, agent.FollowRequest{Cluster: true}, func(e journal.Entry) error { _, err := out.Write([]byte(e.Text + "\n")); return err })
				if err != nil {
					t.Errorf("following ended: %v", err)
				}
			})
		}
		request := <-asked
		want := map[datastorehb.HostID]journal.Position{7: {Run: []string{"", "first", "second"}[run], Seq: uint64(max(0, run-1))}}
		if run == 0 {
			want = nil
		}
		if diff := cmp.Diff(want, request.After); diff != "" || !request.Cluster {
			t.Errorf("run %d: cluster %t, it goes on after (-want +got):\n%s", run, request.Cluster, diff)
		}
		until(t, func() bool { return strings.Contains(out.String(), name) })
		end()
		until(t, func() bool { return strings.Count(errOut.String(), "away") == run+1 })
	}
	notes := errOut.String()
	if strings.Count(notes, "the agent is back") != 2 || strings.Count(notes, "may be missing") != 1 {
		t.Errorf("the notes are\n%s", notes)
	}
	if out.String() != "first\nsecond\nthird\n" {
		t.Errorf("shown was %q", out.String())
	}
}

// Without an agent to begin with there is nothing to wait for.
func TestFollowingNobody(t *testing.T) {
	a := &app{socket: "/nonexistent/s"}
	err := a.follow(t.Context(), agent.FollowRequest{}, nil)
	if control.CodeOf(err) != control.NotRunning {
		t.Errorf("got %v", err)
	}
}

// serveFollowers is an agent that tells one thing and then nothing, until it is ended.
func serveFollowers(t *testing.T, socket string, asked chan<- agent.FollowRequest, item agent.FollowItem) (end func()) {
	t.Helper()
	m := control.NewMux()
	control.HandleStream(m, agent.MethodFollow, func(ctx context.Context, in agent.FollowRequest, send func(any) error) error {
		asked <- in
		if err := send(item); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	})
	l, err := control.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { _ = l.Serve(ctx, m) })
	end = sync.OnceFunc(func() { cancel(); done.Wait() })
	t.Cleanup(end)
	return end
}

func until(t *testing.T, ok func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatal("it never comes")
		case <-tick.C:
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
