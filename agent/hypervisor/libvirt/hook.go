package libvirt

import (
	"encoding/xml"
	"fmt"
	"io"

	"github.com/google/uuid"

	"storebeat/agent/hypervisor"
)

// maxHookInput is how much of a domain's XML a hook reads.
const maxHookInput = 4 << 20

// HookAsks tells whether libvirt's hook is asked before QEMU is started: for every start,
// restore and incoming migration.
func HookAsks(operation string) bool { return operation == "prepare" }

// HookInput reads what libvirt gives a hook: the domain that is about to start. The
// marker is that of the machine's process to be, "" if no agent has ordered it.
func HookInput(in io.Reader) (vm uuid.UUID, marker string, err error) {
	text, err := io.ReadAll(io.LimitReader(in, maxHookInput))
	if err != nil {
		return uuid.Nil, "", fmt.Errorf("read the domain from libvirt: %w", err)
	}
	var d struct {
		UUID     string `xml:"uuid"`
		Commands []struct {
			Env []struct {
				Name  string `xml:"name,attr"`
				Value string `xml:"value,attr"`
			} `xml:"env"`
		} `xml:"commandline"`
	}
	if err := xml.Unmarshal(text, &d); err != nil {
		return uuid.Nil, "", fmt.Errorf("read the domain from libvirt: %w", err)
	}
	for _, c := range d.Commands {
		for _, e := range c.Env {
			if e.Name == hypervisor.EnvMachine {
				marker = e.Value
			}
		}
	}
	vm, err = uuid.Parse(d.UUID)
	return vm, marker, err
}
