package freeze

import "testing"

func TestIncludes(t *testing.T) {
	for _, c := range []struct {
		cgroup, path string
		want         bool
	}{
		{"/sys/fs/cgroup/storebeat-1", "/storebeat-1", true},
		{"/sys/fs/cgroup/unified/storebeat-1", "/storebeat-1", true},
		{"/sys/fs/cgroup/machine.slice/x", "/machine.slice/x/libvirt/emulator", true},
		{"/sys/fs/cgroup/machine.slice/x", "/machine.slice/xy", false},
		{"/sys/fs/cgroup/other/x", "/x", false},
		{"/sys/fs/cgroup", "/", false},
		{"/sys/fs/cgroup/unified", "/", false},
		{"/elsewhere/x", "/x", false},
		{"", "/", false},
		{"", "", false},
	} {
		if got := (Handle{Cgroup: c.cgroup}).Includes(c.path); got != c.want {
			t.Errorf("%q includes %q: %v", c.cgroup, c.path, got)
		}
	}
}
