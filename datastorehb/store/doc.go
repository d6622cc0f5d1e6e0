// Package store does the blocking I/O on one mounted datastore: identity,
// heartbeat region, registers and power-on lists. The bytes are those of
// docs/format.md, the rules those of docs/safety.md (R1, R2, R14).
//
// Guarantees: nothing but Init makes a datastore out of a directory. What could
// not be read is never reported as absent, and an open store stays on the file
// system it was opened on, whatever is mounted over its path later. A register's
// number is won at most once, by the file system's own exclusive link(2). A value
// is durable before its win is reported. A write that fails or is torn hurts
// neither the older copy of a slot nor that of a list.
//
// Non-guarantees: no call has a deadline. On a storage path that is gone each one
// may hang for ever, in a way that not even SIGKILL ends. The store does not judge
// how long a claim took, whether a caller is entitled to it, or whether what it
// reads is older than what was read before: that is decided purely, elsewhere. A
// write that a network file system gave up on (soft mounts do) may still reach the
// server after later ones, and put an older slot back: recommend hard mounts.
//
// Duties of the caller: run every call in a goroutine that may hang for ever. Call CheckIdentity far more
// often than once in a lease, and take no write for a proof of life after it has
// failed: writes to a directory that was deleted or replaced still succeed. Call
// Refill when there is nothing more urgent to do. Close is safe at any time: a
// call that hangs keeps the store, and its local lock, until it returns.
package store
