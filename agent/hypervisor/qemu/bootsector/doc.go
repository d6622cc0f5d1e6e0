// Package bootsector holds the smallest guest there is: one 512-byte boot
// sector that prints BOOT and then a growing count on the serial port, about
// nine times a second. The demo and the tests run it under the qemu driver.
//
// Guarantees: the count begins at 1 after each BOOT and has no gaps, so the
// serial log is an oracle: a second BOOT is a second start, a count that goes on
// after a pause is a thaw. On a disk made by WriteDisk the count is also written
// to the disk, where Count reads it, and beside it how often the guest was
// started; each count leaves a mark of its own, so that a late write of an earlier
// run can be told.
//
// Bytes sent to the serial port are commands: p panics, q switches off, r
// resets, h halts for good, w arms the watchdogs that it has (ib700, i6300esb,
// that of q35's chipset) and never feeds them.
package bootsector
