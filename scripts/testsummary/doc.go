// Command testsummary runs "go test" with the arguments it is given and counts
// what happened: it shows each failure with its output, repeats their reasons without
// the logs, lists what was skipped with the reasons, and ends with one line such as
//
//	812 passed, 0 failed, 3 skipped
//
// Guarantees: it fails if any test, any build or "go test" itself fails. With
// -no-skips it fails, too, if a test was skipped for want of privileges or
// packages, or without saying why. With -last=PATTERN the packages of that pattern are
// tested when all others have been.
//
// Non-guarantees: it does not decide which tests run; that is "go test"'s.
package main
