package libvirt

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"storebeat/agent/freeze"
	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/hypervisortest"
	"storebeat/agent/hypervisor/libvirt/libvirttest"
)

// bench is one libvirtd with machines to be.
type bench struct {
	*testing.T
	host   *libvirttest.Host
	driver *Driver
}

func newBench(t *testing.T) bench {
	host := libvirttest.New(t)
	return bench{T: t, host: host, driver: New(host.URI)}
}

// sub makes a bench for a subtest.
func (b bench) sub(name string, test func(bench)) {
	b.Run(name, func(t *testing.T) { test(bench{T: t, host: b.host, driver: New(b.host.URI)}) })
}

// side is sub for tests that may run side by side.
func (b bench) side(name string, test func(bench)) {
	b.sub(name, func(b bench) { b.Parallel(); test(b) })
}

// spec returns a machine that is not defined in libvirt.
func (b bench) spec() hypervisor.Spec {
	b.Helper()
	spec := hypervisortest.NewSpec(b)
	spec.Definition = define(b, spec)
	b.Cleanup(func() { _ = b.driver.Forget(b.Context(), spec.VM) })
	return spec
}

// start starts a machine and lets it go.
func (b bench) start(spec hypervisor.Spec) hypervisor.Machine {
	b.Helper()
	m, err := b.driver.Start(b.Context(), spec)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = m.Handle().Kill(); <-m.Done() })
	hypervisortest.Thaw(b, m.Handle())
	b.ticks(spec)
	return m
}

// byHand starts a domain as an operator does, without the driver.
func (b bench) byHand(how string) hypervisor.Spec {
	b.Helper()
	spec := hypervisortest.NewSpec(b)
	text := domainOf(b, spec)
	file := filepath.Join(spec.RunDir, "by-hand.xml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	if how == "define" {
		b.host.Virsh(b, "define", file)
		b.host.Virsh(b, "autostart", spec.VM.String())
		b.host.Virsh(b, "start", spec.VM.String())
	} else {
		b.host.Virsh(b, "create", file)
	}
	b.Cleanup(func() {
		if pid, err := processOf(spec.VM, ""); err == nil {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	})
	b.ticks(spec)
	return spec
}

func (b bench) ticks(spec hypervisor.Spec) {
	b.Helper()
	from := count(b, spec).Last
	hypervisortest.Until(b, "two more ticks", func() bool { return count(b, spec).Last >= from+2 })
}

func (b bench) virshState(spec hypervisor.Spec) string {
	return b.host.Virsh(b, "domstate", "--reason", spec.VM.String())
}

func guests(b bench) {
	b.side("a locked disk is told from a failure", lockedDisk)
	b.side("a persistent guest is protected while it runs", func(b bench) { protectRunning(b, "define") })
	b.side("a transient guest is protected while it runs", func(b bench) { protectRunning(b, "create") })
	b.side("cached by the host", cachedByHost)
	b.side("destroyed by a user", destroyedByUser)
	b.side("a transient guest destroyed by a user", transientDestroyed)
	b.side("panic", panics)
	b.side("paused by a user", pausedByUser)
	b.side("ended when no agent was there", endedUnseen)
	b.side("a saved state is not started from", savedState)
	b.side("forgotten", forgotten)
	b.side("born after the start was given up", bornLate)
	named(b)
	b.side("a large definition", large)
	b.side("disks on two datastores", twoDatastores)
	b.side("moved while it runs", movedWhileRunning)
	b.side("set back to a snapshot", setBackToSnapshots)
}

func lockedDisk(b bench) {
	first := b.spec()
	b.start(first)
	second := hypervisortest.NewSpec(b)
	other := libvirttest.Domain("other", second.VM, filepath.Join(first.DatastorePath, "disk.img"), filepath.Join(second.RunDir, "serial"))
	second.DatastorePath = first.DatastorePath
	second.Definition = encode(b, Definition{XML: other, Transient: true})
	if _, err := b.driver.Start(b.Context(), second); !errors.Is(err, hypervisor.ErrLocked) {
		b.Errorf("start on a disk in use: %v, want %v", err, hypervisor.ErrLocked)
	}
	b.ticks(first)
}

// protectRunning: what runs already goes on, without a second boot, and is frozen
// and adopted like any other machine afterwards.
func protectRunning(b bench, how string) {
	spec := b.byHand(how)
	g, err := b.driver.Export(b.Context(), "web-"+spec.VM.String()[:8], []hypervisor.Place{{Name: "other", Path: "/nowhere"}, {Name: "nfs1", Path: spec.DatastorePath}}, neverProtected)
	if err != nil || len(g.Problems) > 0 || g.VM != spec.VM || !g.Running || g.Datastore != "nfs1" || g.Memory != 2<<20 {
		b.Fatalf("export: %+v, %v", g, err)
	}
	spec.Definition = g.Definition
	if err := b.driver.Validate(spec); err != nil {
		b.Fatal(err)
	}
	m, err := b.driver.Start(b.Context(), spec)
	if err != nil {
		b.Fatal(err)
	}
	if state, err := m.Handle().State(); err != nil || state != freeze.Frozen {
		b.Errorf("a machine that was taken over is %v, %v", state, err)
	}
	hypervisortest.Thaw(b, m.Handle())
	b.ticks(spec)
	found, err := b.driver.Find(b.Context(), spec.Cluster, spec.Host, spec.RunDir)
	if err != nil || len(found) != 1 || found[0].Handle != m.Handle() || found[0].Newborn || found[0].Leaderless {
		b.Fatalf("found %+v, %v", found, err)
	}
	if how == "define" && strings.Contains(b.host.Virsh(b, "dominfo", spec.VM.String()), "Autostart:      enable") {
		b.Error("autostart is still on")
	}
	if c := count(b, spec); c.Boots != 1 {
		b.Errorf("%d boots, want 1", c.Boots)
	}
	kill(b, m)
}

func kill(b bench, m hypervisor.Machine) {
	b.Helper()
	if err := m.Kill(b.Context()); err != nil {
		b.Fatal(err)
	}
}

func destroyedByUser(b bench) {
	spec := b.spec()
	m := b.start(spec)
	b.host.Virsh(b, "destroy", spec.VM.String())
	hypervisortest.Ended(b, m, hypervisor.Destroyed)
	if s := b.virshState(spec); s != "shut off (destroyed)" {
		b.Errorf("the domain is %s", s)
	}
	if text := b.host.Virsh(b, "dumpxml", spec.VM.String()); strings.Contains(text, "STOREBEAT") {
		b.Errorf("the persistent domain carries a marker: %s", text)
	}
}

// A transient domain is gone when it has ended: only the event says why.
func transientDestroyed(b bench) {
	spec := b.spec()
	spec.Definition = encode(b, Definition{XML: decoded(b, spec).XML, Transient: true})
	m := b.start(spec)
	hypervisortest.Until(b, "events are listened to", func() bool {
		b.host.Virsh(b, "suspend", spec.VM.String())
		b.host.Virsh(b, "resume", spec.VM.String())
		return m.Condition().Guest == "running"
	})
	b.host.Virsh(b, "destroy", spec.VM.String())
	hypervisortest.Ended(b, m, hypervisor.Destroyed)
}

func decoded(b bench, spec hypervisor.Spec) Definition {
	b.Helper()
	d, _, err := decode(spec.Definition, spec)
	if err != nil {
		b.Fatal(err)
	}
	return d
}

func panics(b bench) {
	spec := b.spec()
	m := b.start(spec)
	tell(b, spec, "p")
	hypervisortest.Ended(b, m, hypervisor.Crashed)
	if exit := m.Exit(); !strings.Contains(exit.Detail, "panicked") {
		b.Errorf("the machine ended as %v", exit)
	}
}

// endedUnseen: libvirt knows of an end that no agent has seen, until the next start.
func endedUnseen(b bench) {
	for how, c := range map[string]struct {
		end  func(hypervisor.Spec)
		want hypervisor.ExitKind
	}{
		"destroyed":    {func(spec hypervisor.Spec) { b.host.Virsh(b, "destroy", spec.VM.String()) }, hypervisor.Destroyed},
		"switched off": {func(spec hypervisor.Spec) { tell(b, spec, "q") }, hypervisor.GuestShutDown},
	} {
		spec := b.spec()
		m := b.start(spec)
		c.end(spec)
		<-m.Done()
		if exit, known := New(b.host.URI).Ended(b.Context(), spec.VM); !known || exit.Kind != c.want {
			b.Errorf("%s: %v, %t", how, exit, known)
		}
		spec.Generation++
		b.start(spec)
		if exit, known := b.driver.Ended(b.Context(), spec.VM); known {
			b.Errorf("%s: a domain that runs has ended: %v", how, exit)
		}
	}
}

// pausedByUser: who pauses a guest by libvirt's tools wants it paused, also when
// its process is frozen and let go meanwhile.
func pausedByUser(b bench) {
	spec := b.spec()
	m := b.start(spec)
	b.host.Virsh(b, "suspend", spec.VM.String())
	hypervisortest.Until(b, "the pause is known", func() bool { return m.Condition().Guest == "paused" })
	before := count(b, spec)
	hypervisortest.Freeze(b, m.Handle())
	hypervisortest.Thaw(b, m.Handle())
	if s := b.virshState(spec); s != "paused (user)" {
		b.Errorf("the domain is %s", s)
	}
	if now := count(b, spec); now != before {
		b.Errorf("a paused guest went on from %+v to %+v", before, now)
	}
	b.host.Virsh(b, "resume", spec.VM.String())
	b.ticks(spec)
}

func savedState(b bench) {
	spec := b.spec()
	m := b.start(spec)
	b.host.Virsh(b, "managedsave", spec.VM.String())
	hypervisortest.Ended(b, m, hypervisor.Destroyed)
	spec.Generation++
	b.start(spec)
	if c := count(b, spec); c.Boots != 2 {
		b.Errorf("%d boots: the start went on from a state of the generation before", c.Boots)
	}
}

func forgotten(b bench) {
	spec := b.spec()
	m := b.start(spec)
	if err := b.driver.Forget(b.Context(), spec.VM); !errors.Is(err, hypervisor.ErrRunning) {
		b.Errorf("forget a machine that runs: %v, want %v", err, hypervisor.ErrRunning)
	}
	kill(b, m)
	hypervisortest.Until(b, "libvirtd has noticed", func() bool { return strings.HasPrefix(b.virshState(spec), shutOff) })
	for range 2 { // forgetting again does no harm
		if err := b.driver.Forget(b.Context(), spec.VM); err != nil {
			b.Fatal(err)
		}
	}
	if all := b.host.Virsh(b, "list", "--all", "--uuid"); strings.Contains(all, spec.VM.String()) {
		b.Errorf("still defined: %s", all)
	}
}

// bornLate: the daemon carries out an order after whoever gave it is gone. The guest
// executes nothing, the process is found, and adopting it ends it: nobody let it go.
func bornLate(b bench) {
	spec := b.spec()
	text, err := marked(decoded(b, spec).XML, hypervisor.Environ(name, spec, ""))
	if err != nil {
		b.Fatal(err)
	}
	file := filepath.Join(spec.RunDir, "created.xml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	// As it was left by an agent that died, or gave up, while the daemon was at it.
	if _, err := b.driver.virsh.call(b.Context(), "create", "--paused", file); err != nil {
		b.Fatal(err)
	}
	found, err := b.driver.Find(b.Context(), spec.Cluster, spec.Host, spec.RunDir)
	if err != nil || len(found) != 1 || !found[0].Newborn {
		b.Fatalf("found %+v, %v", found, err)
	}
	m, err := New(b.host.URI).Adopt(b.Context(), found[0])
	if err != nil {
		b.Fatal(err)
	}
	hypervisortest.Ended(b, m, hypervisor.Crashed)
	if c := count(b, spec); c != (hypervisortest.Count{}) {
		b.Errorf("the guest has executed: %+v", c)
	}
}
