package libvirt

import (
	"slices"
	"testing"

	"storebeat/agent/hypervisor"
)

func TestParseBlockStats(t *testing.T) {
	got := parseBlockStats("Domain: 'web'\n  block.count=2\n  block.0.name=vda\n  block.0.path=/ds/a=b\n  block.0.rd.reqs=3\n  block.0.rd.bytes=1536\n  block.0.wr.reqs=1\n  block.0.wr.bytes=512\n  block.1.name=vdb\n  block.7.name=x\n")
	want := []hypervisor.DiskStatistics{{Name: "vda", Reads: 3, Read: 1536, Writes: 1, Written: 512}, {Name: "vdb"}}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v", got)
	}
}

func FuzzParseBlockStats(f *testing.F) {
	f.Add("  block.0.name=vda\n  block.0.rd.bytes=1536\n")
	f.Add("block.-1.name=a\nblock.99999999999.name=b\nblock.=")
	f.Fuzz(func(t *testing.T, out string) {
		if n := len(parseBlockStats(out)); n > len(out) {
			t.Errorf("%d disks", n)
		}
	})
}
