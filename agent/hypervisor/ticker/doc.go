// Package ticker is the smallest machine there is: a program that writes BOOT
// and then a growing count to a file, ten times a second. The demo and the
// tests run it under the process driver.
//
// Guarantees: every line is one append; the count begins at 1 after each BOOT
// and has no gaps, so the file is an oracle. A second BOOT is a second start, a
// count that goes on after a pause is a thaw, the same count twice after one
// BOOT is two copies running at once. A line's time is the wall clock's, for
// people. SIGTERM writes DOWN and ends with status 0.
//
// Non-guarantees: lines are not forced to the medium.
package ticker
