package hypervisor

import "testing"

func TestHasChipsetWatchdog(t *testing.T) {
	for machine, want := range map[string]bool{
		"q35": true, "pc-q35-8.0": true, "pc-q35-10.1": true, "pc-q35-9.2+pve1": true, "pc-q35-rhel9.4.0": true, "pc-q35-noble": true,
		"pc-q35-7.2": false, "pc-q35-2.12": false, "pc": false, "pc-i440fx-8.0": false, "": false,
	} {
		if got := HasChipsetWatchdog(machine); got != want {
			t.Errorf("%q: %v", machine, got)
		}
	}
}
