package check

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/pkg/xattr"
	"golang.org/x/sys/unix"
)

// The room that a datastore should have. A heartbeat region for 1,000 hosts takes
// 4 MiB, and claims and lists little more; the rest is for what others write.
const (
	leastFree   = 16 << 20
	scarceFree  = 256 << 20
	leastFiles  = 100
	scarceFiles = 10_000
)

func checkSpace(p *probe) []Finding {
	const name = "free space"
	var st unix.Statfs_t
	if err := unix.Statfs(p.root, &st); err != nil {
		return p.broken(name, os.NewSyscallError("statfs", err), "see whether the mount is alive")
	}
	// Bavail counts blocks of the fragment size, where the file system has one.
	block := uint64(max(st.Bsize, 0))
	if st.Frsize > 0 {
		block = uint64(st.Frsize)
	}
	return slices.Concat(judgeFree(st.Bavail*block), judgeFiles(st.Files, st.Ffree))
}

func judgeFree(free uint64) []Finding {
	const name = "free space"
	what := humanize.IBytes(free) + " free"
	switch {
	case free < leastFree:
		return one(name, Unsafe, what+": heartbeats and claims may fail for want of room", "free at least "+humanize.IBytes(leastFree))
	case free < scarceFree:
		return one(name, Warning, what, "free at least "+humanize.IBytes(scarceFree))
	}
	return one(name, OK, what, "")
}

// judgeFiles judges the files that can still be created. A file system that has
// no fixed number of them reports 0 in all, some servers something huge.
func judgeFiles(all, free uint64) []Finding {
	const name = "free inodes"
	what := fmt.Sprintf("%d of %d inodes free", free, all)
	switch {
	case all == 0:
		return one(name, OK, "no fixed number of inodes", "")
	case free < leastFiles:
		return one(name, Unsafe, what+": claims may fail for want of inodes", fmt.Sprintf("remove files, at least %d inodes must be free", leastFiles))
	case free < scarceFiles:
		return one(name, Warning, what, fmt.Sprintf("remove files until %d inodes are free", scarceFiles))
	}
	return one(name, OK, what, "")
}

// checkRename replaces a file and syncs the folder, as lists are written.
func checkRename(p *probe) []Finding {
	const name = "rename and fsync"
	const remedy = "use a file system that replaces files atomically"
	if err := renameOver(p.scratch); err != nil {
		return p.broken(name, err, remedy)
	}
	if err := syncFolder(p.scratch); err != nil {
		return one(name, Warning, fmt.Sprintf("a file was replaced, but the folder can't be synced: %v", err), "see whether the server exports with sync; after a power failure old names may be back")
	}
	return one(name, OK, "a file was replaced and its folder synced", "")
}

func renameOver(dir string) error {
	old, next := filepath.Join(dir, "list"), filepath.Join(dir, "list.next")
	if err := errors.Join(writeDurably(old, []byte("old")), writeDurably(next, []byte("next"))); err != nil {
		return err
	}
	if err := os.Rename(next, old); err != nil {
		return err
	}
	content, err := os.ReadFile(old)
	if err == nil && string(content) != "next" {
		err = fmt.Errorf("reading %s: %q instead of what was renamed over it", old, content)
	}
	return err
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// checkLocks takes the two kinds of locks that image locks are made of, through
// one descriptor, and expects another descriptor to be refused.
func checkLocks(p *probe) []Finding {
	const name = "file locks"
	const remedy = "image locks need them: mount with working locks (NFS 4.1 or later, local_lock=none)"
	path := filepath.Join(p.scratch, "lock")
	for _, kind := range []struct {
		name    string
		command int
	}{{"OFD", unix.F_OFD_SETLK}, {"POSIX", unix.F_SETLK}} {
		if err := lockConflict(path, kind.command); err != nil {
			err = fmt.Errorf("%s lock: %w", kind.name, err)
			p.lockFault = err.Error()
			return p.broken(name, err, remedy)
		}
	}
	return one(name, OK, "POSIX and OFD locks keep a second holder out", "")
}

// lockConflict locks with the command through one descriptor and tries an OFD
// lock through another. OFD locks conflict with both kinds, also in one process.
func lockConflict(path string, command int) error {
	holder, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer holder.Close()
	other, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer other.Close()
	if err := setLock(holder, command); err != nil {
		return err
	}
	switch err := setLock(other, unix.F_OFD_SETLK); {
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES):
		return nil
	case err != nil:
		return err
	}
	return errors.New("a second holder got it too")
}

func setLock(f *os.File, command int) error {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: 0, Start: 0, Len: 1}
	return os.NewSyscallError("fcntl", unix.FcntlFlock(f.Fd(), command, &lock))
}

// checkXattr is never worse than a warning: the identity file has the authority.
func checkXattr(p *probe) []Finding {
	const name = "extended attributes"
	const attribute = "user.storebeat.check"
	want := bytes.Repeat([]byte{'x'}, 200)
	err := xattr.Set(p.scratch, attribute, want)
	if err != nil {
		return one(name, OK, fmt.Sprintf("not supported (%v): the datastore's identity stands in its file only", errors.Unwrap(err)), "")
	}
	got, err := xattr.Get(p.scratch, attribute)
	if err != nil || !bytes.Equal(got, want) {
		return one(name, Warning, fmt.Sprintf("an attribute did not come back as written: %d bytes, %v", len(got), err), "nothing needs to be done: the datastore's identity stands in its file")
	}
	return one(name, OK, "supported", "")
}

// visibleWithin is how long a name may take to show up in a folder that another
// descriptor of the same host has open.
const visibleWithin = 2 * time.Second

// checkVisibility creates a name through one descriptor of the folder and looks
// for it through another that has listed the folder, and missed the name, before.
func checkVisibility(p *probe) []Finding {
	const name = "new names"
	const remedy = "mount with lookupcache=positive,actimeo=1 (NFS), or use a file system whose listings are up to date"
	took, err := appearance(p, "appearing")
	switch {
	case err != nil:
		return p.broken(name, err, remedy)
	case took > visibleWithin:
		return one(name, Unsafe, fmt.Sprintf("a new name was not in a listing of this same host after %v", visibleWithin), remedy)
	}
	return one(name, OK, fmt.Sprintf("in a listing of this host after %v", took.Round(10*time.Microsecond)), "")
}

func appearance(p *probe, name string) (time.Duration, error) {
	writer, err := os.Open(p.scratch)
	if err != nil {
		return 0, err
	}
	defer writer.Close()
	reader, err := os.Open(p.scratch)
	if err != nil {
		return 0, err
	}
	defer reader.Close()
	if there, err := listed(reader, name); err != nil || there {
		return 0, errors.Join(err, stale(there, name))
	}
	created := time.Now()
	fd, err := unix.Openat(int(writer.Fd()), name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return 0, os.NewSyscallError("openat", err)
	}
	if err := unix.Close(fd); err != nil {
		return 0, os.NewSyscallError("close", err)
	}
	return waitListed(p, reader, name, created)
}

func stale(there bool, name string) error {
	if there {
		return fmt.Errorf("name %q is listed before it was created", name)
	}
	return nil
}

// waitListed looks again and again until the name is there or it took too long.
func waitListed(p *probe, reader *os.File, name string, created time.Time) (time.Duration, error) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		there, err := listed(reader, name)
		took := time.Since(created)
		if err != nil || there || took > visibleWithin {
			return took, err
		}
		select {
		case <-tick.C:
		case <-p.ctx.Done():
			return 0, p.ctx.Err()
		}
	}
}

func listed(dir *os.File, name string) (bool, error) {
	if _, err := dir.Seek(0, 0); err != nil {
		return false, err
	}
	names, err := dir.Readdirnames(-1)
	return slices.Contains(names, name), err
}
