// Package agent is the shell around the core on one host: it reads clocks,
// datastores and sockets, carries out the effects that package core returns, and
// brings their results back as observations.
//
// Guarantees: nothing is decided here. The loop that owns the core never waits
// for a datastore, a socket, a machine or the guard; each of them has goroutines
// of its own that may hang for ever.
//
// Duties of callers: Run is called once per process, and the process ends when
// it returns.
package agent
