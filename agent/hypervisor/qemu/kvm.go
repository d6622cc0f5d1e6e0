package qemu

import (
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// kvmCreateVM is the KVM_CREATE_VM request of the kernel's interface.
const kvmCreateVM = 0xAE01

// usableKVM tells whether guests run faster under KVM than under emulation. It
// makes an empty virtual machine and drops it again: that the device can be
// opened says little inside containers. And it wants to see the processor's own
// support: a KVM without it, as some clouds offer inside their machines, runs
// boot code ten times slower than emulation does.
func usableKVM() bool {
	if !hardwareVirtualization("/proc/cpuinfo") {
		return false
	}
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

// hardwareVirtualization looks for Intel's or AMD's flag of the processor.
func hardwareVirtualization(cpuinfo string) bool {
	text, err := os.ReadFile(cpuinfo)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		name, flags, _ := strings.Cut(line, ":")
		if strings.TrimSpace(name) != "flags" {
			continue
		}
		fields := strings.Fields(flags)
		return slices.Contains(fields, "vmx") || slices.Contains(fields, "svm")
	}
	return false
}
