package device

import (
	"fmt"
	"time"

	"storebeat/datastorehb"
)

// Barrier is the write barrier that a datastore's file system offers, and why.
type Barrier struct {
	Kind datastorehb.WriteBarrier `json:"kind"`
	Why  string                   `json:"why"`
	// Lease is how long a lost host's locks last, on top of the takeover time;
	// 0 with barrier lock means that it is not known.
	Lease time.Duration `json:"leaseNanoseconds"`
}

// Barrier tells the write barrier from the kind of file system and its mount
// options. It never answers fence: that one comes from the configuration.
func (i Info) Barrier() Barrier {
	switch {
	case i.NFS != nil:
		return i.nfsBarrier()
	case i.Mount.FSType == "ocfs2" || i.Mount.FSType == "gfs2":
		return i.clusterBarrier()
	case IsLocal(i.Mount.FSType):
		return Barrier{Why: i.Mount.FSType + " is a file system of this host alone; nothing stops writes that another host could send to the same disk"}
	}
	return Barrier{Why: fmt.Sprintf("of %q it is not known that it refuses the late writes of a lost host", i.Mount.FSType)}
}

func (i Info) nfsBarrier() Barrier {
	version := i.NFS.Version
	if !i.NFS.AtLeast(4, 1) {
		if version == "" {
			version = "of unknown version"
		}
		return Barrier{Why: "NFS " + version + " does not tie writes to locks; from 4.1 on the server refuses the writes of a client whose lock lease has ended"}
	}
	if o := LocalLocks(i.Mount); o != "" {
		return Barrier{Why: "mount option " + o + " keeps locks on this host: the server knows of none"}
	}
	return Barrier{
		Kind: datastorehb.BarrierLock, Lease: i.NFS.LockLease,
		Why: "NFS " + version + " with image locks: the server refuses the writes of a client whose lock lease has ended",
	}
}

func (i Info) clusterBarrier() Barrier {
	if o := LocalLocks(i.Mount); o != "" {
		return Barrier{Why: "mount option " + o + " switches the cluster's locking off"}
	}
	return Barrier{
		Kind: datastorehb.BarrierClusterFS,
		Why:  i.Mount.FSType + " takes a host that lost touch out of the cluster, and recovers its journal, before it lets others at its files",
	}
}

// LocalLocks returns the mount option that keeps file locks, as image locks use
// them, from reaching other hosts; "" when there is none.
func LocalLocks(m Mount) string {
	for _, o := range []string{"nolock", "local_lock=all", "local_lock=posix", "localflocks", "lockproto=lock_nolock", "heartbeat=none"} {
		if m.Has(o) {
			return o
		}
	}
	return ""
}

// localTypes are file systems that exist on one host only. Mounting the same
// disk with one of them on two hosts destroys it.
var localTypes = map[string]bool{
	"ext2": true, "ext3": true, "ext4": true, "xfs": true, "btrfs": true, "f2fs": true, "zfs": true, "jfs": true,
	"vfat": true, "exfat": true, "ntfs3": true, "tmpfs": true, "ramfs": true, "overlay": true, "bcachefs": true,
}

// IsLocal reports whether a file system of that type exists on one host only.
func IsLocal(fsType string) bool { return localTypes[fsType] }
