package libvirt

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"sync/atomic"
)

// least is the oldest libvirt that has all that the driver uses.
var least = [2]int{7, 0}

// checkedOnce returns a function that checks the versions of virsh and of what it
// talks to, until they were found good once.
func (v *virsh) checkedOnce() func(context.Context) error {
	var good atomic.Bool
	return func(ctx context.Context) error {
		if good.Load() {
			return nil
		}
		// The first call has libvirt ask QEMU what it can do.
		out, err := v.callWithin(ctx, createLimit, "version", "--daemon")
		if err == nil {
			err = checkVersions(out)
		}
		good.Store(err == nil)
		return err
	}
}

var (
	libraryVersion = regexp.MustCompile(`(?m)^Using library: libvirt (\d+)\.(\d+)`)
	daemonVersion  = regexp.MustCompile(`(?m)^Running against daemon: (\d+)\.(\d+)`)
	runningQEMU    = regexp.MustCompile(`(?m)^Running hypervisor: QEMU (\S+)`)
)

// checkVersions judges what `virsh version --daemon` prints.
func checkVersions(out string) error {
	if !runningQEMU.MatchString(out) {
		return fmt.Errorf("the hypervisor behind libvirtd is not QEMU (%s): set hypervisor.libvirt_uri to a QEMU one, such as %s, and see that QEMU is installed", oneLine(out), DefaultURI)
	}
	for what, pattern := range map[string]*regexp.Regexp{"virsh": libraryVersion, "libvirtd": daemonVersion} {
		found := pattern.FindStringSubmatch(out)
		if found == nil {
			return fmt.Errorf("%s does not tell its version: %s", what, oneLine(out))
		}
		major, _ := strconv.Atoi(found[1])
		minor, _ := strconv.Atoi(found[2])
		if major < least[0] || major == least[0] && minor < least[1] {
			return fmt.Errorf("%s is version %d.%d, and at least %d.%d is needed: upgrade libvirt", what, major, minor, least[0], least[1])
		}
	}
	return nil
}
