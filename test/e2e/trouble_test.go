package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"storebeat/agent/core"
	"storebeat/agent/demo/cluster"
	"storebeat/agent/journal"
	"storebeat/datastorehb/store"
)

// How a host reports trouble: what is away may come back, what is not what it
// was stays out until somebody has looked.
var (
	unavailable = []core.Kind{"datastore-unavailable"}
	distrusted  = []core.Kind{"datastore-distrusted"}
	failing     = []core.Kind{"datastore-failing", "datastore-unavailable"}
)

// troubles are what happens to a datastore under running agents.
var troubles = []struct {
	name string
	// strike does it, and returns what undoes it: nil where nothing does.
	strike func(l *lab, d cluster.Datastore) (undo func())
	kinds  []core.Kind // by one of which, at least, every host reports it
}{
	{"folder moved away and back", func(l *lab, d cluster.Datastore) func() {
		from, to := filepath.Join(d.Path, ".storebeat"), filepath.Join(l.Dir, "away")
		l.do(os.Rename(from, to))
		return func() { l.do(os.Rename(to, from)) }
	}, unavailable},
	{"folder deleted", func(l *lab, d cluster.Datastore) func() {
		l.do(removeAll(filepath.Join(d.Path, ".storebeat")))
		return nil
	}, append(unavailable, distrusted...)},
	{"emptied", func(l *lab, d cluster.Datastore) func() {
		l.do(removeAll(filepath.Join(d.Path, ".storebeat", l.ID.String())))
		return nil
	}, distrusted},
	{"replaced by a new one", func(l *lab, d cluster.Datastore) func() {
		away := filepath.Join(l.Dir, "away")
		l.do(os.Rename(filepath.Join(d.Path, ".storebeat"), away))
		_, err := store.Init(d.Path, l.ID, d.Name, 64)
		l.do(err)
		return nil
	}, distrusted},
	{"restored from a copy", func(l *lab, d cluster.Datastore) func() {
		folder, away, copied := filepath.Join(d.Path, ".storebeat"), filepath.Join(l.Dir, "away"), filepath.Join(l.Dir, "copy")
		l.do(copyTree(folder, copied))
		l.do(os.Rename(folder, away))
		l.do(os.Rename(copied, folder))
		return nil
	}, distrusted},
}

// do fails the test unless something succeeded.
func (l *lab) do(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

// removeAll removes a folder in which others may still be making files.
func removeAll(path string) error {
	err := os.RemoveAll(path)
	for range 100 {
		if err == nil {
			return nil
		}
		err = os.RemoveAll(path)
	}
	return err
}

// copyTree copies a folder whose files may come and go meanwhile, as a backup does.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry os.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		name := filepath.Join(to, strings.TrimPrefix(path, from))
		if entry.IsDir() {
			return os.MkdirAll(name, 0o755)
		}
		content, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		return os.WriteFile(name, content, 0o644)
	})
}

// TestDatastoreTrouble harms one of two datastores. Every host says so once and
// freezes what it runs there; nothing there is started again, put down or
// initialised; and the machines on the other datastore go on.
func TestDatastoreTrouble(t *testing.T) {
	t.Parallel()
	for _, c := range troubles {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, cluster.Options{})
			l.protect(6, "process")
			sick := l.Datastores[0]
			runs, from, before := l.runs(), time.Now(), l.view()
			undo := c.strike(l, sick)
			for _, h := range l.Hosts {
				l.awaitReport(h, from, sick, c.kinds)
			}
			for _, m := range l.homedOn(sick) {
				owner := l.host(viewOf(before, m).Host)
				l.awaitEvent(owner, from, "machines-frozen")
			}
			l.awaitTicks(40, l.homedOn(l.Datastores[1])...) // longer than a takeover takes
			for _, h := range l.Hosts {
				l.refuse(h, from, "term-closed", "start-ordered", "machine-putting-down", "machine-released")
				l.expectOneReport(h, from, sick, c.kinds)
			}
			l.expectRuns(runs)
			if undo != nil {
				undo()
				l.awaitSettled()
				l.expectGenerations(before, runs)
			}
			l.awaitAvailable(sick, undo != nil)
			l.expectRuns(runs)
		})
	}
}

// reports returns the events of a host that say that something is wrong with a datastore.
func (l *lab) reports(h *cluster.Host, since time.Time, d cluster.Datastore, kinds []core.Kind) (found []journal.Entry) {
	l.Helper()
	for _, e := range l.since(h, since) {
		if e.Datastore == d.ID && slices.Contains(kinds, e.Kind) {
			found = append(found, e)
		}
	}
	return found
}

func (l *lab) awaitReport(h *cluster.Host, since time.Time, d cluster.Datastore, kinds []core.Kind) (first journal.Entry) {
	l.Helper()
	l.await(fmt.Sprintf("%s to report %s", h.Name, d.Name), func() (bool, string) {
		found := l.reports(h, since, d, kinds)
		if len(found) > 0 {
			first = found[0]
		}
		return len(found) > 0, "it did not"
	})
	return first
}

// expectOneReport fails the test unless a host reported the trouble, and no kind
// of it more than once.
func (l *lab) expectOneReport(h *cluster.Host, since time.Time, d cluster.Datastore, kinds []core.Kind) {
	l.Helper()
	found := l.reports(h, since, d, kinds)
	seen := map[core.Kind]int{}
	for _, e := range found {
		if seen[e.Kind]++; seen[e.Kind] > 1 {
			l.Errorf("%s reports %s more than once: %s %v", h.Name, e.Kind, e.Text, e.Evidence)
		}
	}
	if len(found) == 0 {
		l.Errorf("%s reports none of %v", h.Name, kinds)
	}
}

// awaitAvailable waits until every host calls a datastore available, or every host
// something else.
func (l *lab) awaitAvailable(d cluster.Datastore, available bool) {
	l.Helper()
	for _, h := range l.Hosts {
		l.await(h.Name+" to call "+d.Name+" what it is", func() (bool, string) {
			v, err := h.View(l.ctx, true)
			if err != nil {
				return false, err.Error()
			}
			i := slices.IndexFunc(v.Datastores, func(s core.DatastoreView) bool { return s.ID == d.ID })
			got := v.Datastores[i]
			return (got.State == "available") == available, fmt.Sprintf("%s: %s", got.State, got.Why)
		})
	}
}

// TestUnreadable makes every request to a datastore fail for everybody, for longer
// than a takeover takes.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	l := newFaultyLab(t, cluster.Options{})
	l.protect(6, "process")
	runs, from, before := l.runs(), time.Now(), l.view()
	sick := l.Datastores[0]
	for _, h := range l.Hosts {
		l.mount(h, sick).Fail(syscall.EACCES)
	}
	l.awaitTicks(50, l.homedOn(l.Datastores[1])...)
	for _, h := range l.Hosts {
		l.awaitReport(h, from, sick, failing)
		l.expectOneReport(h, from, sick, failing)
		l.refuse(h, from, "term-closed", "start-ordered", "datastore-distrusted")
	}
	l.heal()
	l.awaitSettled()
	l.expectRuns(runs)
	l.expectGenerations(before, runs)
}

// boundLab is a cluster of which one host sees ds1 through a bind mount.
type boundLab struct {
	*lab
	host       *cluster.Host
	datastore  cluster.Datastore
	mountpoint string
}

func newBoundLab(t *testing.T, profile string, mounted bool) *boundLab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	l := &boundLab{}
	mount := func(h *cluster.Host, d cluster.Datastore) (string, error) {
		if h.Name != "host3" || d.Name != "ds1" {
			return d.Path, nil
		}
		l.mountpoint, l.datastore = filepath.Join(h.Dir, "ds1"), d
		t.Cleanup(func() { _ = l.unmount() }) // it may not be mounted
		if err := os.Mkdir(l.mountpoint, 0o755); err != nil || !mounted {
			return l.mountpoint, err
		}
		return l.mountpoint, l.mount()
	}
	l.lab = newLab(t, cluster.Options{Profile: profile, Mount: mount})
	l.host = l.Hosts[2]
	return l
}

func (l *boundLab) mount() error {
	return unix.Mount(l.datastore.Path, l.mountpoint, "", unix.MS_BIND, "")
}

func (l *boundLab) unmount() error { return unix.Unmount(l.mountpoint, unix.MNT_DETACH) }

// expectNothingUnderneath fails the test if something was made in the directory
// on which the datastore should be mounted.
func (l *boundLab) expectNothingUnderneath() {
	l.Helper()
	if names, err := os.ReadDir(l.mountpoint); err != nil || len(names) > 0 {
		l.Errorf("the directory underneath holds %v (%v)", names, err)
	}
}

// TestRolledBack restores an older copy over a datastore in place while nobody can
// reach it: no other identity and no other file tells. The master and the host
// that won the generation that is gone notice it, and nothing is started again.
func TestRolledBack(t *testing.T) {
	t.Parallel()
	l := newFaultyLab(t, cluster.Options{})
	l.protect(4, "process")
	sick, m := l.Datastores[0], l.machines[0]
	folder, backup := filepath.Join(sick.Path, ".storebeat"), filepath.Join(l.Dir, "backup")
	l.do(copyTree(folder, backup))
	want := l.runs()
	l.wish(l.Hosts[0], core.Stop, m)
	l.awaitState(m, "stopped")
	l.wish(l.Hosts[0], core.Start, m)
	want[m.Name]++
	l.awaitRuns(want)
	l.awaitSettled()
	owner, from := l.owner(m), time.Now()
	master, _ := l.master()
	for _, h := range l.Hosts {
		l.mount(h, sick).Fail(syscall.EIO)
	}
	l.awaitEvent(owner, from, "machines-frozen")
	l.do(restoreInPlace(backup, folder))
	l.heal()
	for _, h := range []*cluster.Host{owner, master} {
		l.awaitReport(h, from, sick, distrusted)
	}
	l.awaitTicks(40, l.homedOn(l.Datastores[1])...)
	for _, h := range l.Hosts {
		l.refuse(h, from, "term-closed", "start-ordered", "machine-putting-down")
	}
	l.expectRuns(want)
}

// restoreInPlace makes a folder what its backup is, without replacing a file
// that both have.
func restoreInPlace(backup, folder string) error {
	err := filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if _, err := os.Stat(filepath.Join(backup, strings.TrimPrefix(path, folder))); os.IsNotExist(err) {
			return os.Remove(path)
		}
		return nil
	})
	return errors.Join(err, copyTree(backup, folder))
}

// TestUnmounted unmounts a host's datastore lazily: its open files go on, but
// the path leads to an empty directory. The host says so and counts on it no
// more; the others vouch for it, so its machines go on; and when it is mounted
// again all is well.
func TestUnmounted(t *testing.T) {
	t.Parallel()
	l := newBoundLab(t, "default", true)
	l.protect(6, "process")
	from, runs, before := time.Now(), l.runs(), l.view()
	l.do(l.unmount())
	e := l.awaitReport(l.host, from, l.datastore, unavailable)
	if !strings.Contains(e.Text, "not mounted") {
		l.Errorf("the report does not say that it is not mounted: %s", e.Text)
	}
	l.awaitTicks(40, l.machines...)
	l.expectOneReport(l.host, from, l.datastore, unavailable)
	for _, h := range l.Hosts {
		l.refuse(h, from, "term-closed", "start-ordered", "datastore-distrusted", "machines-frozen")
	}
	l.expectNothingUnderneath()
	l.do(l.mount())
	l.awaitEvent(l.host, from, "datastore-available")
	l.awaitSettled()
	l.expectRuns(runs)
	l.expectGenerations(before, runs)
}

// TestNotMountedAtStart starts an agent while one of its datastores is an empty
// local directory. It runs without it, writes nothing there, and takes it up
// when it is mounted.
func TestNotMountedAtStart(t *testing.T) {
	t.Parallel()
	l := newBoundLab(t, "fast", false)
	l.awaitAnswer(l.host)
	l.awaitReport(l.host, time.Time{}, l.datastore, unavailable)
	l.expectNothingUnderneath()
	l.do(l.mount())
	l.awaitMaster()
	l.protect(3, "process")
	l.expectOneReport(l.host, time.Time{}, l.datastore, unavailable)
}
