package libvirt

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/hypervisortest"
)

func TestUncached(t *testing.T) {
	disk := func(driver, more string) string {
		return "<disk type='file' device='disk'>\n  " + driver + "<source file='/x'/>\n  <target dev='vda'/>" + more + "</disk>"
	}
	for text, want := range map[string]string{
		disk("<driver name='qemu' type='raw'/>", ""):                                                  disk("<driver name='qemu' type='raw' cache='none'/>", ""),
		disk("<driver name='qemu' type='raw' error_policy='stop'/>", ""):                              disk("<driver name='qemu' type='raw' cache='none' error_policy='stop'/>", ""),
		disk(`<driver cache="writeback" type="raw" name="qemu"/>`, ""):                                disk(`<driver type="raw" name="qemu" cache='none'/>`, ""),
		disk("<driver name='qemu' cache='default' io='threads'></driver>", ""):                        disk("<driver name='qemu' cache='none' io='threads'></driver>", ""),
		disk("<driver cache='unsafe'/>", ""):                                                          disk("<driver cache='none'/>", ""),
		disk("", ""):                                                                                  "<disk type='file' device='disk'><driver name='qemu' cache='none'/>\n  <source file='/x'/>\n  <target dev='vda'/></disk>",
		disk("<driver name='qemu' type='raw' cache='none'/>", ""):                                     "",
		disk("<driver name='qemu' type='raw' cache='directsync'/>", ""):                               "",
		disk("<driver name='qemu' type='raw'/>", "<readonly/>"):                                       "",
		"<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='/x'/></disk>": "",
		"<disk type='file' device='floppy'><driver name='qemu'/></disk>":                              "",
		"<metadata><diskette>x</diskette></metadata>":                                                 "",
	} {
		if want == "" {
			want = text
		}
		if got := uncached("<a/>" + text + text + "<b/>"); got != "<a/>"+want+want+"<b/>" {
			t.Errorf("%s\nbecame %s\nwant   %s", text, got, want)
		}
		if again := uncached(want); again != want {
			t.Errorf("%s\nbecame %s", want, again)
		}
	}
}

// careless makes a domain's XML that leaves open how its disk is cached, as most are.
func careless(text string) string { return strings.Replace(text, " cache='none'", "", 1) }

// A guest that runs through the host's page cache goes past it once it is protected, loses nothing
// of what it had written, and does so after every start, which is no change of its user's.
func cachedByHost(b bench) {
	spec := hypervisortest.NewSpec(b)
	file := filepath.Join(spec.RunDir, "by-hand.xml")
	if err := os.WriteFile(file, []byte(careless(domainOf(b, spec))), 0o600); err != nil {
		b.Fatal(err)
	}
	b.host.Virsh(b, "define", file)
	b.Cleanup(func() { _ = b.driver.Forget(context.Background(), spec.VM) })
	b.host.Virsh(b, "start", spec.VM.String())
	b.ticks(spec)
	disk := filepath.Join(spec.DatastorePath, "disk.img")
	if b.direct(spec, disk) {
		b.Fatal("the guest goes past the host's page cache already: this test tests nothing")
	}
	places := []hypervisor.Place{{Name: "nfs1", Path: spec.DatastorePath}}
	g, err := b.driver.Export(b.Context(), "web-"+spec.VM.String()[:8], places, neverProtected)
	if err != nil || len(g.Problems) > 0 || !strings.Contains(strings.Join(g.Warnings, "; "), "disk hda has the cache mode default") {
		b.Fatalf("export: %+v, %v", g, err)
	}
	spec.Definition = g.Definition
	m, err := b.driver.Start(b.Context(), spec)
	if err != nil {
		b.Fatal(err)
	}
	hypervisortest.Thaw(b, m.Handle())
	b.oneBoot(spec)
	if !b.direct(spec, disk) {
		b.Error("the guest that was taken over writes into the host's page cache still")
	}
	kill(b, m)
	b.isOff(spec)

	// Also where the definition on the datastore is one of before.
	spec.Generation++
	spec.Definition = replace(" cache='none'", "")(g.Definition)
	m = b.start(spec)
	if !b.direct(spec, disk) {
		b.Error("the guest that was started writes into the host's page cache")
	}
	again, err := b.driver.Export(b.Context(), "web-"+spec.VM.String()[:8], places, neverProtected)
	if err != nil || string(again.Definition) != string(g.Definition) {
		b.Errorf("its start has changed the definition, %v, from\n%s\nto\n%s", err, g.Definition, again.Definition)
	}
	kill(b, m)
}

// direct tells whether QEMU has opened a file past the host's page cache, and by no descriptor else.
func (b bench) direct(spec hypervisor.Spec, file string) bool {
	b.Helper()
	pid, err := processOf(spec.VM, "")
	if err != nil {
		b.Fatal(err)
	}
	folder := filepath.Join("/proc", strconv.Itoa(pid))
	all, err := os.ReadDir(filepath.Join(folder, "fd"))
	if err != nil {
		b.Fatal(err)
	}
	var direct []bool
	for _, fd := range all {
		if to, err := os.Readlink(filepath.Join(folder, "fd", fd.Name())); err != nil || to != file {
			continue
		}
		info, err := os.ReadFile(filepath.Join(folder, "fdinfo", fd.Name()))
		if err != nil {
			b.Fatal(err)
		}
		_, flags, _ := strings.Cut(string(info), "flags:")
		bits, err := strconv.ParseUint(strings.Fields(flags)[0], 8, 64)
		if err != nil {
			b.Fatal(err)
		}
		direct = append(direct, bits&unix.O_DIRECT != 0)
	}
	if len(direct) == 0 {
		b.Fatalf("QEMU has not opened %s", file)
	}
	return !slices.Contains(direct, false)
}
