// Package program builds the program under test for tests that run it as a user would.
//
// Guarantees: Main builds it once for all tests of a package, from the sources as they
// stand, and removes it afterwards.
//
// Duties: a package's TestMain calls Main; its tests use Path.
package program
