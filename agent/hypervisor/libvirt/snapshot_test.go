package libvirt

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/hypervisortest"
)

// setBackToSnapshots: who sets a guest back to a snapshot in which it was off wants it off; one
// that is set back to a moment in which it ran has another process, which is found and can be ended.
func setBackToSnapshots(b bench) {
	spec := hypervisortest.NewSpec(b)
	text := domainOf(b, spec)
	image := filepath.Join(spec.DatastorePath, "disk.qcow2")
	if out, err := exec.Command("qemu-img", "convert", "-O", "qcow2", filepath.Join(spec.DatastorePath, "disk.img"), image).CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	text = strings.NewReplacer("disk.img", "disk.qcow2", "type='raw'", "type='qcow2'").Replace(text)
	spec.Definition = encode(b, Definition{XML: portable(text, spec)})
	b.Cleanup(func() { _ = b.driver.Forget(b.Context(), spec.VM) })
	m := b.start(spec)
	b.host.Virsh(b, "snapshot-create-as", spec.VM.String(), "ran")
	b.host.Virsh(b, "snapshot-revert", spec.VM.String(), "ran")
	hypervisortest.Ended(b, m, hypervisor.Crashed)
	found, err := b.driver.Find(b.Context(), spec.Cluster, spec.Host, spec.RunDir)
	if err != nil || len(found) != 1 || found[0].Marker != spec.Marker() {
		b.Fatalf("the other process is not found: %+v, %v", found, err)
	}
	if err := found[0].Handle.Kill(); err != nil {
		b.Fatal(err)
	}
	b.off(spec)
	if err := os.Truncate(filepath.Join(spec.DatastorePath, "tick.log"), 0); err != nil { // it counted some numbers twice
		b.Fatal(err)
	}
	b.host.Virsh(b, "snapshot-create-as", spec.VM.String(), "off")
	spec.Generation++
	m = b.start(spec)
	b.host.Virsh(b, "snapshot-revert", spec.VM.String(), "off")
	hypervisortest.Ended(b, m, hypervisor.Destroyed)
}
