// Package datastorehb holds what Storebeat knows about a datastore: its
// identity, the heartbeat region and its format, registers and claims, the
// lease, the takeover interval, ranking and selection.
//
// Guarantees: everything in this package is pure. Nothing reads a clock, a
// random source, a file or a socket; equal inputs give equal outputs. Decoders
// accept any bytes without panicking and never take damaged or foreign bytes
// for valid ones.
//
// Non-guarantees: the package does no I/O. Package store does, and it is the
// duty of its callers to run it in a worker that may hang for ever.
package datastorehb
