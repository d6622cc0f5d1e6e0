package hypervisor

import (
	"fmt"
	"strings"
)

// HasChipsetWatchdog tells whether guests of one of QEMU's machine types can be reset by the
// watchdog of their chipset (TCO) without having been given one. All of q35 have it; since
// version 8.0 of the type it is switched on. It is assumed of an alias, which is another version
// on each host, and of a distributor's own versions: to halt a guest without a watchdog is harmless.
func HasChipsetWatchdog(machine string) bool {
	version, isQ35 := strings.CutPrefix(strings.TrimPrefix(machine, "pc-"), "q35")
	var major int
	if _, err := fmt.Sscanf(version, "-%d.", &major); err == nil && major < 8 {
		return false
	}
	return isQ35
}
