package libvirt

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/hypervisortest"
	"storebeat/agent/hypervisor/libvirt/libvirttest"
)

// A daemon that is dead, stopped or started again takes nothing from a machine.
func TestDaemonTrouble(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.sub("dead, and restarted while the guest is frozen", deadDaemon)
	b.sub("stopped", stoppedDaemon)
	b.sub("stopped during a start", stoppedDuringStart)
	b.sub("born after the start was given up", bornLate)
}

func deadDaemon(b bench) {
	spec := b.spec()
	m := b.start(spec)
	b.host.Kill(b)
	hypervisortest.Until(b, "the absence is known", func() bool { b.driver.poke(); return m.Condition().Monitor == hypervisor.Connecting })
	freezesAndGoesOn(b, spec, m)
	hypervisortest.Freeze(b, m.Handle())
	b.host.Start(b)
	hypervisortest.Until(b, "the daemon is known to be back", func() bool { b.driver.poke(); return m.Condition().Monitor == hypervisor.Answering })
	hypervisortest.Thaw(b, m.Handle())
	b.ticks(spec)
	if c := count(b, spec); c.Boots != 1 {
		b.Errorf("%d boots, want 1", c.Boots)
	}
	b.host.Virsh(b, "destroy", spec.VM.String())
	hypervisortest.Ended(b, m, hypervisor.Destroyed)
}

func freezesAndGoesOn(b bench, spec hypervisor.Spec, m hypervisor.Machine) {
	b.Helper()
	hypervisortest.Freeze(b, m.Handle())
	found, err := New(b.host.URI).Find(b.Context(), spec.Cluster, spec.Host, spec.RunDir)
	if err != nil || len(found) != 1 {
		b.Fatalf("found %+v, %v", found, err)
	}
	hypervisortest.Thaw(b, m.Handle())
	b.ticks(spec)
}

// stoppedDaemon: a hanging daemon is a state of its own, and a machine can be
// killed all the same.
func stoppedDaemon(b bench) {
	spec := b.spec()
	m := b.start(spec)
	b.host.Signal(b, unix.SIGSTOP)
	defer b.host.Signal(b, unix.SIGCONT)
	b.driver.poke()
	hypervisortest.Until(b, "the silence is known", func() bool { return m.Condition().Monitor == hypervisor.Silent })
	freezesAndGoesOn(b, spec, m)
	ctx, cancel := context.WithTimeout(b.Context(), 100*time.Millisecond)
	defer cancel()
	if err := m.Shutdown(ctx); !errors.Is(err, errSilent) {
		b.Errorf("shutdown: %v, want %v", err, errSilent)
	}
	kill(b, m)
	hypervisortest.Ended(b, m, hypervisor.Killed)
}

// stoppedDuringStart: the start fails at its deadline. What the daemon does when
// it wakes up executes nothing of the guest, and is found.
func stoppedDuringStart(b bench) {
	spec := b.spec()
	if err := b.driver.versions(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.host.Virsh(b, "version")
	ctx, cancel := context.WithTimeout(b.Context(), time.Second)
	defer cancel()
	b.host.Signal(b, unix.SIGSTOP)
	_, err := b.driver.Start(ctx, spec)
	b.host.Signal(b, unix.SIGCONT)
	if !errors.Is(err, errSilent) {
		b.Fatalf("start: %v, want %v", err, errSilent)
	}
	hypervisortest.Until(b, "the daemon answers", func() bool { _, err := b.driver.virsh.call(b.Context(), "version"); return err == nil })
	spec.Generation++
	b.start(spec)
	if c := count(b, spec); c.Boots != 1 {
		b.Errorf("%d boots, want 1", c.Boots)
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

func TestNoVirsh(t *testing.T) {
	libvirttest.Need(t)
	v := newVirsh("test:///default")
	v.binary = "virsh-that-is-not-installed"
	if _, err := v.call(t.Context(), "list"); !errors.Is(err, errAbsent) {
		t.Errorf("%v, want %v", err, errAbsent)
	}
}
