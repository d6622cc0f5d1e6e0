package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"storebeat/agent"
	"storebeat/agent/core"
	"storebeat/agent/demo/cluster"
	"storebeat/agent/journal"
	"storebeat/test/program"
)

// TestFollowingTheCluster follows the journals of all hosts through one of them,
// while agents are killed and started again, that one's too. Whatever the journals
// hold in the end was shown, and nothing was shown twice.
func TestFollowingTheCluster(t *testing.T) {
	t.Parallel()
	l := newLab(t, cluster.Options{Profile: "relaxed"}) // agents are restarted
	l.awaitSettled()
	by := l.Hosts[0]
	shown, notes := l.followAll(by)
	l.protect(2, "process")
	away := 0
	for i, h := range []*cluster.Host{by, l.Hosts[1], by} {
		l.await("the journal of "+h.Name+" to be on disk", func() (bool, string) { // a run that left nothing there is a gap
			var health agent.Health
			err := h.Client.Call(l.ctx, agent.MethodHealth, nil, &health)
			return err == nil && health.Journal.Stored && health.Journal.Waiting == 0, fmt.Sprintf("%+v, %v", health.Journal, err)
		})
		l.restartAgent(h)
		if h == by {
			away++
			l.await("the follower to say that the agent was away and is back", func() (bool, string) {
				said := notes()
				return strings.Count(said, "the agent is away") >= away && strings.Count(said, "the agent is back") >= away, said
			})
		}
		l.wish(l.Hosts[2], []core.Verb{core.Stop, core.Start, core.Stop}[i], l.machines[0])
		l.awaitState(l.machines[0], []string{"stopped", "running", "stopped"}[i])
	}
	l.await("everything in the journals to be shown", func() (bool, string) {
		missing, doubled := l.compare(shown())
		if len(doubled) > 0 {
			t.Fatalf("shown twice: %q", doubled)
		}
		return len(missing) == 0, fmt.Sprintf("missing are %q; notes are\n%s", missing, notes())
	})
	if strings.Contains(notes(), "may be missing") {
		t.Errorf("a gap is told of where there is none:\n%s", notes())
	}
}

// followAll runs the program as a user would, and returns what it has shown so far.
func (l *lab) followAll(by *cluster.Host) (shown func() []journal.Entry, notes func() string) {
	l.Helper()
	dir := shortDir(l.T)
	out, err := os.Create(filepath.Join(dir, "out"))
	l.do(err)
	errOut, err := os.Create(filepath.Join(dir, "err"))
	l.do(err)
	cmd := exec.Command(program.Path, "events", "--follow", "--cluster", "--limit", "10000", "-o", "json", "--config", by.Config)
	cmd.Stdout, cmd.Stderr = out, errOut
	l.do(cmd.Start())
	l.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			l.Errorf("the follower ended: %v", err)
		}
		_, _ = out.Close(), errOut.Close()
	})
	shown = func() (entries []journal.Entry) {
		for _, line := range lines(out.Name()) {
			var e journal.Entry
			if json.Unmarshal([]byte(line), &e) == nil { // else it is being written
				entries = append(entries, e)
			}
		}
		return entries
	}
	return shown, func() string { content, _ := os.ReadFile(errOut.Name()); return string(content) }
}

// compare says which entries of the journals were not shown, and which more than once.
func (l *lab) compare(shown []journal.Entry) (missing, doubled []string) {
	name := func(e *journal.Entry) string { return fmt.Sprint(e.By, e.Run, e.Seq, " ", e.Kind) }
	times := map[string]int{}
	for i := range shown {
		n := name(&shown[i])
		if times[n]++; times[n] > 1 {
			doubled = append(doubled, n)
		}
	}
	for _, h := range l.Hosts {
		for _, e := range l.events(h) {
			if times[name(&e)] == 0 {
				missing = append(missing, name(&e))
			}
		}
	}
	return missing, doubled
}
