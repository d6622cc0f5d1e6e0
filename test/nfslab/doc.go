// Package nfslab builds hosts that are whole computers with a kernel of their own:
// small QEMU guests with Debian's kernel, its NFS client and its software watchdog.
// They reach their datastores by NFS alone, from nfs-ganesha, and run the real
// program as a user would, with QEMU guests of their own as machines.
//
// Package lab has more faults and is much faster. This one shows what that one
// can't: a client that caches, a server that keeps lock leases and that can be
// restarted, and a watchdog that resets a host.
//
// Guarantees: what machines wrote to their disks is read behind the server, and
// what they wrote to their consoles reaches the watch without the product's help.
// Everything runs in one network namespace without a name. All of it ends with
// the program that holds the lab, however that ends; files that are left the next
// lab removes. Several labs can run at once.
//
// Non-guarantees: the hosts run in emulation, so they are slow, and a pause of
// the computer is a pause of all of them. Network and storage of a host share one
// cable. A host's boot-time clock goes on from that of the snapshot that all
// start from.
package nfslab
