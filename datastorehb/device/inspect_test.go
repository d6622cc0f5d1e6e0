package device

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"storebeat/datastorehb"
)

func TestInspectTempDir(t *testing.T) {
	dir := t.TempDir()
	info, err := Inspect(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info.IsMountPoint || info.Mount.Point == "" || !isAbove(info.Mount.Point, info.Path) {
		t.Errorf("%s: %+v", dir, info)
	}
	other, err := Inspect(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if !info.Identity().Overlaps(other.Identity()) {
		t.Errorf("%v and %v are one file system", info.Identity(), other.Identity())
	}
}

func TestInspectFollowsLinks(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink("/", link); err != nil {
		t.Fatal(err)
	}
	info, err := Inspect(link)
	if err != nil || info.Path != "/" || !info.OnRoot || !info.IsMountPoint {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestInspectMissing(t *testing.T) {
	_, err := Inspect(filepath.Join(t.TempDir(), "absent"))
	if err == nil || !strings.Contains(err.Error(), "absent") {
		t.Errorf("got %v", err)
	}
}

func TestInspectLoop(t *testing.T) {
	point := mountLoop(t)
	info, err := Inspect(point)
	if err != nil {
		t.Fatal(err)
	}
	if !info.IsMountPoint || info.OnRoot || info.Mount.FSType != "ext4" || info.Mount.Point != point || len(info.Disks) == 0 {
		t.Errorf("%+v", info)
	}
	under, err := Inspect(filepath.Dir(point))
	if err != nil {
		t.Fatal(err)
	}
	if !info.Identity().Overlaps(under.Identity()) {
		t.Errorf("the image lies on %v, the mount is %v", under.Identity(), info.Identity())
	}
}

// mountLoop mounts a fresh ext4 image with a blank in its mount point.
func mountLoop(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a loop device needs root")
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	image, point := filepath.Join(dir, "image"), filepath.Join(dir, "mount point")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 16<<20); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(point, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"mkfs.ext4", "-q", image}, {"mount", "-o", "loop", image, point}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Skipf("no loop-mounted ext4 here: %s: %v: %s", args[0], err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", point).CombinedOutput(); err != nil {
			t.Errorf("unmounting %s: %v: %s", point, err, out)
		}
	})
	return point
}

func TestIdentity(t *testing.T) {
	nfs := func(server, address string, minor uint32) Info {
		return Info{Device: Number{0, minor}, NFS: &NFS{Server: server, Address: address}}
	}
	fuse := func(source string, minor uint32) Info {
		return Info{Device: Number{0, minor}, Mount: Mount{FSType: "fuse.x", Source: source}}
	}
	tests := []struct {
		name string
		a, b Info
		want bool
	}{
		{"two exports of a server", nfs("filer", "10.0.0.1", 1), nfs("FILER", "10.0.0.1", 2), true},
		{"two names of a server", nfs("filer", "10.0.0.1", 1), nfs("10.0.0.1", "10.0.0.1", 2), true},
		{"two servers", nfs("filer", "10.0.0.1", 1), nfs("other", "10.0.0.2", 2), false},
		{"two folders of a CephFS", fuse("mon1,mon2:/a", 1), fuse("mon1,mon2:/b", 2), true},
		{"two FUSE mounts of a program", fuse("prog", 1), fuse("prog", 2), false},
		{"one FUSE mount", fuse("prog", 1), fuse("prog", 1), true},
	}
	for _, tt := range tests {
		if got := tt.a.Identity().Overlaps(tt.b.Identity()); got != tt.want {
			t.Errorf("%s: %v and %v: overlap %v", tt.name, tt.a.Identity(), tt.b.Identity(), got)
		}
	}
}

func TestBarrier(t *testing.T) {
	nfs := func(options ...string) Mount {
		return Mount{FSType: "nfs4", Source: "filer:/ds", Options: options}
	}
	tests := []struct {
		name  string
		mount Mount
		want  datastorehb.WriteBarrier
	}{
		{"NFS 4.2", nfs("vers=4.2", "local_lock=none"), datastorehb.BarrierLock},
		{"NFS 4.1", nfs("vers=4.1"), datastorehb.BarrierLock},
		{"NFS 4.0", nfs("vers=4.0"), datastorehb.BarrierNone},
		{"NFS 3", nfs("vers=3"), datastorehb.BarrierNone},
		{"NFS of unknown version", nfs(), datastorehb.BarrierNone},
		{"local locks", nfs("vers=4.2", "local_lock=posix"), datastorehb.BarrierNone},
		{"local flock only", nfs("vers=4.2", "local_lock=flock"), datastorehb.BarrierLock},
		{"OCFS2", Mount{FSType: "ocfs2"}, datastorehb.BarrierClusterFS},
		{"OCFS2 alone", Mount{FSType: "ocfs2", Options: []string{"heartbeat=none"}}, datastorehb.BarrierNone},
		{"GFS2 without locks", Mount{FSType: "gfs2", Options: []string{"lockproto=lock_nolock"}}, datastorehb.BarrierNone},
		{"ext4", Mount{FSType: "ext4"}, datastorehb.BarrierNone},
		{"something else", Mount{FSType: "fuse.what"}, datastorehb.BarrierNone},
	}
	for _, tt := range tests {
		info := Info{Mount: tt.mount, NFS: nfsOf(tt.mount)}
		if info.NFS != nil {
			info.NFS.LockLease = 10 * time.Second
		}
		b := info.Barrier()
		if b.Kind != tt.want || b.Why == "" {
			t.Errorf("%s: %+v", tt.name, b)
		}
		if (b.Lease > 0) != (b.Kind == datastorehb.BarrierLock) {
			t.Errorf("%s: lease %v with barrier %v", tt.name, b.Lease, b.Kind)
		}
	}
}
