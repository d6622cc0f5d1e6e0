// Package e2e tests the whole product from outside: the real program as agents
// and guards, real files, packets and guests, on one computer.
//
// Guarantees: in every test each guest's own console is watched all the time, so
// a second copy, a lost line or a start too many fails the test whatever the
// product says. Every process is ended and every mount undone when a test ends.
//
// Non-guarantees: all "hosts" share one kernel and one clock, and local
// directories stand in for shared storage unless a test mounts a faulty one.
package e2e
