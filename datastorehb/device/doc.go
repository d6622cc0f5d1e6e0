// Package device finds out what lies under a path: the mount, the NFS server
// and its lock lease, the disks underneath, and with them which datastores share
// a device and what write barrier a datastore has.
//
// Guarantees: nothing is written. The parsers (ParseMounts, ParseLockLeases) are
// pure and accept any bytes without panicking. What can't be found out is left
// empty, never guessed: an unknown file system has no write barrier.
//
// Non-guarantees: only what this host sees is seen. The members of a btrfs or
// ZFS pool beyond the one named as the mount's source, the disks of an iSCSI
// target and those behind a server stay hidden.
//
// Duties of the caller: Inspect touches the path and hangs as long as a dead
// server lets it; call it in a worker that may hang for ever.
package device
