// Package faultfs mounts a directory a second time, through FUSE, so that its
// storage can be made to hang, to fail, to be slow or to lie for whoever uses that
// mount. One mount for each host over one directory is a shared datastore whose
// path can be lost host by host.
//
// Guarantees: nothing is cached, so what one mount writes the others read next. A
// request that hangs ignores signals, as on a hard mount; it goes on when the
// mount is healed. Locks are exclusive across all mounts of a directory, and those
// of a mount that is closed are given up. Close ends everything, hung requests
// included, and carries none of these out.
//
// Non-guarantees: O_DIRECT is taken and not passed on to the directory.
//
// Duties: it needs root and /dev/fuse; Available tells. Whoever made a mount
// closes it. A program that serves mounts never uses one itself while it may
// hang: it could not be ended any more.
package faultfs
