package qemu

import (
	"os"

	"golang.org/x/sys/unix"
)

// kvmCreateVM is the KVM_CREATE_VM request of the kernel's interface.
const kvmCreateVM = 0xAE01

// usableKVM makes an empty virtual machine and drops it again: that the device
// can be opened says little inside containers and other virtual machines.
func usableKVM() bool {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	fd, err := unix.IoctlRetInt(int(f.Fd()), kvmCreateVM)
	if err != nil {
		return false
	}
	_ = unix.Close(fd)
	return true
}
