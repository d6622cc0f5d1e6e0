package libvirt

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/hypervisortest"
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

// libvirt makes a UEFI guest's variables where the domain says, and the guest is protected with
// them when that is on the datastore.
func TestFirmwareOnTheDatastore(t *testing.T) {
	t.Parallel()
	const code, template = "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"
	if _, err := os.Stat(code); err != nil {
		t.Skip("there is no UEFI for guests, install ovmf: ", err)
	}
	b := newBench(t)
	spec := hypervisortest.NewSpec(t)
	vars := filepath.Join(spec.DatastorePath, "vars.fd")
	text := strings.Replace(domainOf(t, spec), "</os>", "<loader readonly='yes' type='pflash'>"+code+"</loader><nvram template='"+template+"'>"+vars+"</nvram></os>", 1)
	text = strings.Replace(text, "<memory unit='KiB'>2048", "<memory unit='MiB'>128", 1)
	file := filepath.Join(spec.RunDir, "uefi.xml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b.host.Virsh(t, "define", file)
	t.Cleanup(func() { _ = b.driver.Forget(context.Background(), spec.VM) })
	g, err := b.driver.Export(t.Context(), "web-"+spec.VM.String()[:8], []hypervisor.Place{{Name: "nfs1", Path: spec.DatastorePath}}, neverProtected)
	if err != nil || len(g.Problems) > 0 || strings.Contains(strings.Join(g.Warnings, "; "), "firmware") {
		t.Fatalf("export: %+v, %v", g, err)
	}
	spec.Definition = g.Definition
	if disks, err := b.driver.Disks(spec); err != nil || !slices.Contains(disks, vars) {
		t.Errorf("its disks are %q, %v; want %s among them", disks, err, vars)
	}
	m, err := b.driver.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Handle().Kill(); <-m.Done() })
	hypervisortest.Thaw(t, m.Handle())
	hypervisortest.Within(t, 4*hypervisortest.Limit, "the firmware has written its variables", func() bool {
		original, _ := os.ReadFile(template)
		now, err := os.ReadFile(vars)
		return err == nil && len(now) == len(original) && !bytes.Equal(now, original)
	})
}
