package e2e

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"storebeat/agent/core"
	"storebeat/agent/demo/cluster"
)

// TestJournalLost harms the store of a running agent's journal. The agent goes
// on, still tells what happens, and starts again over what is left.
func TestJournalLost(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		harm func(l *lab, h *cluster.Host)
	}{
		{"deleted", func(l *lab, h *cluster.Host) { l.do(removeAll(filepath.Join(h.StateDir(), "journal"))) }},
		{"corrupt", func(l *lab, h *cluster.Host) { l.do(scribble(h.StateDir())) }},
		{"disk full", func(l *lab, h *cluster.Host) { l.do(fill(filepath.Join(h.StateDir(), "filler"))) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, cluster.Options{Profile: "relaxed", Datastores: 1, Mount: smallState(t)})
			l.protect(2, "process")
			h, m := l.owner(l.machines[0]), l.machines[0]
			from, want, other := time.Now(), l.runs(), l.machines[1]
			c.harm(l, h)
			l.wish(h, core.Stop, m)
			l.awaitState(m, "stopped")
			l.awaitEvent(h, from, "machine-released")
			l.wish(h, core.Start, m)
			want[m.Name]++
			l.awaitRuns(want)
			l.awaitTicks(20, other)
			l.refuse(h, from, "lease-lapsed", "machines-frozen", "guard-gone")
			l.restartAgent(h)
			l.awaitSettled()
			l.expectRuns(want)
		})
	}
}

// restartAgent restarts an agent within its lease and waits until it answers.
func (l *lab) restartAgent(h *cluster.Host) {
	l.Helper()
	h.KillAgent()
	l.do(h.Start())
	l.awaitAnswer(h)
}

// smallState gives every host a small disk of its own for its state.
func smallState(t *testing.T) func(h *cluster.Host, d cluster.Datastore) (string, error) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	return func(h *cluster.Host, d cluster.Datastore) (string, error) {
		if err := os.Mkdir(h.StateDir(), 0o700); err != nil {
			return "", err
		}
		t.Cleanup(func() { _ = unix.Unmount(h.StateDir(), unix.MNT_DETACH) }) // it may not have been mounted
		return d.Path, unix.Mount("none", h.StateDir(), "tmpfs", 0, "size=64m")
	}
}

// scribble writes over the middle of every file of a folder.
func scribble(folder string) error {
	return filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt([]byte("this was something else before; now it is nothing that anybody wrote on purpose"), 3)
		return errors.Join(err, f.Close())
	})
}

// fill writes a file until the disk is full.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	block := make([]byte, 1<<20)
	for err == nil {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}
