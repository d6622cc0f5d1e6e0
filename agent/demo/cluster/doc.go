// Package cluster builds a whole cluster on one computer out of the real
// program: agents with their guards on loopback addresses, directories as
// datastores, and machines whose consoles are watched from outside.
//
// Guarantees: a Console judges by what the guest itself wrote, and by nothing
// that the product says. End ends every process that was started here, whoever
// started it, and goes on after errors.
//
// Non-guarantees: all "hosts" share one kernel, one clock and one disk.
//
// Duties: the caller calls End, also after a Build or Start that failed.
package cluster
