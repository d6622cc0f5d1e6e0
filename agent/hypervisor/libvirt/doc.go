// Package libvirt is the hypervisor driver for guests of libvirt's QEMU driver.
// It speaks to libvirtd through virsh.
//
// A definition is JSON that holds the domain's XML, in which "{{datastore}}/"
// stands for the path of the home datastore:
//
//	{"xml": "<domain type='kvm'> … </domain>", "transient": false, "autostart": true}
//
// Guarantees: those of package hypervisor. Start removes a saved state that the
// domain has on this host (it belongs to a past generation), defines the domain,
// switches its autostart off, and creates it paused: its virtual processors are
// halted until QEMU's process has been stopped, recorded, and let go by the
// guard. The process carries the machine's marker, by an environment variable
// that the running domain's XML has and the persistent one does not. A domain
// that runs here already under the machine's UUID is taken over as it is, so
// that a guest can be protected while it runs.
//
// Disks go past the host's page cache, whatever the definition says: a start and a
// migration get cache='none', and a guest that is taken over has its disks opened anew.
//
// Freezing, finding, adopting and killing ask no daemon: they go by QEMU's
// process. libvirtd may be dead, stopped or hang meanwhile. A cgroup that libvirt
// made for the domain alone is used for freezing; a process that shares its
// cgroup is moved to one of the agent's.
//
// Every call of virsh has a deadline, at which its process group is killed, and
// only a few run at a time. Domains' states are read in bulk, without waiting
// for a domain's job; `virsh event` says when to look.
//
// A migration by libvirt's own tools asks the hook at its destination three times: at
// "migrate", whose answer is the domain's XML without the source's marker, at "prepare" and at "started",
// where QEMU waits for the guest's memory and none was sent. Meanwhile libvirtd answers
// nothing about any domain, so Receive goes by QEMU's process alone. That the guest
// has come, or left, is read in the domain's states.
//
// Non-guarantees: a daemon that hangs in the middle of a start may give birth
// after Start has failed. The newborn is halted, and Find reports it. What
// libvirt's own tools do to a domain is noticed when it is done: a guest that is
// started by hand on another host is kept from it by the image lock alone.
package libvirt
