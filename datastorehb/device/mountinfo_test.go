package device

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sampleMounts = `22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
42 27 7:0 / /srv/my\040store rw,relatime shared:7 master:1 - ext4 /dev/loop0 rw,barrier=0
55 27 0:44 /sub /srv/ds1 rw,noatime - nfs4 10.78.0.1:/ds1 rw,vers=4.2,soft,local_lock=none,addr=10.78.0.1
56 27 0:45 / /srv/ds2 rw - nfs [fd00::1]:/back\134slash rw,vers=3,nolock,addr=fd00::1
57 27 0:46 / /srv/empty rw - fuse  rw
58 55 8:17 / /srv/ds1 rw - ocfs2 /dev/sdb1 rw,coherency=full
`

func TestParseMounts(t *testing.T) {
	mounts, err := ParseMounts(sampleMounts)
	if err != nil {
		t.Fatal(err)
	}
	want := []Mount{
		{ID: 42, Device: Number{7, 0}, Root: "/", Point: "/srv/my store", FSType: "ext4", Source: "/dev/loop0", Options: []string{"rw", "relatime", "rw", "barrier=0"}},
		{ID: 55, Device: Number{0, 44}, Root: "/sub", Point: "/srv/ds1", FSType: "nfs4", Source: "10.78.0.1:/ds1", Options: []string{"rw", "noatime", "rw", "vers=4.2", "soft", "local_lock=none", "addr=10.78.0.1"}},
		{ID: 56, Device: Number{0, 45}, Root: "/", Point: "/srv/ds2", FSType: "nfs", Source: `[fd00::1]:/back\slash`, Options: []string{"rw", "rw", "vers=3", "nolock", "addr=fd00::1"}},
		{ID: 57, Device: Number{0, 46}, Root: "/", Point: "/srv/empty", FSType: "fuse", Options: []string{"rw", "rw"}},
	}
	if diff := cmp.Diff(want, mounts[2:6]); diff != "" {
		t.Error(diff)
	}
	if v, ok := mounts[3].Option("vers"); v != "4.2" || !ok || !mounts[3].Has("soft") || mounts[3].Has("sof") {
		t.Errorf("vers is %q, %v", v, ok)
	}
}

func TestParseMountsOfThisProcess(t *testing.T) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Skipf("no mountinfo here: %v", err)
	}
	if mounts, err := ParseMounts(string(text)); err != nil || len(mounts) == 0 {
		t.Fatalf("%d mounts, %v", len(mounts), err)
	}
}

func TestParseMountsRefuses(t *testing.T) {
	for _, line := range []string{
		"x", "1 2 0:1 / /a rw", "1 2 0:1 / /a rw - ext4 src", "1 2 0:1 / /a rw shared:1 ext4 src rw",
		"x 2 0:1 / /a rw - ext4 src rw", "1 2 01 / /a rw - ext4 src rw", "1 2 0:-1 / /a rw - ext4 src rw",
	} {
		if m, err := ParseMounts(line); err == nil {
			t.Errorf("%q was read as %+v", line, m)
		} else if !strings.HasPrefix(err.Error(), "mountinfo line 1: ") {
			t.Errorf("%q: the error does not name the line: %v", line, err)
		}
	}
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "plain": "plain", `a\040b`: "a b", `\134`: `\`, `\134040`: `\040`, `\04`: `\04`, `\`: `\`, `\999`: `\999`, `\777`: `\777`, `x\011`: "x\t", `\+12`: `\+12`,
	} {
		if got := unescape(in); got != want {
			t.Errorf("%q became %q, not %q", in, got, want)
		}
	}
}

func TestFindMount(t *testing.T) {
	mounts, err := ParseMounts(sampleMounts)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		path   string
		id     uint64
		fsType string
	}{
		{"/srv/ds1", 55, "nfs4"},
		{"/srv/ds1/x", 0, "ocfs2"}, // mounted over the other
		{"/srv/ds10", 0, "ext4"},
		{"/srv/my store/x", 0, "ext4"},
		{"/", 0, "ext4"},
		{"/srv", 99, ""},
	}
	for _, tt := range tests {
		if m, _ := findMount(mounts, tt.path, tt.id); m.FSType != tt.fsType {
			t.Errorf("%s with id %d lies on %+v", tt.path, tt.id, m)
		}
	}
}

func FuzzParseMounts(f *testing.F) {
	f.Add(sampleMounts)
	f.Add("1 2 0:1 / /a rw - ext4 src rw")
	f.Add(`1 2 0:1 /\0 /a\04 , - \ \\ ,,=,`)
	f.Fuzz(func(t *testing.T, text string) {
		mounts, err := ParseMounts(text)
		if err != nil && mounts != nil {
			t.Error("mounts in spite of an error")
		}
		if len(mounts) > len(text) {
			t.Errorf("%d mounts from %d bytes", len(mounts), len(text))
		}
		for _, m := range mounts {
			if len(m.Point) > len(text) {
				t.Errorf("a mount point longer than the text: %q", m.Point)
			}
			nfsOf(m)
		}
	})
}
