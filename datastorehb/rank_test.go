package datastorehb

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// datastoreID returns a UUID that sorts by n.
func datastoreID(n int) (id uuid.UUID) {
	id[14], id[15] = byte(n>>8), byte(n)
	return id
}

func hostRange(first, last HostID) (hosts []HostID) {
	for h := first; h <= last; h++ {
		hosts = append(hosts, h)
	}
	return hosts
}

// candidate returns a datastore that all of hosts 1 to 4 have access to, on a device of its own.
func candidate(n int, change func(*Candidate)) Candidate {
	c := Candidate{
		Datastore: datastoreID(n),
		Name:      fmt.Sprintf("ds%d", n),
		Hosts:     hostRange(1, 4),
		Device:    NewDeviceIdentity(fmt.Sprintf("nfs:server%d", n)),
		FSType:    "nfs4",
	}
	if change != nil {
		change(&c)
	}
	return c
}

func TestRankOrder(t *testing.T) {
	sameDevice := func(c *Candidate) { c.Device = NewDeviceIdentity("nfs:shared") }
	tests := []struct {
		name       string
		candidates []Candidate
		want       []string // name:rank, best first
	}{
		{"no candidate", nil, nil},
		{"one datastore", []Candidate{candidate(1, nil)}, []string{"ds1:1"}},
		{"equal ranks", []Candidate{candidate(2, nil), candidate(1, nil)}, []string{"ds1:1", "ds2:1"}},
		{"more hosts first", []Candidate{
			candidate(1, func(c *Candidate) { c.Hosts = hostRange(1, 3) }), candidate(2, nil),
		}, []string{"ds2:1", "ds1:2"}},
		{"hosts that are not live don't count", []Candidate{
			candidate(1, func(c *Candidate) { c.Hosts = hostRange(2, 40) }), candidate(2, nil),
		}, []string{"ds2:1", "ds1:2"}},
		{"hosts named twice count once", []Candidate{
			candidate(1, func(c *Candidate) { c.Hosts = []HostID{3, 1, 2, 1, 2, 3, 1} }), candidate(2, nil),
		}, []string{"ds2:1", "ds1:2"}},
		{"own device first", []Candidate{
			candidate(1, sameDevice), candidate(2, sameDevice), candidate(3, nil),
		}, []string{"ds3:1", "ds1:2", "ds2:2"}},
		{"sharing with a discarded one is no matter", []Candidate{
			candidate(1, sameDevice), candidate(2, func(c *Candidate) { sameDevice(c); c.Excluded = true }), candidate(3, nil),
		}, []string{"ds1:1", "ds3:1", "ds2:0"}},
		{"accessibility before devices", []Candidate{
			candidate(1, sameDevice), candidate(2, sameDevice), candidate(3, func(c *Candidate) { c.Hosts = hostRange(1, 3) }),
		}, []string{"ds1:1", "ds2:1", "ds3:2"}},
		{"cluster file system, NFS, local", []Candidate{
			candidate(1, func(c *Candidate) { c.FSType = "ext4" }), candidate(2, nil),
			candidate(3, func(c *Candidate) { c.FSType = "ocfs2" }), candidate(4, func(c *Candidate) { c.FSType = "gfs2" }),
		}, []string{"ds3:1", "ds4:1", "ds2:2", "ds1:3"}},
		{"preferred before accessible", []Candidate{
			candidate(1, nil), candidate(2, func(c *Candidate) { c.Preferred = true; c.Hosts = hostRange(1, 2) }),
		}, []string{"ds2:1", "ds1:2"}},
		{"below the threshold, preferred or not", []Candidate{
			candidate(1, func(c *Candidate) { c.Preferred = true; c.Hosts = hostRange(1, 1) }), candidate(2, nil),
		}, []string{"ds2:1", "ds1:0"}},
	}
	opts := DefaultRankOptions()
	opts.ThresholdPercent = 50
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, r := range Rank(tt.candidates, hostRange(1, 4), opts) {
				if r.Discarded != (r.Rank == 0) {
					t.Errorf("%s: rank %d, discarded %v", r.Name, r.Rank, r.Discarded)
				}
				got = append(got, fmt.Sprintf("%s:%d", r.Name, r.Rank))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRankThreshold(t *testing.T) {
	tests := []struct{ access, live, percent, needed int }{
		{1, 3, 0, 1}, {0, 3, 0, 1}, {1, 3, 33, 1}, {1, 3, 34, 2}, {16, 64, 25, 16}, {15, 64, 25, 16}, {64, 64, 100, 64}, {0, 0, 25, 1},
	}
	for _, tt := range tests {
		c := candidate(1, func(c *Candidate) { c.Hosts = hostRange(1, HostID(tt.access)) })
		r := Rank([]Candidate{c}, hostRange(1, HostID(tt.live)), RankOptions{Count: 2, ThresholdPercent: tt.percent})[0]
		if r.Needed != tt.needed || r.Discarded != (tt.access < tt.needed) {
			t.Errorf("%+v: needed %d, discarded %v", tt, r.Needed, r.Discarded)
		}
	}
}

func TestReasons(t *testing.T) {
	shared := func(c *Candidate) { c.Device = NewDeviceIdentity("disk:x", c.Name) }
	ranked := Rank([]Candidate{
		candidate(1, func(c *Candidate) { shared(c); c.Preferred = true }),
		candidate(2, func(c *Candidate) { shared(c); c.FSType = "xfs" }),
		candidate(3, func(c *Candidate) { c.Excluded = true }),
		candidate(4, func(c *Candidate) { c.Hosts = nil }),
		candidate(5, nil),
	}, hostRange(1, 4), DefaultRankOptions())
	want := map[string][]string{
		"ds1": {"preferred in the configuration", "4 of 4 live hosts have access", "shares a device with ds2", "NFS (nfs4)"},
		"ds2": {"4 of 4 live hosts have access", "shares a device with ds1", "other file system (xfs)"},
		"ds3": {"excluded in the configuration"},
		"ds4": {"0 of 4 live hosts have access, at least 1 needed"},
		"ds5": {"4 of 4 live hosts have access", "shares no device with another datastore", "NFS (nfs4)"},
	}
	got := map[string][]string{}
	for i := range ranked {
		got[ranked[i].Name] = ranked[i].Reasons()
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRankOptionsValidate(t *testing.T) {
	if err := DefaultRankOptions().Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
	for _, bad := range []RankOptions{{Count: 1}, {Count: 6}, {Count: 2, ThresholdPercent: -1}, {Count: 2, ThresholdPercent: 101}} {
		if bad.Validate() == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}

func TestDeviceIdentity(t *testing.T) {
	tests := []struct {
		a, b DeviceIdentity
		want bool
	}{
		{nil, nil, false},
		{NewDeviceIdentity(""), NewDeviceIdentity(""), false},
		{NewDeviceIdentity("a", "b"), NewDeviceIdentity("c", "b"), true},
		{NewDeviceIdentity("a", "c"), NewDeviceIdentity("b", "d"), false},
		{NewDeviceIdentity("z"), NewDeviceIdentity("a", "b", "z"), true},
	}
	for _, tt := range tests {
		if tt.a.Overlaps(tt.b) != tt.want || tt.b.Overlaps(tt.a) != tt.want {
			t.Errorf("overlap of %q and %q is not %v both ways", tt.a, tt.b, tt.want)
		}
	}
	if got := NewDeviceIdentity("b", "a", "b").String(); got != "a,b" {
		t.Errorf("got %q", got)
	}
}

func TestWriteBarrierText(t *testing.T) {
	for b := BarrierNone; b <= BarrierFence; b++ {
		text, err := b.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back WriteBarrier
		if err := back.UnmarshalText(text); err != nil || back != b {
			t.Errorf("%v came back as %v, %v", b, back, err)
		}
	}
	if _, err := ParseWriteBarrier("wall"); err == nil {
		t.Error("an unknown barrier was accepted")
	}
	if _, err := WriteBarrier(9).MarshalText(); err == nil {
		t.Error("an unknown barrier was written")
	}
}

// drawCluster draws candidates with all manner of access, sharing and wishes.
func drawCluster(t *rapid.T) ([]Candidate, []HostID, RankOptions) {
	host := rapid.Custom(func(t *rapid.T) HostID { return HostID(rapid.IntRange(1, 12).Draw(t, "host")) })
	device := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"})
	n := rapid.IntRange(0, 8).Draw(t, "datastores")
	candidates := make([]Candidate, n)
	for i := range candidates {
		candidates[i] = candidate(i, func(c *Candidate) {
			c.Hosts = rapid.SliceOfN(host, 0, 14).Draw(t, "access")
			c.Device = NewDeviceIdentity(rapid.SliceOfN(device, 0, 3).Draw(t, "devices")...)
			c.FSType = rapid.SampledFrom([]string{"nfs4", "nfs", "ocfs2", "ext4", ""}).Draw(t, "type")
			c.Preferred = rapid.IntRange(0, 3).Draw(t, "preferred") == 0
			c.Excluded = rapid.IntRange(0, 5).Draw(t, "excluded") == 0
		})
	}
	opts := DefaultRankOptions()
	opts.Count = rapid.IntRange(LeastHeartbeatDatastores, MostHeartbeatDatastores).Draw(t, "count")
	opts.ThresholdPercent = rapid.IntRange(0, 100).Draw(t, "threshold")
	return candidates, rapid.SliceOfN(host, 0, 14).Draw(t, "live"), opts
}

func TestRankIgnoresInputOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		candidates, live, opts := drawCluster(t)
		before := slices.Clone(candidates)
		want := Rank(candidates, live, opts)
		if diff := cmp.Diff(before, candidates, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("the input was changed:\n%s", diff)
		}
		shuffled := rapid.Permutation(candidates).Draw(t, "shuffled")
		for i := range shuffled {
			shuffled[i].Hosts = rapid.Permutation(shuffled[i].Hosts).Draw(t, "hosts")
		}
		got := Rank(shuffled, rapid.Permutation(live).Draw(t, "live"), opts)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(Ranked{})); diff != "" {
			t.Fatal(diff)
		}
	})
}

func benchmarkCluster(hosts int) ([]Candidate, []HostID) {
	live := hostRange(1, HostID(hosts))
	candidates := make([]Candidate, 20)
	for i := range candidates {
		candidates[i] = candidate(i, func(c *Candidate) {
			c.Hosts = live[:len(live)-i%3]
			c.Device = NewDeviceIdentity(fmt.Sprintf("nfs:server%d", i/2))
		})
	}
	return candidates, live
}

func BenchmarkRank(b *testing.B) {
	for _, hosts := range []int{64, 1000} {
		b.Run(fmt.Sprintf("hosts=%d/datastores=20", hosts), func(b *testing.B) {
			candidates, live := benchmarkCluster(hosts)
			b.ReportAllocs()
			for b.Loop() {
				Rank(candidates, live, DefaultRankOptions())
			}
		})
	}
}
