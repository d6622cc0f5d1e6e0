// Package network carries network heartbeats over UDP and asks addresses for an
// ICMP echo. It moves bytes: what they mean, and whether they are genuine, is
// for package partition to say.
//
// Guarantees: Send never blocks, whatever the network does. A packet larger
// than partition.MaxPacket is neither sent nor delivered. The time of receipt is
// read right after the packet, before anything else is done with it. An own
// address that is not there (yet, or any more) keeps no agent from starting.
//
// Non-guarantees: UDP loses, repeats and reorders, and anybody can forge a
// sender's address.
//
// Duties: the caller authenticates each packet before believing any of it, and
// gives Run a deliver function that returns quickly.
package network
