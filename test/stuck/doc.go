// Package stuck makes processes that hang in the kernel with their memory locked,
// as a program does that maps a file on storage that is gone. Whoever asks the
// kernel for the environment or the arguments of such a process hangs with it.
//
// Guarantees: the storage answers again, and every process is gone, when the test
// ends, or dies.
//
// Duties: it needs root and /dev/fuse, and skips the test without. TestMain calls
// Main before anything else: the test's own binary plays all the parts.
package stuck
