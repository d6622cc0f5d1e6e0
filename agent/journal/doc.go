// Package journal keeps what happened on a host and why: the events and their
// evidence that `storebeat events` and `storebeat explain` show.
//
// The newest events are in memory. They are written to a Badger store as well,
// by a process of its own. Badger works on files mapped into memory, and that
// has no place in an agent: on a full disk a store into such a file is a SIGBUS
// that ends the process, and on a disk that hangs it is a thread that the
// garbage collector waits for while leases run out. The store process runs only
// while there is something to write or to look up.
//
// Guarantees: Append never waits and never fails. No state of the disk, full,
// hung, read-only, corrupt or deleted, harms the agent: the newest events stay
// available from memory, and Health tells what is wrong. A corrupt store is
// moved aside, never overwritten. Ids of events grow and stay the same, also
// across restarts of the agent as long as the store is not deleted.
//
// Non-guarantees: an event may be lost when the agent or the host ends within
// about a second of it, or while the store can't be written. Until the store
// has been read for the first time after a start (Health.Settled), ids are
// provisional: they may be raised once, all by the same number.
//
// Duties: the program must run StoreMain when it is started with StoreCommand
// as its first argument.
package journal
