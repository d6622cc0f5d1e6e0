package device

import (
	"strconv"
	"strings"
	"time"
)

// NFS is what the mount of an NFS export says of itself.
type NFS struct {
	Server  string `json:"server"`  // as in the mount's source
	Address string `json:"address"` // the server's, as the kernel uses it
	Export  string `json:"export"`
	Version string `json:"version"` // "3", "4.0", "4.2"; empty when the options don't tell

	// LockLease is how long the server keeps the locks of a client that is gone;
	// 0 when it can't be found out.
	LockLease time.Duration `json:"lockLeaseNanoseconds"`
}

// AtLeast reports whether the protocol version is known and not older than this.
func (n *NFS) AtLeast(major, minor int) bool {
	a, b, _ := strings.Cut(n.Version, ".")
	haveMajor, err := strconv.Atoi(a)
	if err != nil {
		return false
	}
	haveMinor, _ := strconv.Atoi(b)
	return haveMajor > major || haveMajor == major && haveMinor >= minor
}

// nfsOf reads a mount's server, export and version; nil when it is not NFS.
func nfsOf(m Mount) *NFS {
	if m.FSType != "nfs" && m.FSType != "nfs4" {
		return nil
	}
	n := &NFS{Version: nfsVersion(m)}
	n.Server, n.Export = splitSource(m.Source)
	n.Address, _ = m.Option("addr")
	return n
}

func nfsVersion(m Mount) string {
	version, ok := m.Option("vers")
	if !ok {
		version, _ = m.Option("nfsvers")
	}
	if minor, ok := m.Option("minorversion"); ok && version == "4" {
		version += "." + minor
	}
	return version
}

// splitSource parts server:/export, where the server may be an IPv6 address in
// brackets, with or without the brackets.
func splitSource(source string) (server, export string) {
	i := strings.Index(source, ":/")
	if i < 0 {
		return "", source
	}
	return strings.TrimSuffix(strings.TrimPrefix(source[:i], "["), "]"), source[i+1:]
}

// ParseLockLeases reads the text of /proc/self/mountstats and returns the lock
// lease that the server of each NFSv4 mount granted, by mount point. Lines that
// it does not know are passed over, since each file system writes its own.
func ParseLockLeases(text string) map[string]time.Duration {
	leases := make(map[string]time.Duration)
	point := ""
	for line := range strings.SplitSeq(text, "\n") {
		if rest, ok := strings.CutPrefix(line, "device "); ok {
			point = mountStatsPoint(rest)
			continue
		}
		if lease, ok := leaseTime(line); ok && point != "" {
			leases[point] = lease
		}
	}
	return leases
}

// mountStatsPoint reads "SOURCE mounted on POINT with fstype TYPE …".
func mountStatsPoint(line string) string {
	_, rest, ok := strings.Cut(line, " mounted on ")
	if !ok {
		return ""
	}
	point, _, _ := strings.Cut(rest, " with fstype ")
	return unescape(point)
}

// maxLockLease bounds what is believed of a lease, far above what servers allow.
const maxLockLease = 24 * time.Hour

func leaseTime(line string) (time.Duration, bool) {
	if !strings.HasPrefix(strings.TrimSpace(line), "nfsv4:") {
		return 0, false
	}
	_, rest, ok := strings.Cut(line, "lease_time=")
	if !ok {
		return 0, false
	}
	digits, _, _ := strings.Cut(rest, ",")
	seconds, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 32)
	lease := time.Duration(seconds) * time.Second
	return lease, err == nil && seconds > 0 && lease <= maxLockLease
}
