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

// The operations at which libvirt's hook asks the agent, in the order in which they come.
const (
	// HookMigrate comes before an incoming migration. What the hook prints is made of the domain.
	HookMigrate = "migrate"
	// HookRestore comes before a guest is restored from a file, which is no migration.
	HookRestore = "restore"
	// HookPrepare comes before QEMU is started: for every start, restore and incoming migration.
	HookPrepare = "prepare"
	// HookStarted comes when QEMU's process is there and nothing of the guest has executed in it.
	// No memory of a guest that is moved here has been sent yet.
	HookStarted = "started"
)

// Offer is a domain as libvirt gives it to its hook.
type Offer struct {
	VM     uuid.UUID
	Name   string
	Marker string // of the machine's process to be, "" if no agent has ordered it
	XML    string
}

// ReadOffer reads what libvirt gives a hook.
func ReadOffer(in io.Reader) (Offer, error) {
	text, err := io.ReadAll(io.LimitReader(in, maxHookInput))
	if err != nil {
		return Offer{}, fmt.Errorf("read the domain from libvirt: %w", err)
	}
	var d struct {
		Name     string `xml:"name"`
		UUID     string `xml:"uuid"`
		Commands []struct {
			Env []struct {
				Name  string `xml:"name,attr"`
				Value string `xml:"value,attr"`
			} `xml:"env"`
		} `xml:"commandline"`
	}
	if err := xml.Unmarshal(text, &d); err != nil {
		return Offer{}, fmt.Errorf("read the domain from libvirt: %w", err)
	}
	o := Offer{Name: d.Name, XML: string(text)}
	for _, c := range d.Commands {
		for _, e := range c.Env {
			if e.Name == hypervisor.EnvMachine {
				o.Marker = e.Value
			}
		}
	}
	if o.VM, err = uuid.Parse(d.UUID); err != nil {
		return Offer{}, fmt.Errorf("read the domain from libvirt: UUID %.60q: %w", d.UUID, err)
	}
	return o, nil
}

// Received is the XML of a machine as it is to be made here: without what names the host and the
// right that it ran under where it comes from, and with its disks past the host's page cache.
func (o Offer) Received() string { return uncached(unmarked(o.XML)) }

// PID finds QEMU's process of the domain. It must be called where libvirtd's own files are seen.
func (o Offer) PID() (int, error) { return processOf(o.VM, o.Name) }
