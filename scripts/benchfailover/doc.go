// Command benchfailover measures how long machines are away when something
// strikes a host: from the strike to the first output of the guest elsewhere, on a
// lab (package lab, or nfslab for a real NFS client) with real hosts, faults and QEMU
// guests. It writes what it
// measured to docs/failover.json and, as a table, into docs/performance.md.
//
// Guarantees: the end of each outage is read from the guest's own console, and
// whether a guest ever ran twice from consoles and disks, never from what the
// product says. Only the steps between come from its recorded events. A run in
// which a guest ran twice, or was started more often than it was lost, fails.
// What an earlier call measured in other cases stays in both files.
//
// Non-guarantees: all hosts share this computer's processors, so what else it does
// makes times longer. With NFS the hosts are in emulation: starting a guest there takes
// seconds, the steps before are comparable.
package main
