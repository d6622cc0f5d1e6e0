// Package leader starts, watches and ends the leading process of a machine on
// behalf of the drivers.
//
// Guarantees: the process has its own session, no terminal and no pipe of ours;
// with a cgroup root it is born inside its own cgroup. It carries the machine's
// marker, and is recorded in the run directory once it is stopped and before
// anybody may let it go: a process without a record was never let go. It is
// watched through a pidfd, so a reused process id is never mistaken for it;
// watching costs no thread. Done is closed only once every process of the
// machine is gone, hung threads included: then its files are closed and its
// locks are free.
//
// Non-guarantees: a process that this agent did not start itself tells nobody
// how it ended; its Ending is not Known.
package leader
