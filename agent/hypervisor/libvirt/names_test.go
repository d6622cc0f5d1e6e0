package libvirt

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/hypervisortest"
	"storebeat/agent/hypervisor/libvirt/libvirttest"
)

func named(b bench) {
	b.side("known here by another name", otherName)
	b.side("another guest has the name", namesake)
	b.side("a number for a name", numberForName)
	b.side("a transient guest is the same in its next run", transientAgain)
}

// off waits until libvirtd has noticed a machine's end.
func (b bench) off(spec hypervisor.Spec) {
	b.Helper()
	hypervisortest.Until(b, "libvirtd has noticed", func() bool { return strings.HasPrefix(b.virshState(spec), shutOff) })
}

// otherName: the definition that is started has another name than libvirt knows the
// domain by, as after a rename on another host.
func otherName(b bench) {
	spec := b.spec()
	m := b.start(spec)
	kill(b, m)
	b.off(spec)
	b.host.Virsh(b, "domrename", spec.VM.String(), "old-"+spec.VM.String()[:8])
	spec.Generation++
	b.start(spec)
	if name := b.host.Virsh(b, "domname", spec.VM.String()); name != "web-"+spec.VM.String()[:8] {
		b.Errorf("the domain is called %s", name)
	}
}

// namesake: a host that has another guest of the name says which, and what to do.
func namesake(b bench) {
	spec := b.spec()
	other := b.domain("web-"+spec.VM.String()[:8], "namesake.img")
	_, err := b.driver.Start(b.Context(), spec)
	if err == nil || !strings.Contains(err.Error(), other.String()) || !strings.Contains(err.Error(), "virsh domrename") {
		b.Errorf("start beside a guest of the same name: %v", err)
	}
	if all := b.host.Virsh(b, "list", "--all", "--uuid"); !strings.Contains(all, other.String()) {
		b.Errorf("the other guest is gone: %s", all)
	}
}

// domain defines a guest that is never started.
func (b bench) domain(name, disk string) uuid.UUID {
	b.Helper()
	vm, dir := uuid.New(), b.TempDir()
	file := filepath.Join(dir, "domain.xml")
	if err := os.WriteFile(file, []byte(libvirttest.Domain(name, vm, filepath.Join(dir, disk), filepath.Join(dir, "serial"))), 0o600); err != nil {
		b.Fatal(err)
	}
	b.host.Virsh(b, "define", file)
	b.Cleanup(func() { _ = b.driver.Forget(b.Context(), vm) })
	return vm
}

// numberForName: virsh takes a number for the number of a running domain before it takes
// it for a name.
func numberForName(b bench) {
	running := b.spec()
	b.start(running)
	number := b.host.Virsh(b, "domid", running.VM.String())
	other := b.domain(number, "disk.img")
	g, err := b.driver.Export(b.Context(), number, nil, neverProtected)
	if err != nil || g.VM != other || g.Name != number || g.Running {
		b.Errorf("the guest called %s is %+v, %v; its UUID is %s", number, g, err, other)
	}
	if _, err := b.driver.Export(b.Context(), "nobody", nil, neverProtected); err == nil {
		b.Error("a guest that is not there was read")
	}
}

// transientAgain: nobody has changed a transient guest that the driver starts again from
// what it read of it.
func transientAgain(b bench) {
	spec := b.byHand("create")
	first := b.kept(spec)
	g, err := b.driver.Export(b.Context(), first.Name, []hypervisor.Place{{Name: "nfs1", Path: spec.DatastorePath}}, neverProtected)
	if err != nil || len(g.Problems) > 0 {
		b.Fatalf("%+v, %v", g, err)
	}
	b.host.Virsh(b, "destroy", spec.VM.String())
	spec.Definition = g.Definition
	b.start(spec)
	if again := b.kept(spec); again.Digest != first.Digest || g.Digest != first.Digest {
		b.Errorf("what libvirt keeps was %+v, is %+v, and was exported as %s: %s", first, again, g.Digest, b.host.Virsh(b, "dumpxml", "--inactive", spec.VM.String()))
	}
}

func (b bench) kept(spec hypervisor.Spec) hypervisor.Kept {
	b.Helper()
	all, err := b.driver.Kept(b.Context())
	at := slices.IndexFunc(all, func(k hypervisor.Kept) bool { return k.VM == spec.VM })
	if err != nil || at < 0 {
		b.Fatalf("libvirt does not keep %s: %+v, %v", spec.VM, all, err)
	}
	return all[at]
}

// TestUnmarked: nothing of the marker is left, and nothing of the user's is taken.
func TestUnmarked(t *testing.T) {
	const plain = "<domain type='kvm'>\n  <name>web</name>\n</domain>"
	const own = "<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>\n  <qemu:commandline>\n    <qemu:arg value='-S'/>\n  </qemu:commandline>\n</domain>"
	for printed, want := range map[string]string{
		plain: plain,
		own:   own,
		"<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>\n  <name>web</name>\n  <qemu:commandline>\n    <qemu:env name='STOREBEAT_RUN' value='/run'/>\n  </qemu:commandline>\n</domain>": plain,
		strings.Replace(own, "  </qemu:commandline>", "    <qemu:env name='STOREBEAT_RUN' value='/run'/>\n  </qemu:commandline>", 1):                                                                                 own,
	} {
		if got := unmarked(printed); got != want {
			t.Errorf("of %s\n is left %s\nwant %s", printed, got, want)
		}
	}
}
