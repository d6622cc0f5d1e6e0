package check

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"storebeat/datastorehb"
	"storebeat/datastorehb/device"
)

// mountLoop mounts a fresh ext4 image for the time of the test.
func mountLoop(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a loop device needs root")
	}
	dir := t.TempDir()
	image, point := filepath.Join(dir, "image"), filepath.Join(dir, "mount")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 64<<20); err != nil {
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

func TestMountOptions(t *testing.T) {
	good := []string{"rw", "hard", "proto=tcp", "local_lock=none", "lookupcache=pos", "acregmin=1", "acdirmax=1"}
	tests := []struct {
		fsType  string
		options []string
		status  Status
		words   string
	}{
		{"nfs4", good, OK, "none of them"},
		{"nfs4", append([]string{"soft"}, good...), Unsafe, "soft:"},
		{"nfs4", append([]string{"softerr"}, good...), Unsafe, "softerr:"},
		{"nfs4", append([]string{"local_lock=all"}, good...), Unsafe, "local_lock=all:"},
		{"nfs", append([]string{"nolock"}, good...), Unsafe, "nolock:"},
		{"nfs4", []string{"rw", "hard"}, OK, "none of them"},
		{"ext4", []string{"rw", "soft"}, OK, "none of them"},
		{"ext4", []string{"ro"}, Unsafe, "ro:"},
		{"xfs", []string{"rw", "nobarrier"}, Unsafe, "nobarrier:"},
		{"ocfs2", []string{"rw", "coherency=buffered"}, Unsafe, "coherency=buffered:"},
		{"ceph", []string{"rw", "recover_session=clean"}, Unsafe, "recover_session=clean:"},
	}
	for _, tt := range tests {
		findings := mountOptions(device.Mount{FSType: tt.fsType, Options: tt.options})
		if len(findings) != 1 || findings[0].Status != tt.status || !strings.Contains(findings[0].What, tt.words) {
			t.Errorf("%s with %v: %+v", tt.fsType, tt.options, findings)
		}
	}
	if two := mountOptions(device.Mount{FSType: "nfs4", Options: append([]string{"soft", "nolock"}, good...)}); len(two) != 2 {
		t.Errorf("not every harmful option is named: %+v", two)
	}
}

func TestMountPointAndFileSystem(t *testing.T) {
	tests := []struct {
		name  string
		info  device.Info
		point Status
		kind  Status
	}{
		{"nothing mounted", device.Info{OnRoot: true, Mount: device.Mount{FSType: "ext4", Point: "/"}}, Unsafe, Warning},
		{"folder of an export", device.Info{Mount: device.Mount{FSType: "nfs4", Point: "/srv"}, NFS: &device.NFS{Version: "4.2"}}, OK, OK},
		{"cluster file system", device.Info{IsMountPoint: true, Mount: device.Mount{FSType: "gfs2"}}, OK, OK},
		{"memory", device.Info{IsMountPoint: true, Mount: device.Mount{FSType: "tmpfs"}}, OK, Unsafe},
	}
	for _, tt := range tests {
		if p, k := mountPoint(tt.info)[0], fileSystem(tt.info)[0]; p.Status != tt.point || k.Status != tt.kind {
			t.Errorf("%s: %+v, %+v", tt.name, p, k)
		}
	}
}

func TestTally(t *testing.T) {
	tests := []struct {
		name  string
		tally tally
		want  string
	}{
		{"one winner", tally{told: []string{"a"}, winner: "a"}, ""},
		{"the reply was lost", tally{winner: "a"}, ""},
		{"two winners", tally{told: []string{"a", "b"}, winner: "a"}, "2 racers"},
		{"the wrong one", tally{told: []string{"a"}, winner: "b"}, "holds the record of b"},
		{"nobody", tally{}, "nobody won"},
		{"told but nothing there", tally{told: []string{"a"}}, "nobody won"},
	}
	for _, tt := range tests {
		got := tt.tally.judge(3)
		if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
}

func TestSummarise(t *testing.T) {
	var took []time.Duration
	for i := 200; i >= 1; i-- {
		took = append(took, time.Duration(i)*time.Millisecond)
	}
	want := Latency{Writes: 200, Min: time.Millisecond, Median: 100 * time.Millisecond, P99: 198 * time.Millisecond, Max: 200 * time.Millisecond}
	if got := summarise(took); got != want {
		t.Errorf("got %+v", got)
	}
	if got := summarise(nil); got != (Latency{}) {
		t.Errorf("of nothing: %+v", got)
	}
	if got := summarise([]time.Duration{7}); got != (Latency{Writes: 1, Min: 7, Median: 7, P99: 7, Max: 7}) {
		t.Errorf("of one: %+v", got)
	}
}

func TestJudgeLatency(t *testing.T) {
	timing := datastorehb.Timing{Interval: time.Second, Lease: 4 * time.Second}
	for p99, want := range map[time.Duration]Status{
		time.Millisecond: OK, 499 * time.Millisecond: OK, 500 * time.Millisecond: Warning, 1999 * time.Millisecond: Warning, 2 * time.Second: Unsafe,
	} {
		if got := judgeLatency(Latency{P99: p99, Direct: true}, timing)[0]; got.Status != want {
			t.Errorf("p99 %v: %+v", p99, got)
		}
	}
}

func TestLatencyKeepsToItsBudget(t *testing.T) {
	p := &probe{ctx: withDeadline(t), scratch: t.TempDir(), opts: Options{Writes: 1 << 30, Budget: 20 * time.Millisecond}}
	l, err := measureLatency(p, "slot")
	if err != nil || l.Writes == 0 || l.Writes == 1<<30 {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestAlignedSlot(t *testing.T) {
	buf, release, err := alignedSlot()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if at := uintptr(unsafe.Pointer(&buf[0])); at%4096 != 0 || len(buf) != datastorehb.SlotSize {
		t.Errorf("%d bytes at %x", len(buf), at)
	}
}

func TestJudgeSpace(t *testing.T) {
	for free, want := range map[uint64]Status{0: Unsafe, leastFree - 1: Unsafe, leastFree: Warning, scarceFree: OK, 1 << 62: OK} {
		if got := judgeFree(free)[0].Status; got != want {
			t.Errorf("%d bytes free: %v", free, got)
		}
	}
	tests := []struct {
		all, free uint64
		want      Status
	}{{0, 0, OK}, {1000, 0, Unsafe}, {1000, 100, Warning}, {1 << 20, 1 << 19, OK}}
	for _, tt := range tests {
		if got := judgeFiles(tt.all, tt.free)[0].Status; got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}

func TestLockFaultIsNoticed(t *testing.T) {
	p := &probe{ctx: withDeadline(t), scratch: filepath.Join(t.TempDir(), "absent")}
	if f := checkLocks(p)[0]; f.Status != Unsafe || p.lockFault == "" {
		t.Errorf("%+v", f)
	}
}

func TestLinkRaceFindsNoLinks(t *testing.T) {
	p := &probe{ctx: withDeadline(t), scratch: filepath.Join(t.TempDir(), "absent")}
	for _, f := range append(checkLinkRace(p), checkProcessRace(p)...) {
		if f.Status != Unsafe || f.Remedy == "" {
			t.Errorf("%+v", f)
		}
	}
}
