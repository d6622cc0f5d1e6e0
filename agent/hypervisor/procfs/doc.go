// Package procfs reads what the kernel says about processes in /proc.
//
// Guarantees: nothing here blocks on a datastore, a signal or a process's own
// will; a process that ends meanwhile is reported as ErrGone. The kernel answers
// most questions in any case. For a process's memory, and with it the environment,
// it waits until storage answers if the process is inside mmap, or another call
// that changes its memory, on storage that hangs: that is reported as ErrHangs.
// Process ids are reused, so a process is named by its id and start time together.
//
// Non-guarantees: a listing is not a snapshot. A process that forks while it is
// read may be missed once; a stopped or frozen one can't do that.
package procfs
