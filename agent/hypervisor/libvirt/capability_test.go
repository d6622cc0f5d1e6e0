package libvirt

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"storebeat/agent/hypervisor/libvirt/libvirttest"
	"storebeat/poweron"
)

// definitionOf is the definition of a domain that ticks, changed.
func definitionOf(t *testing.T, old, changed string) []byte {
	t.Helper()
	text := libvirttest.Domain("web", uuid.UUID{1}, "/ds/disk.img", "/run/web.sock")
	if !strings.Contains(text, old) {
		t.Fatalf("the domain does not have %s", old)
	}
	definition, err := json.Marshal(Definition{XML: strings.Replace(text, old, changed, 1)})
	if err != nil {
		t.Fatal(err)
	}
	return definition
}

func TestNeeds(t *testing.T) {
	tcg := poweron.Need{Kind: poweron.Accelerator, Name: "tcg"}
	machine := poweron.Need{Kind: poweron.MachineType, Name: "pc-i440fx-7.2"}
	for name, tt := range map[string]struct {
		old, changed string
		want         []poweron.Need
	}{
		"as it is": {"", "", []poweron.Need{tcg, machine}},
		"bridge, network and others": {"<devices>", `<devices>
			<interface type='bridge'><source bridge='br0'/></interface><interface type='network'><source network='default'/></interface>
			<interface type='bridge'><source bridge='ovs0'/><virtualport type='openvswitch'/></interface>
			<interface type='user'/><interface type='direct'><source dev='eth0' mode='bridge'/></interface>`,
			[]poweron.Need{tcg, machine, {Kind: poweron.Bridge, Name: "br0"}, {Kind: poweron.VirtualNetwork, Name: "default"}}},
		"model that is compared":          {"<devices>", "<cpu mode='custom' match='exact' check='partial'><model fallback='forbid'>EPYC</model></cpu><devices>", []poweron.Need{tcg, machine, {Kind: "CPU model under tcg", Name: "EPYC"}}},
		"model that is not compared":      {"<devices>", "<cpu mode='custom' match='exact' check='none'><model>EPYC</model></cpu><devices>", []poweron.Need{tcg, machine}},
		"model that TCG does not compare": {"<devices>", "<cpu mode='custom' match='exact'><model>EPYC</model></cpu><devices>", []poweron.Need{tcg, machine}},
		"the host's own":                  {"<devices>", "<cpu mode='host-model' check='partial'/><devices>", []poweron.Need{tcg, machine}},
		"another architecture": {"arch='x86_64' machine='pc-i440fx-7.2'", "arch='aarch64' machine='virt-7.2'",
			[]poweron.Need{{Kind: "accelerator for aarch64", Name: "tcg"}, {Kind: "machine type for aarch64", Name: "virt-7.2"}}},
	} {
		if got := New("").Needs(definitionOf(t, tt.old, tt.changed)); got.Driver != "libvirt" || !slices.Equal(got.Of, tt.want) {
			t.Errorf("%s: needs %v, want %v", name, got, tt.want)
		}
	}
	kvm := New("").Needs(definitionOf(t, "<domain type='qemu'>", "<domain type='kvm'><cpu mode='custom'><model>EPYC</model></cpu>"))
	if want := []poweron.Need{{Kind: poweron.Accelerator, Name: "kvm"}, machine, {Kind: "CPU model under kvm", Name: "EPYC"}}; !slices.Equal(kvm.Of, want) {
		t.Errorf("under KVM: needs %v, want %v", kvm.Of, want)
	}
	for _, bad := range []string{``, `{}`, `{"xml": "<domain"}`} {
		if got := New("").Needs([]byte(bad)); got.Driver != "libvirt" || got.Of != nil {
			t.Errorf("%q needs %v", bad, got)
		}
	}
}

// A domain's watchdog is seen, the chipset's included, unless nothing follows from it.
func TestNeedsOfWatchdogs(t *testing.T) {
	const machine, q35 = "machine='pc-i440fx-7.2'", "machine='pc-q35-7.2'"
	for name, tt := range map[string]struct {
		old, changed string
		want         bool
	}{
		"none":                     {"", "", false},
		"device":                   {"<devices>", "<devices><watchdog model='i6300esb' action='reset'/>", true},
		"device with its default":  {"<devices>", "<devices><watchdog model='ib700'/>", true},
		"chipset":                  {"<devices>", "<devices><watchdog model='itco' action='reset'/>", true},
		"chipset without action":   {"<devices>", "<devices><watchdog model='itco' action='none'/>", false},
		"chipset, and its action":  {"<devices>", "<devices><watchdog model='itco' action='poweroff'/><watchdog model='i6300esb' action='poweroff'/>", true},
		"q35 where it is off":      {machine, q35, false},
		"q35 where it is on":       {machine, "machine='pc-q35-8.2'", true},
		"another chipset, as new":  {machine, "machine='pc-i440fx-8.2'", false},
		"another architecture too": {"arch='x86_64' " + machine, "arch='aarch64' machine='virt-8.2'", false},
	} {
		if got := New("").Needs(definitionOf(t, tt.old, tt.changed)).Watchdog; got != tt.want {
			t.Errorf("%s: watchdog %v", name, got)
		}
	}
}

// What libvirtd says that it has is what it can start domains with, and its trouble is told.
func TestCapabilities(t *testing.T) {
	t.Parallel()
	host := libvirttest.New(t)
	d := New(host.URI)
	got := d.Capabilities(t.Context())
	if got.Problem != "" || !strings.HasPrefix(got.Version, "libvirt ") || !strings.Contains(got.Version, "QEMU ") {
		t.Fatalf("%q, problem %q", got.Version, got.Problem)
	}
	for kind, name := range map[poweron.Kind]string{poweron.MachineType: "pc-i440fx-7.2", poweron.Accelerator: "tcg"} {
		if !slices.Contains(got.Has[kind], name) {
			t.Errorf("no %s %s among %q", kind, name, got.Has[kind])
		}
	}
	if !slices.Contains(got.Has[poweron.MachineType], "pc") {
		t.Error("no alias among the machine types")
	}
	if got.Has[poweron.CPUModel.Under("tcg")] == nil && got.Has[poweron.CPUModel.Under("kvm")] == nil {
		t.Errorf("no models of processor in %v", got.Has)
	}
	if networks, known := got.Has[poweron.VirtualNetwork]; !known || len(networks) > 0 {
		t.Errorf("virtual networks %q, known: %v", networks, known)
	}
	isolated(t, host)
	if got := d.Capabilities(t.Context()); !slices.Equal(got.Has[poweron.VirtualNetwork], []string{"sb-inner"}) {
		t.Errorf("virtual networks %q", got.Has[poweron.VirtualNetwork])
	}
	host.Kill(t)
	if got := d.Capabilities(t.Context()); !strings.Contains(got.Problem, errAbsent.Error()) {
		t.Errorf("without libvirtd: problem %q", got.Problem)
	}
	host.Start(t)
	if got := d.Capabilities(t.Context()); got.Problem != "" {
		t.Errorf("problem %q though libvirtd is back", got.Problem)
	}
}

// isolated gives the host a virtual network that needs nothing of the network around it.
func isolated(t *testing.T, host *libvirttest.Host) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "network.xml")
	if err := os.WriteFile(file, []byte("<network><name>sb-inner</name><forward mode='bridge'/><bridge name='br-none'/></network>"), 0o600); err != nil {
		t.Fatal(err)
	}
	host.Virsh(t, "net-create", file)
	t.Cleanup(func() { _, _ = host.Try("net-destroy", "sb-inner") })
}
