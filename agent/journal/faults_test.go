package journal

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"storebeat/agent/core"
)

func TestDeletedWhileRunning(t *testing.T) {
	for name, remove := range map[string]func(dir string) error{
		"directory": os.RemoveAll,
		"files": func(dir string) error {
			files, _ := filepath.Glob(filepath.Join(dir, "*"))
			for _, f := range files {
				if err := os.Remove(f); err != nil {
					return err
				}
			}
			return nil
		},
		"everything around": func(dir string) error { return os.RemoveAll(filepath.Dir(dir)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state", "journal")
			o := quick()
			o.Idle = time.Hour // the store stays open while it is deleted
			j := start(t, dir, o)
			add(j, 1, 10)
			allWritten(t, j)
			until(t, "it is removed, whatever the store makes there meanwhile", func() bool { return remove(dir) == nil })
			add(j, 11, 20)
			allWritten(t, j)
			check(t, j, Filter{}, want(1, 20))
			j.Close()
			j = start(t, dir, quick())
			allWritten(t, j)
			check(t, j, Filter{}, want(1, 20))
		})
	}
}

// Whatever is done to the files, the journal opens and works, and what it had
// is either still readable or moved aside.
func TestCorruptFiles(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "whole")
	o := quick()
	j := start(t, whole, o)
	for n := 1; n <= 6000; n += 1000 { // enough for tables on disk
		add(j, n, n+999)
		allWritten(t, j)
	}
	j.Close()
	damages := map[string]func([]byte) []byte{
		"truncated": func(b []byte) []byte { return b[:len(b)/2] },
		"empty":     func([]byte) []byte { return nil },
		"zeros":     func(b []byte) []byte { return make([]byte, len(b)) },
		"noise":     func(b []byte) []byte { return bytes.Repeat([]byte{0xa5, 0x5a, 0x13}, len(b)/3+1)[:len(b)] },
	}
	for damage, apply := range damages {
		for _, which := range []string{"MANIFEST", "KEYREGISTRY", "*.sst", "*.vlog", "*"} {
			t.Run(damage+" "+strings.Trim(which, "*."), func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "journal")
				if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
					t.Fatal(err)
				}
				files, _ := filepath.Glob(filepath.Join(dir, which))
				if len(files) == 0 {
					t.Fatal("nothing to damage")
				}
				for _, f := range files {
					raw, err := os.ReadFile(f)
					if err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(f, apply(raw), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				j := start(t, dir, quick())
				add(j, 6001, 6010)
				allWritten(t, j)
				got := j.List(Filter{Limit: 10})
				if len(got) != 10 || got[9].Text != "event 6010" {
					t.Errorf("got %v", contents(got))
				}
				if h := j.Health(); h.MovedAside == "" && got[0].ID != 6001 {
					t.Errorf("the old entries are neither there nor moved aside: %+v, %v", h, contents(got))
				}
			})
		}
	}
}

func TestDirectoryIsAFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	if err := os.WriteFile(dir, []byte("no directory"), 0o644); err != nil {
		t.Fatal(err)
	}
	j := start(t, dir, quick())
	add(j, 1, 3)
	until(t, "health tells", func() bool { h := j.Health(); return h.Reason != "" || h.Stored })
	check(t, j, Filter{}, want(1, 3))
}

func TestStoreThatCanNotBeOpened(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T) (string, Options){
		"no such program": func(t *testing.T) (string, Options) {
			o := quick()
			o.Command = []string{"/nonexistent/storebeat", StoreCommand}
			return t.TempDir(), o
		},
		"locked": func(t *testing.T) (string, Options) {
			dir := filepath.Join(t.TempDir(), "journal")
			lock, err := lockStore(dir)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { lock.Close() })
			return dir, quick()
		},
		"parent is a file": func(t *testing.T) (string, Options) {
			file := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(file, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			return filepath.Join(file, "journal"), quick()
		},
		"always crashes": func(t *testing.T) (string, Options) {
			o := quick()
			o.Command = []string{"/proc/self/exe", crashingStore}
			return t.TempDir(), o
		},
		"too little space": func(t *testing.T) (string, Options) {
			o := quick()
			o.Reserve = 1 << 60
			return filepath.Join(t.TempDir(), "journal"), o
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, o := prepare(t)
			o.InMemory = 50
			var lines bytes.Buffer
			j, err := Open(dir, hclog.New(&hclog.LoggerOptions{Output: &lines}), o)
			if err != nil {
				t.Fatal(err)
			}
			add(j, 1, 100)
			until(t, "health tells why", func() bool { return j.Health().Reason != "" })
			check(t, j, Filter{}, want(51, 100))
			j.Close()
			if n := strings.Count(lines.String(), "memory only"); n != 1 {
				t.Errorf("logged %d times; want once:\n%s", n, lines.String())
			}
		})
	}
}

func TestLockedStoreIsUsedOnceItIsFree(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	lock, err := lockStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	o := quick()
	o.InMemory = 50
	j := start(t, dir, o)
	add(j, 1, 100)
	until(t, "health tells why", func() bool { return strings.Contains(j.Health().Reason, "another process") })
	lock.Close()
	allWritten(t, j)
	check(t, j, Filter{}, want(51, 100))
	if h := j.Health(); h.Dropped != 50 {
		t.Errorf("%d dropped; want 50", h.Dropped)
	}
}

// A store process that hangs, as on a hung disk, holds nobody up.
func TestHungStore(t *testing.T) {
	o := quick()
	o.Command = []string{"/proc/self/exe", hangingStore}
	o.openWithin, o.closeWithin = 3*time.Second, 10*time.Millisecond
	j, err := Open(t.TempDir(), nil, o)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		add(j, 1, 10_000)
		check(t, j, Filter{Limit: 3}, want(9998, 10_000))
	}()
	select {
	case <-done:
	case <-time.After(patienceInTests):
		t.Fatal("the journal waits for its disk")
	}
	if err := j.Close(); err == nil || !strings.Contains(err.Error(), "hang") {
		t.Errorf("closing: got %v", err)
	}
	<-j.keeper.done // once its own patience ends
}

func TestRetention(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	o := quick()
	o.MaxEntries, o.InMemory = 1000, 10
	o.MaxBytes = 1 << 40
	j := start(t, dir, o)
	for n := 1; n <= 2500; n += 10 {
		add(j, n, n+9)
		allWritten(t, j)
	}
	var got []Entry
	until(t, "the disk to answer in time", func() bool { got = j.List(Filter{Limit: MaxLimit}); return len(got) > o.InMemory })
	if len(got) < 500 || len(got) > 1000 || got[len(got)-1].ID != 2500 {
		t.Errorf("%d entries are left, up to %d", len(got), got[len(got)-1].ID)
	}
}

func TestSizeOnDiskIsBounded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	o := quick()
	o.MaxBytes = 8 << 20
	j := start(t, dir, o)
	text := strings.Repeat("x", 4000)
	for range 100 { // 40 MB in all
		for range 100 {
			j.Append(core.Event{Kind: "test", Text: text})
		}
		allWritten(t, j)
	}
	j.Close()
	if out, err := exec.Command("du", "-sk", dir).Output(); err == nil {
		var kib int
		fmt.Sscan(string(out), &kib)
		if kib > 16<<10 {
			t.Errorf("%d KiB are on disk", kib)
		}
	}
}

// Really full: no reserve is kept, so that Badger runs into the wall.
func TestFullFileSystem(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a tmpfs")
	}
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=3m"); err != nil {
		t.Skipf("no tmpfs can be mounted: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	for name, reserve := range map[string]int64{"with reserve": 2 << 20, "without": 1} {
		t.Run(name, func(t *testing.T) {
			o := quick()
			o.Reserve = reserve
			j := start(t, filepath.Join(dir, name), o)
			n := 0
			until(t, "health tells that it is full", func() bool {
				for range 50 {
					n++
					j.Append(core.Event{Kind: "test", Text: fmt.Sprint(n, strings.Repeat(" full", 400))})
				}
				time.Sleep(10 * time.Millisecond)
				return j.Health().Reason != ""
			})
			t.Logf("after %d events: %s", n, j.Health().Reason)
			if got := j.List(Filter{Limit: 1}); len(got) != 1 || !strings.HasPrefix(got[0].Text, fmt.Sprint(n)) {
				t.Errorf("the newest event is not %d: %v", n, contents(got))
			}
			// Space comes back.
			if err := syscall.Mount("none", dir, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
				t.Fatal(err)
			}
			allWritten(t, j)
			j.Close()
			os.RemoveAll(filepath.Join(dir, name))
			os.Remove(filepath.Join(dir, name+".lock"))
			if err := syscall.Mount("none", dir, "tmpfs", syscall.MS_REMOUNT, "size=3m"); err != nil {
				t.Skipf("the tmpfs can't be made small again: %v", err)
			}
		})
	}
}
