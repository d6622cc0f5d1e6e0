package device

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNFSOf(t *testing.T) {
	tests := []struct {
		name  string
		mount Mount
		want  *NFS
	}{
		{"local", Mount{FSType: "ext4", Source: "/dev/sda"}, nil},
		{"4.2", Mount{FSType: "nfs4", Source: "filer:/ds1", Options: []string{"vers=4.2", "addr=10.0.0.1"}}, &NFS{Server: "filer", Address: "10.0.0.1", Export: "/ds1", Version: "4.2"}},
		{"old spelling", Mount{FSType: "nfs4", Source: "filer:/", Options: []string{"vers=4", "minorversion=1"}}, &NFS{Server: "filer", Export: "/", Version: "4.1"}},
		{"IPv6", Mount{FSType: "nfs", Source: "[fd00::1]:/a:/b", Options: []string{"vers=3"}}, &NFS{Server: "fd00::1", Export: "/a:/b", Version: "3"}},
		{"strange source", Mount{FSType: "nfs", Source: "what"}, &NFS{Export: "what"}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, nfsOf(tt.mount)); diff != "" {
			t.Errorf("%s:\n%s", tt.name, diff)
		}
	}
}

func TestNFSAtLeast(t *testing.T) {
	for version, want := range map[string]bool{"": false, "3": false, "4": false, "4.0": false, "4.1": true, "4.2": true, "5": true, "x": false} {
		if n := (&NFS{Version: version}); n.AtLeast(4, 1) != want {
			t.Errorf("version %q at least 4.1: not %v", version, want)
		}
	}
}

const sampleStats = `device proc mounted on /proc with fstype proc
device 10.78.0.1:/ds1 mounted on /srv/my\040ds with fstype nfs4 statvers=1.1
	opts:	rw,vers=4.2
	caps:	caps=0xffbfffff,wtmult=512,dtsize=131072,bsize=0,namlen=255
	nfsv4:	bm0=0xfdffbfff,bm1=0x40f9be3e,bm2=0x28803,acl=0x3,sessions,pnfs=not configured,lease_time=10,lease_expired=0
	sec:	flavor=1,pseudoflavor=1
device 10.78.0.1:/old mounted on /srv/old with fstype nfs statvers=1.1
	opts:	rw,vers=3
`

func TestParseLockLeases(t *testing.T) {
	want := map[string]time.Duration{"/srv/my ds": 10 * time.Second}
	if diff := cmp.Diff(want, ParseLockLeases(sampleStats)); diff != "" {
		t.Error(diff)
	}
	for _, line := range []string{"nfsv4: lease_time=", "nfsv4: lease_time=0", "nfsv4: lease_time=99999999", "nfsv4: lease_time=-3", "xlease_time=10"} {
		if got := ParseLockLeases("device a mounted on /a with fstype nfs4\n" + line); len(got) != 0 {
			t.Errorf("%q gave %v", line, got)
		}
	}
}

func FuzzParseLockLeases(f *testing.F) {
	f.Add(sampleStats)
	f.Add("device  mounted on  with fstype \nnfsv4:lease_time=1")
	f.Fuzz(func(t *testing.T, text string) {
		for point, lease := range ParseLockLeases(text) {
			if point == "" || lease <= 0 || lease > maxLockLease {
				t.Errorf("lease %v at %q", lease, point)
			}
		}
	})
}
