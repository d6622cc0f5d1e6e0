package libvirt

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"storebeat/agent/hypervisor"
)

// The variables of a domain's firmware are its own like a disk where they lie on the datastore, and
// are warned of where they do not.
func TestFirmwareVariables(t *testing.T) {
	for nvram, own := range map[string]bool{
		"":                                     false,
		"<nvram>/mnt/nfs1/web/vars.fd</nvram>": true,
		"<nvram>\n/mnt/nfs1/web/vars.fd </nvram>":                                               true,
		"<nvram template='/t' type='file'>\n  <source file='/mnt/nfs1/web/vars.fd'/>\n</nvram>": true,
		"<nvram>/var/lib/vars.fd</nvram>":                                                       false,
		"<nvram type='file'><source file='/var/lib/vars.fd'/></nvram>":                          false,
		"<nvram template='/usr/share/OVMF/OVMF_VARS_4M.fd'/>":                                   false,
	} {
		text := strings.Replace(good(), "</os>", nvram+"</os>", 1)
		dom, err := parseDomain(text)
		if err != nil {
			t.Fatal(err)
		}
		definition, err := json.Marshal(Definition{XML: portable(text, at(datastore))})
		if err != nil {
			t.Fatal(err)
		}
		disks, err := New("").Disks(hypervisor.Spec{Definition: definition, DatastorePath: datastore})
		if err != nil || slices.Contains(disks, "/mnt/nfs1/web/vars.fd") != own {
			t.Errorf("%s: its disks are %q, %v", nvram, disks, err)
		}
		warned := strings.Contains(strings.Join(dom.warnings(at(datastore)), "; "), "its firmware variables (/var/lib/vars.fd) lie on this host alone")
		if warned != strings.Contains(nvram, "/var/lib") {
			t.Errorf("%s: warnings %q", nvram, dom.warnings(at(datastore)))
		}
	}
}
