package libvirt

import (
	"context"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"storebeat/agent/hypervisor"
	"storebeat/poweron"
)

// needing is what tells, in a domain's XML, what its host must have.
type needing struct {
	Type string `xml:"type,attr"`
	OS   struct {
		Type struct {
			Arch    string `xml:"arch,attr"`
			Machine string `xml:"machine,attr"`
		} `xml:"type"`
	} `xml:"os"`
	CPU struct {
		Mode  string `xml:"mode,attr"`
		Check string `xml:"check,attr"`
		Model string `xml:"model"`
	} `xml:"cpu"`
	Interfaces []struct {
		Type   string `xml:"type,attr"`
		Source struct {
			Bridge  string `xml:"bridge,attr"`
			Network string `xml:"network,attr"`
		} `xml:"source"`
		Port *struct{} `xml:"virtualport"` // of another kind of switch than the kernel's bridge
	} `xml:"devices>interface"`
	Watchdogs []struct {
		Action string `xml:"action,attr"`
	} `xml:"devices>watchdog"`
}

// Needs reads what a domain needs of its host.
func (*Driver) Needs(definition []byte) poweron.Needs {
	n := poweron.Needs{Driver: name}
	var d Definition
	var dom needing
	if hypervisor.DecodeDefinition(definition, &d) != nil || xml.Unmarshal([]byte(d.XML), &dom) != nil {
		return n // A start tells what is wrong with it.
	}
	need := func(kind poweron.Kind, what string) {
		if what = strings.TrimSpace(what); what != "" {
			n.Of = append(n.Of, poweron.Need{Kind: kind, Name: what})
		}
	}
	arch, accelerator := dom.OS.Type.Arch, accelerators[dom.Type]
	need(on(poweron.Accelerator, arch), accelerator)
	need(on(poweron.MachineType, arch), dom.OS.Type.Machine)
	// What libvirt does not compare with the host's processor starts anywhere.
	compared := dom.CPU.Check == "partial" || dom.CPU.Check == "full" || dom.CPU.Check == "" && dom.Type == "kvm"
	if compared && (dom.CPU.Mode == "custom" || dom.CPU.Mode == "") {
		need(on(poweron.CPUModel, arch).Under(accelerator), dom.CPU.Model)
	}
	// A libvirt that does not know the chipset's watchdog leaves it as QEMU has it.
	n.Watchdog = len(dom.Watchdogs) == 0 && hypervisor.HasChipsetWatchdog(dom.OS.Type.Machine)
	for _, datastore := range namedPlaces(d.XML) {
		need(poweron.Datastore, datastore)
	}
	for _, w := range dom.Watchdogs {
		n.Watchdog = n.Watchdog || w.Action != "none"
	}
	for _, i := range dom.Interfaces {
		if i.Type == "bridge" && i.Port == nil {
			need(poweron.Bridge, i.Source.Bridge)
		}
		if i.Type == "network" {
			need(poweron.VirtualNetwork, i.Source.Network)
		}
	}
	return n
}

// accelerators are QEMU's, by libvirt's types of domains.
var accelerators = map[string]string{"kvm": "kvm", "qemu": "tcg"}

// on is a kind as it is called for an architecture: the usual one goes without saying.
func on(kind poweron.Kind, arch string) poweron.Kind {
	if arch == "" || arch == "x86_64" {
		return kind
	}
	return kind.For(arch)
}

// learned is what libvirt has said of its QEMU, and when.
type learned struct {
	mu      sync.Mutex
	version string
	at      time.Time
	has     map[poweron.Kind][]string
}

// learnAgain is how long what libvirt said of its QEMU is believed.
const learnAgain = 5 * time.Minute

// Capabilities asks libvirtd whether it works and what it has.
func (d *Driver) Capabilities(ctx context.Context) poweron.DriverState {
	d.learned.mu.Lock()
	defer d.learned.mu.Unlock()
	state := poweron.DriverState{Name: name}
	version, err := d.virsh.callWithin(ctx, createLimit, "version", "--daemon")
	if err == nil {
		err = checkVersions(version)
	}
	if err != nil {
		state.Problem = err.Error()
		return state
	}
	if state.Version = versionWords(version); version != d.learned.version || time.Since(d.learned.at) > learnAgain {
		d.learned.has, d.learned.version, d.learned.at = d.learn(ctx), version, time.Now()
	}
	state.Has = d.learned.has
	if networks, err := d.virsh.call(ctx, "net-list", "--name"); err == nil {
		state.Has = map[poweron.Kind][]string{poweron.VirtualNetwork: append([]string{}, strings.Fields(networks)...)}
		for kind, names := range d.learned.has {
			state.Has[kind] = names
		}
		slices.Sort(state.Has[poweron.VirtualNetwork])
	}
	return state
}

// versionWords shortens what virsh version prints.
func versionWords(said string) string {
	daemon := daemonVersion.FindStringSubmatch(said)
	running := runningQEMU.FindStringSubmatch(said)
	if daemon == nil || running == nil {
		return ""
	}
	return fmt.Sprintf("libvirt %s.%s, QEMU %s", daemon[1], daemon[2], running[1])
}

// learn asks for what does not change while QEMU stays the same. What is not
// answered stays unknown.
func (d *Driver) learn(ctx context.Context) map[poweron.Kind][]string {
	has := map[poweron.Kind][]string{}
	if out, err := d.virsh.callWithin(ctx, createLimit, "capabilities"); err == nil {
		takeCapabilities(out, has)
	}
	if out, err := d.virsh.callWithin(ctx, createLimit, "domcapabilities"); err == nil {
		takeModels(out, has)
	}
	return has
}

// takeCapabilities reads machine types and accelerators by architecture.
func takeCapabilities(text string, has map[poweron.Kind][]string) {
	type machine struct {
		Canonical string `xml:"canonical,attr"`
		Name      string `xml:",chardata"`
	}
	var c struct {
		Guests []struct {
			OS   string `xml:"os_type"`
			Arch struct {
				Name     string    `xml:"name,attr"`
				Machines []machine `xml:"machine"`
				Domains  []struct {
					Type     string    `xml:"type,attr"`
					Machines []machine `xml:"machine"`
				} `xml:"domain"`
			} `xml:"arch"`
		} `xml:"guest"`
	}
	if xml.Unmarshal([]byte(text), &c) != nil {
		return
	}
	add := func(kind poweron.Kind, names ...string) {
		for _, n := range names {
			if n = strings.TrimSpace(n); n != "" && !slices.Contains(has[kind], n) {
				has[kind] = append(has[kind], n)
			}
		}
		slices.Sort(has[kind])
	}
	for _, g := range c.Guests {
		for _, m := range g.Arch.Machines {
			add(on(poweron.MachineType, g.Arch.Name), m.Name, m.Canonical)
		}
		for _, dom := range g.Arch.Domains {
			add(on(poweron.Accelerator, g.Arch.Name), accelerators[dom.Type])
			for _, m := range dom.Machines {
				add(on(poweron.MachineType, g.Arch.Name), m.Name, m.Canonical)
			}
		}
	}
}

// takeModels reads which models of processor libvirt calls usable here.
func takeModels(text string, has map[poweron.Kind][]string) {
	var c struct {
		Domain string `xml:"domain"`
		Arch   string `xml:"arch"`
		Modes  []struct {
			Name   string `xml:"name,attr"`
			Models []struct {
				Usable string `xml:"usable,attr"`
				Name   string `xml:",chardata"`
			} `xml:"model"`
		} `xml:"cpu>mode"`
	}
	if xml.Unmarshal([]byte(text), &c) != nil {
		return
	}
	for _, mode := range c.Modes {
		if mode.Name != "custom" || accelerators[c.Domain] == "" {
			continue
		}
		usable := []string{}
		for _, m := range mode.Models {
			if m.Usable != "no" {
				usable = append(usable, strings.TrimSpace(m.Name))
			}
		}
		slices.Sort(usable)
		has[on(poweron.CPUModel, c.Arch).Under(accelerators[c.Domain])] = usable
	}
}
