// Package guard enforces freezing (docs/safety.md, R5 and R11). A guard is a
// small process beside the agent. It holds the deadline of each datastore's
// lease and the machines homed there, freezes them when the deadline passes, and
// lets machines go only under the lease of the term that the agent names.
//
// The Keeper decides, purely; Serve carries out and runs in the guard's process;
// Client is the agent's end of the socket between the two.
//
// Guarantees: no machine is let go without a valid lease of the very term named.
// A lease that has run out stays so. The lease of a newer term is taken only
// when every machine of the datastore is seen frozen or gone. When the agent
// goes away nothing happens until leases run out. The guard touches nothing but
// its socket, /proc, /sys/fs/cgroup and the watchdog device, and waits for
// nobody: not for a machine, not for the agent, not for its log.
//
// On SIGHUP the guard executes the program that is installed now, in the same
// process. What it knows goes along, and the agent does not notice. A service
// manager that restarts the guard keeps all of it for the next process.
//
// Non-guarantees: the guard does not know generations or other hosts, and does
// not judge whether the agent is entitled to what it asks for. A guard that has
// just started knows nothing, and so guards nothing but what it is told.
//
// Duties: the agent registers each machine while it is stopped, before it asks
// to let it go; claims a term only after Inventory.AllFrozen is true of the
// datastore; and freezes its machines itself (FreezeAll) when the guard is gone
// or does not report in time.
package guard
