// Package packaging tests the Debian package: that one source makes one file,
// and that the package installs, runs, upgrades and goes on a Debian system.
//
// The system is real: systemd as the first process of its own namespaces, on a
// copy-on-write view of this computer's file system, which it can't change.
package packaging
