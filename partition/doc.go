// Package partition decides what has happened to a host: it turns network
// heartbeats, pings, heartbeat slots and power-on lists into one host state
// with the evidence behind it, elects the master of each network partition, and
// tells a host when it is isolated. It also owns the form of the network
// heartbeat.
//
// Guarantees: pure. No clock, random source, socket, file or goroutine.
//
// Non-guarantees: a state is what the master wants to act on and what operators
// see. The right to act is never decided here but by terms and generations on
// the machine's own home datastore (docs/safety.md, R7 and R8).
//
// Duties of the caller: hand in instants that never go back; call Peers.Step (or
// Suspend) and Pings.Suspend before anything else after a late step; record each packet
// with Peers.Sent before its echo can arrive; believe a packet's content, and count its
// acks, only when Peers.Heard calls it fresh; elect among hosts heard on two-way paths.
package partition
