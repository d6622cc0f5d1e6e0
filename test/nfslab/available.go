package nfslab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

var programs = []string{"ip", "ganesha.nfsd", "lz4", "mke2fs", "ldd", "go", qemu, "/bin/busybox"}

// Available returns why this computer can have no lab of this kind, or nil.
func Available() error {
	if os.Geteuid() != 0 {
		return errors.New("a lab with NFS needs root")
	}
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("a lab with NFS needs amd64, and this is %s", runtime.GOARCH)
	}
	for _, p := range append(tools, programs...) {
		if _, err := exec.LookPath(p); err != nil {
			return fmt.Errorf("a lab with NFS needs %s: run scripts/install-dependencies: %w", p, err)
		}
	}
	if err := unix.Access("/dev/net/tun", unix.R_OK|unix.W_OK); err != nil {
		return fmt.Errorf("a lab with NFS needs /dev/net/tun: %w", err)
	}
	_, err := findKernel()
	return err
}
