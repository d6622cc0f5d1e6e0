package device

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"storebeat/datastorehb"
)

// Info is what lies under a path.
type Info struct {
	Path         string `json:"path"`   // absolute, symbolic links resolved
	Device       Number `json:"device"` // of the file system: st_dev
	Mount        Mount  `json:"mount"`
	IsMountPoint bool   `json:"isMountPoint"`
	OnRoot       bool   `json:"onRoot"` // on the root file system: nothing is mounted there
	NFS          *NFS   `json:"nfs"`    // nil when it is not NFS
	Disks        []Disk `json:"disks"`  // the whole disks underneath, as far as there are any
	// Beneath are the numbers of the file systems that hold the images of loop
	// devices underneath, when those stand on no disk.
	Beneath []Number `json:"beneath"`
}

// Inspect finds out what lies under a path. It hangs as long as the file system
// does: call it in a worker that may hang for ever.
func Inspect(path string) (Info, error) {
	resolved, err := filepath.Abs(path)
	if err == nil {
		resolved, err = filepath.EvalSymlinks(resolved)
	}
	if err != nil {
		return Info{}, fmt.Errorf("inspecting %s: %w", path, err)
	}
	info := Info{Path: resolved}
	at, err := locate(resolved)
	if err != nil {
		return Info{}, fmt.Errorf("inspecting %s: %w", path, err)
	}
	if info.Mount, err = mountOf(resolved, at.mountID); err != nil {
		return Info{}, fmt.Errorf("inspecting %s: %w", path, err)
	}
	info.Device = at.device
	info.IsMountPoint = info.Mount.Point == resolved
	info.OnRoot = info.Mount.Point == "/"
	if info.NFS = nfsOf(info.Mount); info.NFS != nil {
		info.NFS.LockLease = lockLeaseAt(info.Mount)
	}
	info.findDisks("/sys", at.device, maxLoops)
	return info, nil
}

// lockLeaseAt looks a mount's lock lease up; 0 when the kernel does not tell.
func lockLeaseAt(m Mount) (lease time.Duration) {
	text, err := os.ReadFile("/proc/self/mountstats")
	if err != nil {
		return 0
	}
	return ParseLockLeases(string(text))[m.Point]
}

// location is where a path lies, as the kernel says.
type location struct {
	device  Number
	mountID uint64 // 0 when the kernel is too old to tell
}

func locate(path string) (location, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID, &st); err != nil {
		return location{}, os.NewSyscallError("statx", err)
	}
	l := location{device: Number{Major: st.Dev_major, Minor: st.Dev_minor}}
	if st.Mask&unix.STATX_MNT_ID != 0 {
		l.mountID = st.Mnt_id
	}
	return l, nil
}

func mountOf(path string, id uint64) (Mount, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return Mount{}, err
	}
	mounts, err := ParseMounts(string(text))
	if err != nil {
		return Mount{}, err
	}
	m, ok := findMount(mounts, path, id)
	if !ok {
		return Mount{}, fmt.Errorf("no mount holds %s: is /proc that of this mount namespace?", path)
	}
	return m, nil
}

// findMount returns the mount with that id or, without one, the last of those
// with the longest mount point above the path: it covers the others.
func findMount(mounts []Mount, path string, id uint64) (found Mount, ok bool) {
	for _, m := range mounts {
		if id != 0 && m.ID == id {
			return m, true
		}
		if id == 0 && isAbove(m.Point, path) && len(m.Point) >= len(found.Point) {
			found, ok = m, true
		}
	}
	return found, ok
}

func isAbove(dir, path string) bool {
	return dir == path || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// maxLoops bounds how many loop devices may stand on each other's images.
const maxLoops = 4

// findDisks notes the disks under a file system. One without a block device of
// its own number (btrfs) may still name a disk as its source. Below a loop
// device it goes on with the file system that holds the image.
func (i *Info) findDisks(sys blockTree, n Number, loops int) {
	if n.Major == 0 {
		source, ok := blockNumber(i.Mount.Source)
		if !ok {
			return
		}
		n = source
	}
	for _, d := range sys.disksUnder(n) {
		i.Disks = append(i.Disks, d)
		if d.Backing == "" || loops == 0 {
			continue
		}
		// An image that was deleted, or lies in another namespace, is not found: the loop device stands for itself.
		if at, err := locate(d.Backing); err == nil && at.device.Major != 0 {
			i.findDisks(sys, at.device, loops-1)
		} else if err == nil {
			i.Beneath = append(i.Beneath, at.device)
		}
	}
}

// blockNumber returns the number of a block device's node.
func blockNumber(path string) (Number, bool) {
	var st unix.Stat_t
	if !strings.HasPrefix(path, "/dev/") || unix.Stat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return Number{}, false
	}
	return Number{Major: unix.Major(st.Rdev), Minor: unix.Minor(st.Rdev)}, true
}

// Identity returns the names of all devices that the path stands or falls with,
// for the ranking. Every identity holds the number of the file system itself; a
// network file system also its server, a local one its disks.
func (i Info) Identity() datastorehb.DeviceIdentity {
	names := []string{"fs:here:" + i.Device.String()}
	for _, n := range i.Beneath {
		names = append(names, "fs:here:"+n.String())
	}
	for _, d := range i.Disks {
		names = append(names, d.identity())
	}
	switch {
	case i.NFS != nil:
		names = append(names, serverName(i.NFS.Server), serverName(i.NFS.Address))
	case i.Device.Major == 0 && len(i.Disks) == 0:
		server, _ := splitSource(i.Mount.Source)
		names = append(names, serverName(server))
	}
	return datastorehb.NewDeviceIdentity(names...)
}

func serverName(server string) string {
	if server == "" {
		return ""
	}
	return "server:" + strings.ToLower(server)
}
