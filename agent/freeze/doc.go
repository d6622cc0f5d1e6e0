// Package freeze stops all of a machine's threads from outside, and lets them
// go on. It asks neither the guest, nor its monitor, nor storage.
//
// A machine is frozen by the freezer of a cgroup v2 that holds it and nothing
// else, or else by SIGSTOP to its process group (weak freeze: anybody with the
// right to signal the machine can undo it, so it has to be looked at again).
//
// Guarantees: Frozen is reported only when every thread was seen stopped,
// frozen, or in uninterruptible sleep from which it can't return to its program
// while the freeze lasts. Gone is reported only when nothing of the machine is
// left to execute. A process that got the machine's process id later is never
// signalled. Nothing here waits for a machine or touches a file outside /proc
// and /sys/fs/cgroup.
//
// Non-guarantees: a frozen machine may have writes under way in the kernel; ask
// IOPending (docs/safety.md, R12). A weak freeze doesn't reach a process that
// has left its process group.
//
// Duties: callers put a machine into its cgroup, or make it the leader of its
// own process group, before its program begins. A freeze is issued by Freeze
// and true once State says Frozen.
package freeze
