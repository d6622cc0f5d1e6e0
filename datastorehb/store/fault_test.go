package store

import (
	"errors"
	"fmt"
	"path"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

var errInjected = errors.New("injected fault")

// faultFS asks its hook before each operation on the file system below. The hook
// may do the operation or leave it, and may say what it likes about it.
type faultFS struct {
	FS
	hook hook
}

// hook stands between a store and one operation, such as "link" with the name
// under which the file shall appear.
type hook func(op, name string, do func() error) error

func withHook(h hook) func(FS) FS { return func(fs FS) FS { return &faultFS{fs, h} } }

func (f *faultFS) Open(name string, flags int) (file File, err error) {
	op := "open"
	if flags&unix.O_DIRECT != 0 {
		op = "open-direct"
	}
	err = f.hook(op, name, func() (err error) {
		file, err = f.FS.Open(name, flags)
		return err
	})
	if err != nil {
		if file != nil {
			file.Close()
		}
		return nil, err
	}
	return &faultFile{file, name, f.hook}, nil
}

func (f *faultFS) Link(from, to string) error {
	return f.hook("link", to, func() error { return f.FS.Link(from, to) })
}

func (f *faultFS) Rename(from, to string) error {
	return f.hook("rename", to, func() error { return f.FS.Rename(from, to) })
}

func (f *faultFS) Unlink(name string) error {
	return f.hook("unlink", name, func() error { return f.FS.Unlink(name) })
}

func (f *faultFS) Mkdir(name string) error {
	return f.hook("mkdir", name, func() error { return f.FS.Mkdir(name) })
}

func (f *faultFS) List(name string) (names []string, err error) {
	err = f.hook("list", name, func() (err error) {
		names, err = f.FS.List(name)
		return err
	})
	return names, err
}

func (f *faultFS) Stat(name string) (st Stat, err error) {
	err = f.hook("stat", name, func() (err error) {
		st, err = f.FS.Stat(name)
		return err
	})
	return st, err
}

func (f *faultFS) SyncDir(name string) error {
	return f.hook("syncdir", name, func() error { return f.FS.SyncDir(name) })
}

type faultFile struct {
	File
	name string
	hook hook
}

func (f *faultFile) ReadAt(b []byte, off int64) (n int, err error) {
	err = f.hook("read", f.name, func() (err error) {
		n, err = f.File.ReadAt(b, off)
		return err
	})
	return n, err
}

// WriteAt offers the hook the write as its sectors, so that it can tear it.
func (f *faultFile) WriteAt(b []byte, off int64) (n int, err error) {
	err = f.hook("write", f.name, func() (err error) {
		n, err = f.File.WriteAt(b, off)
		return err
	})
	return n, err
}

func (f *faultFile) Sync() error { return f.hook("sync", f.name, f.File.Sync) }

// onLink is a hook for the links under names in a directory.
func onLink(dir string, h func(do func() error) error) hook {
	return func(op, name string, do func() error) error {
		if op == "link" && path.Dir(name) == dir {
			return h(do)
		}
		return do()
	}
}

// countdown lets a number of operations pass. Then it fails: the next one only,
// or all from then on, like a crash. done says whether what fails takes effect.
type countdown struct {
	mu     sync.Mutex
	left   int
	crash  bool
	done   bool
	failed int
}

func (c *countdown) hook(_, _ string, do func() error) error {
	c.mu.Lock()
	c.left--
	fails := c.left == -1 || c.crash && c.left < 0
	if fails {
		c.failed++
	}
	first := c.failed == 1
	c.mu.Unlock()
	if !fails {
		return do()
	}
	if c.done && first {
		_ = do()
	}
	return errInjected
}

func (c *countdown) arm(after int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left, c.failed = after, 0
}

func (c *countdown) fired() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed > 0
}

// everyFault runs a test with a fault at each step, until none is left to fail.
func everyFault(t *testing.T, failsAt func(t *testing.T, step int, c *countdown) (fired bool)) {
	for _, crash := range []bool{false, true} {
		for _, done := range []bool{false, true} {
			t.Run(fmt.Sprintf("crash=%v,done=%v", crash, done), func(t *testing.T) {
				step := 0
				for failsAt(t, step, &countdown{left: never, crash: crash, done: done}) {
					if step++; step > 100 {
						t.Fatal("there is no end of steps")
					}
				}
				t.Logf("%d steps", step)
			})
		}
	}
}

// never lets everything pass until it is armed.
const never = 1 << 30
