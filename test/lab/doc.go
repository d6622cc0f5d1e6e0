// Package lab builds hosts on one computer, each with its own network, storage
// paths, processes and power switch, and runs the real program on them as a user
// would: its configuration at the default path, its own guard, QEMU guests.
//
// A host is a process tree in namespaces of its own: network, mounts, process ids,
// host name, IPC, cgroups, and a boot-time clock that is far from the others'. Its
// first process is this program once more. Datastores are directories that every
// host reaches by a FUSE mount of its own, and hosts are joined by a switch; both
// are served by the program that holds the lab. So they live on when a host is
// frozen or dies, as a file server and a switch do.
//
// Guarantees: faults are real: packets are lost, system calls hang, processes are
// killed or frozen. Watch judges by what the guests themselves wrote to consoles
// and disks, and by nothing that the product says. The program that holds the lab
// never touches a datastore by way of a host's mount, so nothing that hangs there
// can hold it up. Hosts die with it, however it ends; what else is left of it the
// next lab removes. Several labs can run at once.
//
// Non-guarantees: hosts share one kernel, its wall clock and its CPUs. Storage is a
// local directory behind FUSE: no client caches, and a file server that never
// restarts.
//
// Duties: a program that makes labs calls Main first. It ends them, and uses a
// datastore only through the directory behind it. Labs need root, FUSE, overlay
// file systems and cgroup v2; Available tells.
package lab
