// Package faults tests the running program under real faults: of power, network,
// storage and processes, on the hosts of a lab.
//
// Guarantees: in every test the lab's watch reads what each guest writes to its
// console and disk, all the time, so a second copy or a late write fails the test
// whatever the product says. No test waits for a time to pass where there is a
// condition to wait for.
//
// Non-guarantees: those of package lab: one kernel, one wall clock, no client
// caches.
package faults
