package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"storebeat/agent/core"
	"storebeat/agent/demo/cluster"
	"storebeat/datastorehb/store"
	"storebeat/test/program"
)

// must runs a command that has to succeed, and returns what it says.
func (l *lab) must(h *cluster.Host, args ...string) string {
	l.Helper()
	out, err := l.cli(h, args...)
	if err != nil {
		l.Fatalf("storebeat %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

// refused runs a command that must be refused, with a word in the reason.
func (l *lab) refused(h *cluster.Host, word string, args ...string) {
	l.Helper()
	if out, err := l.cli(h, args...); err == nil || !strings.Contains(out, word) {
		l.Fatalf("storebeat %s: %v: %q is no refusal with %q", strings.Join(args, " "), err, out, word)
	}
}

// newcomer is a host that has not joined yet.
type newcomer struct {
	*cluster.Host
	heartbeat, management string
}

func (l *lab) newcomer() newcomer {
	l.Helper()
	h, heartbeat, management, err := l.Newcomer()
	if err != nil {
		l.Fatal(err)
	}
	return newcomer{h, heartbeat, management}
}

// join runs `storebeat join` on a newcomer, the token on its standard input.
func (l *lab) join(n newcomer, token string) (string, error) {
	cmd := exec.CommandContext(l.ctx, program.Path, "join", "-", "--config", n.Config, "--name", n.Name, "--address", n.heartbeat, "--management", n.management,
		"--run-directory", "run", "--state-directory", "state")
	cmd.Stdin = strings.NewReader(token)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// token asks a member for one.
func (l *lab) token(h *cluster.Host) string {
	l.Helper()
	for _, word := range strings.Fields(l.must(h, "host", "token", "--for", "10m")) {
		if strings.HasPrefix(word, "storebeat-join-") {
			return word
		}
	}
	l.Fatal("there is no token in what `host token` prints")
	return ""
}

// TestJoinProtectRemove lets a host join by a token of a member that is not the
// master, protects machines, empties the host that was there first, and removes it.
func TestJoinProtectRemove(t *testing.T) {
	l := newLab(t, cluster.Options{Hosts: 2})
	l.protect(2, "process")
	l.awaitRevision(1)
	_, others := l.master()
	token, n := l.token(others[0]), l.newcomer()
	if out, err := l.join(n, token[:len(token)-2]); err == nil || !strings.Contains(out, "not copied in full") {
		t.Fatalf("half a token: %v: %s", err, out)
	}
	l.joinTwice(n, token)
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	l.awaitSettled()
	l.await("the newcomer to be like the others", func() (bool, string) {
		v, err := n.View(l.ctx, true)
		return err == nil && len(v.Cluster.Differences) == 0 && v.Timing.Takeover == l.view().Timing.Takeover && len(v.Hosts) == 3,
			fmt.Sprintf("%v: differences %q, takeover %v, %d hosts", err, v.Cluster.Differences, v.Timing.Takeover, len(v.Hosts))
	})
	for i, d := range l.Datastores {
		l.add(cluster.NewMachine(fmt.Sprintf("more%d", i+1), d, "process"))
	}
	l.awaitSettled()
	l.awaitTicks(2, l.machines...)
	first := l.Hosts[0]
	if len(l.on(first)) > 0 {
		l.refused(n.Host, "move them first", "host", "remove", first.Name)
	}
	l.must(n.Host, "host", "maintenance", "on", first.Name, "--move")
	l.awaitTicks(2, l.machines...)
	before := l.runs()
	if out := l.must(n.Host, "host", "remove", first.Name); !strings.Contains(out, "was removed") {
		t.Errorf("%q", out)
	}
	// The host that was removed may have been the master: the next one answers.
	if out := l.must(n.Host, "host", "remove", first.Name); !strings.Contains(out, "nothing to change") {
		t.Errorf("a second removal: %q", out)
	}
	l.await(first.Name+" to know that it was removed", func() (bool, string) {
		v, err := first.View(l.ctx, true)
		return err == nil && strings.Contains(v.Cluster.Outcast, "was removed"), fmt.Sprint(err, v.Cluster.Outcast)
	})
	if out := l.must(first, "status"); !strings.Contains(out, "takes no part") {
		t.Errorf("status on the removed host: %s", out)
	}
	first.KillAgent()
	l.awaitSettled()
	l.awaitTicks(2, l.machines...)
	for name, runs := range l.runs() {
		if runs != before[name] {
			t.Errorf("%s was started %d times meanwhile", name, runs-before[name])
		}
	}
	l.removedComesBack(first)
}

// joinTwice joins as if the first reply had been lost, and once more after all was done.
func (l *lab) joinTwice(n newcomer, token string) {
	l.Helper()
	for range 2 {
		if out, err := l.join(n, token); err != nil || !strings.Contains(out, "has joined") || !strings.Contains(out, "(id 3)") {
			l.Fatalf("%v: %s", err, out)
		}
		if err := os.Remove(n.Config); err != nil { // it never came to writing it
			l.Fatal(err)
		}
	}
	if out, err := l.join(n, token); err != nil {
		l.Fatalf("%v: %s", err, out)
	}
	if out, err := l.join(n, token); err != nil || !strings.Contains(out, "already") {
		l.Fatalf("a computer that has joined: %v: %s", err, out)
	}
	key, err := os.ReadFile(filepath.Join(n.Dir, "cluster.key"))
	theirs, err2 := os.ReadFile(filepath.Join(l.Dir, "cluster.key"))
	if err != nil || err2 != nil || !bytes.Equal(key, theirs) {
		l.Fatalf("the key is not the cluster's: %v %v", err, err2)
	}
}

// removedComesBack starts the agent of a removed host, with what it knew.
func (l *lab) removedComesBack(h *cluster.Host) {
	l.Helper()
	at := time.Now()
	if err := h.Start(); err != nil {
		l.Fatal(err)
	}
	l.awaitAnswer(h)
	l.awaitEvent(h, at, "host-outcast")
	l.awaitTicks(3, l.machines...)
	if on := l.on(h); len(on) > 0 {
		l.Errorf("%s was removed and runs %v", h.Name, on)
	}
	l.refuse(h, at, "generation-won", "term-won", "start-ordered")
	h.KillAgent()
}

// TestAnotherKey gives a cluster another key, as one does after a token has leaked:
// no machine notices.
func TestAnotherKey(t *testing.T) {
	l := newLab(t, cluster.Options{})
	l.protect(2, "process")
	token, runs := l.token(l.Hosts[0]), l.runs()
	for _, h := range l.Hosts {
		if err := h.StopAgent(l.ctx); err != nil {
			t.Fatal(err)
		}
	}
	fresh := filepath.Join(l.Dir, "fresh")
	if out, err := exec.CommandContext(l.ctx, program.Path, "init", fresh).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Rename(filepath.Join(fresh, "cluster.key"), filepath.Join(l.Dir, "cluster.key")); err != nil {
		t.Fatal(err)
	}
	for _, h := range l.Hosts {
		if err := h.Start(); err != nil {
			t.Fatal(err)
		}
	}
	l.awaitSettled()
	l.awaitTicks(2, l.machines...)
	for name, now := range l.runs() {
		if now != runs[name] {
			t.Errorf("%s was started anew", name)
		}
	}
	if out, err := l.join(l.newcomer(), token); err == nil {
		t.Errorf("the token that leaked is taken still: %s", out)
	}
}

// TestDatastoreAddedAndRemoved takes a datastore in and out while agents and
// machines run.
func TestDatastoreAddedAndRemoved(t *testing.T) {
	l := newLab(t, cluster.Options{})
	l.protect(2, "process")
	l.awaitRevision(1)
	path := filepath.Join(l.Dir, "more")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	h := l.Hosts[1]
	l.refused(h, "mount it there", "datastore", "add", "more="+path)
	l.must(h, "datastore", "init", path)
	id, err := store.Identify(path, l.ID)
	if err != nil {
		t.Fatal(err)
	}
	l.must(h, "datastore", "add", "more="+path, "--accept-no-barrier")
	l.awaitDatastore("more", "available")
	l.add(cluster.NewMachine("late", cluster.Datastore{Name: "more", Path: path, ID: id.Datastore}, "process"))
	l.awaitSettled()
	l.refused(h, "late have their home", "datastore", "remove", "more")
	l.must(h, "vm", "stop", "late")
	l.must(h, "vm", "unprotect", "late")
	l.machines = slices.DeleteFunc(l.machines, func(m *cluster.Machine) bool { return m.Name == "late" })
	l.await("the machine to be stopped, and its datastore to leave", func() (bool, string) {
		out, err := l.cli(h, "datastore", "remove", "more")
		return err == nil, out
	})
	l.awaitDatastore("more", "")
	l.awaitTicks(2, l.machines...)
	for _, h := range l.Hosts {
		l.await(h.Name+" to let go of it", func() (bool, string) {
			open := openBelow(t, h, path)
			return len(open) == 0, strings.Join(open, ", ")
		})
	}
	l.must(h, "datastore", "add", "more="+path)
	l.awaitDatastore("more", "available")
}

// awaitDatastore waits until every host shows a datastore in that state, or does
// not show it for "".
func (l *lab) awaitDatastore(name, state string) {
	l.Helper()
	for _, h := range l.Hosts {
		l.await(fmt.Sprintf("%s to show %s %s", h.Name, name, state), func() (bool, string) {
			v, err := h.View(l.ctx, true)
			if err != nil {
				return false, err.Error()
			}
			at := slices.IndexFunc(v.Datastores, func(d core.DatastoreView) bool { return d.Name == name })
			if at < 0 {
				return state == "", "it does not show it"
			}
			return v.Datastores[at].State == state, v.Datastores[at].State + " " + v.Datastores[at].Why
		})
	}
}

// openBelow lists what a host's agent has open below a directory.
func openBelow(t *testing.T, h *cluster.Host, dir string) (open []string) {
	t.Helper()
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", h.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if target, err := os.Readlink(l); err == nil && strings.HasPrefix(target, dir+"/") {
			open = append(open, target)
		}
	}
	return open
}
