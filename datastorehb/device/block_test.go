package device

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeSys builds a tree of block devices: disk sda (with a wwid) with partition
// sda1, disk vdb without a serial number, LVM volume dm-0 over both, encrypted
// dm-1 over dm-0, loop0 over a file, and dm-9, which is its own slave.
func fakeSys(t *testing.T) blockTree {
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link := func(target, name string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(root, target), path); err != nil {
			t.Fatal(err)
		}
	}
	device := func(number, dir string) {
		t.Helper()
		write(dir+"/dev", number+"\n")
		link(dir, "dev/block/"+number)
	}
	device("8:0", "devices/scsi/sda")
	write("devices/scsi/sda/device/wwid", "naa.5000  c500\n")
	device("8:1", "devices/scsi/sda/sda1")
	write("devices/scsi/sda/sda1/partition", "1\n")
	device("254:16", "devices/virtio/vdb")
	device("253:0", "devices/virtual/dm-0")
	link("devices/scsi/sda/sda1", "devices/virtual/dm-0/slaves/sda1")
	link("devices/virtio/vdb", "devices/virtual/dm-0/slaves/vdb")
	device("253:1", "devices/virtual/dm-1")
	link("devices/virtual/dm-0", "devices/virtual/dm-1/slaves/dm-0")
	device("7:0", "devices/virtual/loop0")
	write("devices/virtual/loop0/loop/backing_file", "/dev/null\n")
	device("253:9", "devices/virtual/dm-9")
	link("devices/virtual/dm-9", "devices/virtual/dm-9/slaves/dm-9")
	return blockTree(root)
}

func TestDisksUnder(t *testing.T) {
	sys := fakeSys(t)
	sda := Disk{Name: "sda", Number: Number{8, 0}, WorldWideID: "naa.5000 c500"}
	vdb := Disk{Name: "vdb", Number: Number{254, 16}}
	tests := []struct {
		name   string
		number Number
		want   []Disk
	}{
		{"disk", Number{8, 0}, []Disk{sda}},
		{"partition", Number{8, 1}, []Disk{sda}},
		{"volume over two", Number{253, 0}, []Disk{sda, vdb}},
		{"encryption over volume", Number{253, 1}, []Disk{sda, vdb}},
		{"loop", Number{7, 0}, []Disk{{Name: "loop0", Number: Number{7, 0}, Backing: "/dev/null"}}},
		{"a ring ends", Number{253, 9}, nil},
		{"unknown", Number{9, 9}, nil},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, sys.disksUnder(tt.number)); diff != "" {
			t.Errorf("%s:\n%s", tt.name, diff)
		}
	}
}

func TestDisksShareIdentity(t *testing.T) {
	sys := fakeSys(t)
	identify := func(n Number) Info {
		i := Info{Device: n}
		i.findDisks(sys, n, maxLoops)
		return i
	}
	volume, partition, other := identify(Number{253, 1}), identify(Number{8, 1}), identify(Number{7, 0})
	if !volume.Identity().Overlaps(partition.Identity()) {
		t.Errorf("%v and %v stand on one disk", volume.Identity(), partition.Identity())
	}
	if volume.Identity().Overlaps(other.Identity()) {
		t.Errorf("%v and %v stand on different disks", volume.Identity(), other.Identity())
	}
	if len(other.Beneath) != 1 {
		t.Errorf("the file system of the loop's image is missing: %+v", other)
	}
}
