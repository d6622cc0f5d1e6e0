// Package faultfs mounts a directory a second time, through FUSE, so that its
// storage can be made to hang, to fail or to be slow for whoever uses that mount.
// One mount for each host over one directory is a shared datastore whose path can
// be lost host by host.
//
// Guarantees: nothing is cached, so what one mount writes the others read next. A
// request that hangs ignores signals, as on a hard mount; it goes on when the
// mount is healed. Close ends everything, hung requests included.
//
// Non-guarantees: O_DIRECT is taken and not passed on to the directory.
//
// Duties: it needs root and /dev/fuse; Available tells. Whoever made a mount
// closes it.
package faultfs
