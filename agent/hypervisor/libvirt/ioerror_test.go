package libvirt

import (
	"strings"
	"syscall"
	"testing"

	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/hypervisortest"
	"storebeat/agent/hypervisor/libvirt/libvirttest"
	"storebeat/test/faultfs"
)

// TestFailedDiskIsTriedAgain has a guest's disk fail: libvirt pauses the guest, which does
// not hear of it, and it goes on by itself when the disk works again; unless a user has
// paused it meanwhile.
func TestFailedDiskIsTriedAgain(t *testing.T) {
	t.Parallel()
	libvirttest.Need(t)
	if err := faultfs.Available(); err != nil {
		t.Skip(err)
	}
	spec := hypervisortest.NewSpec(t)
	text := domainOf(t, spec)
	backing := spec.DatastorePath
	mount, err := faultfs.New(backing, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mount.Close() })
	b := newBench(t) // it sees what is mounted by now
	// The console stays where it does not fail.
	text = strings.Replace(text, "<source file='"+backing, "<source file='"+mount.Path(), 1)
	spec.DatastorePath, spec.Definition = mount.Path(), encode(b, Definition{XML: text})
	m, err := b.driver.Start(b.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Handle().Kill(); <-m.Done() })
	hypervisortest.Thaw(t, m.Handle())
	newest := func() uint32 { return hypervisortest.CountOn(t, backing+"/disk.img") }
	hypervisortest.Until(t, "the guest writes", func() bool { return newest() >= 2 })
	mount.Fail(syscall.EIO)
	tried := mount.Counts()[faultfs.Write]
	hypervisortest.Until(t, "the guest is stopped, and what failed is tried again in vain", func() bool {
		c := m.Condition()
		return c.Guest == ioError && strings.Contains(c.Detail, "hda") && mount.Counts()[faultfs.Write] > tried+1
	})
	if i := <-m.Incidents(); i.Kind != hypervisor.GuestDiskFailed {
		t.Errorf("told of %+v", i)
	}
	suspendIsLost(b, m.(*machine), spec)
	was := newest()
	mount.Heal()
	hypervisortest.Until(t, "the guest goes on", func() bool { return m.Condition().Guest == "running" && newest() > was+2 })
	b.host.Virsh(t, "suspend", spec.VM.String())
	if i := <-m.Incidents(); i.Kind != hypervisor.GuestPaused && i.Kind != hypervisor.GuestDiskRecovered {
		t.Errorf("told of %+v", i)
	}
	b.knows(m, paused)
	was = newest()
	b.driver.lookAtAll(t.Context())
	m.(*machine).retry() // one that began before the user paused it
	if now := newest(); now != was {
		t.Errorf("a guest that a user has paused was let go on from %d to %d", was, now)
	}
	b.host.Virsh(t, "resume", spec.VM.String())
	hypervisortest.Until(t, "the guest goes on, once a user lets it", func() bool { return newest() > was+2 })
}

// suspendIsLost: libvirt takes a guest that stands still for its disk for paused already, and
// forgets that a user has suspended it, too. Nobody can tell then; the guides say so.
func suspendIsLost(b bench, m *machine, spec hypervisor.Spec) {
	b.Helper()
	held := func(now bool) (before bool) {
		m.mu.Lock()
		defer m.mu.Unlock()
		before, m.trouble.underWay = m.trouble.underWay, now
		return before
	}
	hypervisortest.Until(b, "no retry is under way, and none begins", func() bool { return !held(true) })
	defer held(false)
	hypervisortest.Until(b, "the guest stands still", func() bool { return b.virshState(spec) == forDisk.String() })
	b.host.Virsh(b, "suspend", spec.VM.String())
	if s := b.virshState(spec); s != forDisk.String() {
		b.Errorf("libvirt says that a guest which was suspended while its disk fails is %s: it can be told from others, so it should be heeded", s)
	}
}
