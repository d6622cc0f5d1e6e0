package qemu

import (
	"context"
	"slices"
	"strings"
	"testing"

	"storebeat/poweron"
)

func TestNeeds(t *testing.T) {
	for definition, want := range map[string][]poweron.Need{
		`{"memory_mib": 1}`: {{Kind: poweron.MachineType, Name: DefaultMachine}},
		`{"memory_mib": 1, "machine": "q35", "accel": "kvm"}`: {{Kind: poweron.MachineType, Name: "q35"}, {Kind: poweron.Accelerator, Name: "kvm"}},
		`{"memory_mib": 1, "machine": "q35", "args": ["-cpu", "EPYC,+x2apic", "-nic", "bridge,model=e1000,br=br7", "-netdev", "bridge,id=n", "-nic", "user"]}`: {
			{Kind: poweron.MachineType, Name: "q35"}, {Kind: poweron.CPUModel, Name: "EPYC"}, {Kind: poweron.Bridge, Name: "br7"}, {Kind: poweron.Bridge, Name: "br0"}},
		`{"memory_mib": 1, "machine": "q35", "accel": "tcg", "args": ["-cpu", "max"]}`: {
			{Kind: poweron.MachineType, Name: "q35"}, {Kind: poweron.Accelerator, Name: "tcg"}, {Kind: poweron.CPUModel.Under("tcg"), Name: "max"}},
		`{"memory_mib": 1, "machine": "q35", "cpu": "EPYC,+x2apic", "nics": [{"bridge": "br7"}, {"tap": "tap0"}]}`: {
			{Kind: poweron.MachineType, Name: "q35"}, {Kind: poweron.CPUModel, Name: "EPYC"}, {Kind: poweron.Bridge, Name: "br7"}},
		`{"memory_mib": 1, "machine": "q35", "cpu": "host", "disks": [{"path": "a"}, {"path": "b", "datastore": "fast"}]}`: {
			{Kind: poweron.MachineType, Name: "q35"}, {Kind: poweron.Datastore, Name: "fast"}},
		`{"memory_mib": "much"}`: nil,
		`nonsense`:               nil,
	} {
		if got := New("").Needs([]byte(definition)); got.Driver != "qemu" || !slices.Equal(got.Of, want) {
			t.Errorf("%s needs %v, want %v", definition, got, want)
		}
	}
}

// A guest's watchdog is seen however it is given, and the chipset's only where it can reset.
func TestNeedsOfWatchdogs(t *testing.T) {
	for settings, want := range map[string]bool{
		`"watchdog": {}`: true,
		`"watchdog": {"model": "itco"}, "machine": "pc-q35-7.2"`:                                        true,
		`"args": ["-watchdog", "i6300esb"]`:                                                             true,
		`"args": ["-device", "ib700"]`:                                                                  true,
		`"args": ["-device", "driver=i6300esb,id=w"]`:                                                   true,
		`"args": ["-device", "{\"driver\": \"i6300esb\"}"]`:                                             true,
		`"args": ["-device", "ib700x"]`:                                                                 false,
		`"machine": "pc-q35-7.2"`:                                                                       false,
		`"machine": "pc-q35-8.0"`:                                                                       true,
		`"machine": "pc-q35-7.2", "args": ["-global", "ICH9-LPC.noreboot=off"]`:                         true,
		`"machine": "pc-q35-7.2", "args": ["-global", "driver=ICH9-LPC,property=noreboot,value=false"]`: true,
		`"machine": "pc-q35-7.2", "args": ["-global", "ICH9-LPC.noreboot=off", "-global", "ICH9-LPC.noreboot=on"]`: false,
		`"machine": "pc-q35-9.0", "args": ["-global", "ICH9-LPC.noreboot=true"]`:                                   false,
		`"machine": "pc-q35-9.0", "args": ["-global", "ICH9-LPC.noreboot=true", "-device", "i6300esb"]`:            true,
		`"machine": "pc-q35-7.2", "args": ["-global", "ICH9-LPC.disable_s3=0"]`:                                    false,
		`"machine": "pc-i440fx-7.2", "args": ["-global", "ICH9-LPC.noreboot=off"]`:                                 false,
		`"machine": "pc-q35-7.2", "bare": true, "args": ["-m", "16", "-global", "ICH9-LPC.noreboot=off", "-S"]`:    true,
	} {
		if got := New("").Needs([]byte(`{"memory_mib": 16, ` + settings + `}`)).Watchdog; got != want {
			t.Errorf("%s: watchdog %v", settings, got)
		}
	}
}

// What the QEMU that is installed says of itself is what it can start guests with.
func TestCapabilities(t *testing.T) {
	d := New("")
	if _, err := d.Binary(); err != nil {
		t.Skip(err)
	}
	got := d.Capabilities(context.Background())
	if got.Problem != "" || !strings.HasPrefix(got.Version, "QEMU ") {
		t.Fatalf("%q, problem %q", got.Version, got.Problem)
	}
	for kind, name := range map[poweron.Kind]string{poweron.MachineType: DefaultMachine, poweron.Accelerator: "tcg", poweron.CPUModel: "max"} {
		if !slices.Contains(got.Has[kind], name) {
			t.Errorf("no %s %s among %q", kind, name, got.Has[kind])
		}
	}
	if !slices.Contains(got.Has[poweron.MachineType], "q35") {
		t.Error("no alias among the machine types")
	}
	if host := slices.Contains(got.Has[poweron.CPUModel], "host"); host != d.accel() {
		t.Errorf("CPU model host: %v, and KVM: %v", host, d.accel())
	}
	if host := &(poweron.Capabilities{Drivers: []poweron.DriverState{got}}); host.Lacking(d.Needs([]byte(`{"memory_mib": 1, "machine": "pc-i440fx-99"}`))) != "has no machine type pc-i440fx-99" {
		t.Error("a machine type that is not there is not missed")
	}
}

func TestCapabilitiesInTrouble(t *testing.T) {
	for binary, want := range map[string]string{
		"/nowhere/qemu": "QEMU is not installed",
		"/bin/true":     "does not tell what it can do",
		"/bin/false":    "does not tell what it can do",
		"/bin/cat":      "does not tell what it can do",
	} {
		if got := New(binary).Capabilities(context.Background()); !strings.Contains(got.Problem, want) || len(got.Has) > 0 {
			t.Errorf("%s: problem %q, want %q", binary, got.Problem, want)
		}
	}
}
