package hypervisor

import (
	"fmt"
	"net"
	"slices"

	"golang.org/x/sys/unix"
)

// Bridges returns the names of the bridges of the network in which the caller is, sorted.
func Bridges() ([]string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list network interfaces: %w", err)
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("ask for network interfaces: %w", err)
	}
	defer unix.Close(socket)
	bridges := []string{}
	for i := range all {
		// One that is gone by now, or has no driver, is no bridge.
		if info, err := unix.IoctlGetEthtoolDrvinfo(socket, all[i].Name); err == nil && unix.ByteSliceToString(info.Driver[:]) == "bridge" {
			bridges = append(bridges, all[i].Name)
		}
	}
	slices.Sort(bridges)
	return bridges, nil
}
