// Package clock is where the agent learns the time and who it is: readings of
// CLOCK_BOOTTIME, the machine-id, the boot-id and a fresh incarnation.
//
// Guarantees: Now never goes backwards within one boot, goes on counting while
// the host is suspended, and is not touched by whoever sets the wall clock
// (docs/safety.md, R13). Two calls of NewIncarnation give different numbers.
//
// Non-guarantees: instants of two hosts, or of two boots, mean nothing to each
// other. A machine-id that was copied along with a disk image is the same on
// both hosts; that is recognised where slots are read, not here.
package clock
