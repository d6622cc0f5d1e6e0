// Package qemu is the hypervisor driver for QEMU guests that the agent starts
// itself and controls over QMP.
//
// A definition is JSON; everything but memory_mib has a default:
//
//	{
//	  "memory_mib": 512,
//	  "cpus":       1,
//	  "machine":    "pc",
//	  "accel":      "auto",
//	  "disks":      [{"path": "web/disk.qcow2", "format": "qcow2", "interface": "virtio"}],
//	  "serial_log": "web/console.log",
//	  "args":       ["-nic", "tap,ifname=tap0,script=no,downscript=no"]
//	}
//
// Paths count from the home datastore, or from the one that a disk names, and may not
// leave it. The machine type is pinned when the machine is protected, so that every host
// shows the guest the same hardware. Further arguments are taken apart, and refused
// if they would break what is guaranteed below. Without
// serial_log the console goes to the run directory and is gone with the
// machine. A console log on the datastore is written without a lock, from
// QEMU's main thread: it is for diagnosis and the demo.
//
// Guarantees: those of package hypervisor. Disks are opened with
// cache=none, aio=threads and the image lock on; a failing request stops the guest
// (condition "io-error") and never tells it lies; it is tried again every few
// seconds, so that the guest goes on once its storage is back. If its disks can be
// read all the time and its requests fail for half a minute on end, its hold on
// them is lost, and the machine is ended as crashed. A machine is born with its
// virtual processors halted (-S) and its process stopped; the order to let the
// guest run waits in the socket until the process is let go. Had the agent died
// before that order, the next one that adopts the machine gives it.
//
// A guest that switches itself off leaves QEMU in place until the agent has seen
// it (-action shutdown=pause), so that a shutdown is told from a crash even if
// the agent was not there at the time. A guest that panics, or does not feed a watchdog
// whose action is "crash", is a crash; a QEMU that a user ends in its monitor is
// destroyed.
//
// A guest that somebody else has started is read through its monitor (Read), and taken over
// by the next start of its machine while it runs (Offer). The definition then is its
// command line, less what the driver gives itself ("bare"). It is made to stay when it is
// over, and its disks are opened anew without the host's page cache; what can't be changed
// while it runs (how failing requests are met) is as it should be from its next start.
//
// Non-guarantees: QEMU may hang in "quit" after a shutdown while storage hangs;
// the machine then has not ended, and killing it is the agent's decision (R12).
// A guest that reboots itself goes on; that is not an end.
package qemu
