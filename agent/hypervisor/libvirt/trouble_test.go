package libvirt

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/hypervisortest"
	"storebeat/agent/hypervisor/libvirt/libvirttest"
)

// trouble is something that befalls libvirtd: it begins, and ends by the function that
// is returned, with a daemon that is well.
type trouble func(bench) (end func())

// troubles are all that can befall it.
var troubles = map[string]trouble{
	"absent": func(b bench) func() {
		b.host.Kill(b)
		return func() { b.host.Start(b) }
	},
	"stopped": func(b bench) func() {
		b.host.Signal(b, unix.SIGSTOP)
		return func() { b.host.Signal(b, unix.SIGCONT); b.host.Await(b) }
	},
	"restarted": func(b bench) func() {
		b.host.Kill(b)
		b.host.Launch(b)
		return func() { b.host.Await(b) }
	},
	"hangs, and is killed": func(b bench) func() {
		b.host.Signal(b, unix.SIGSTOP)
		killed := make(chan struct{})
		time.AfterFunc(300*time.Millisecond, func() { b.host.Kill(b); close(killed) })
		return func() { <-killed; b.host.Start(b) }
	},
}

// steps are what a machine may be at when it happens. Each begins with a daemon that
// is well, has the trouble begin and end, and says what is right meanwhile and after.
var steps = map[string]func(bench, trouble){
	"start":         startInTrouble,
	"graceful stop": stopInTrouble,
	"kill":          killInTrouble,
	"frozen":        frozenInTrouble,
	"adopt":         adoptInTrouble,
	"protect":       protectInTrouble,
	"paused":        pausedInTrouble,
	"switched off":  switchedOffInTrouble,
	"crash":         crashInTrouble,
}

// TestDaemonTrouble: whatever befalls libvirtd takes nothing from a machine, holds up
// nothing that does without it, and is known for what it is.
func TestDaemonTrouble(t *testing.T) {
	for what, trouble := range troubles {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			for name, step := range steps {
				b.sub(name, func(b bench) { step(b, trouble) })
			}
		})
	}
}

// within returns a context for a call that may meet a daemon in trouble.
func (b bench) within(limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(b.Context(), limit)
	b.Cleanup(cancel)
	return ctx
}

// isTrouble wants an error, if there is one, to say that the daemon is in trouble.
func (b bench) isTrouble(doing string, err error) {
	b.Helper()
	if err != nil && !errors.Is(err, errSilent) && !errors.Is(err, errAbsent) {
		b.Errorf("%s: %v; want %v or %v", doing, err, errSilent, errAbsent)
	}
}

// oneBoot wants the guest to go on, and never to have begun anew.
func (b bench) oneBoot(spec hypervisor.Spec) {
	b.Helper()
	b.ticks(spec)
	if c := count(b, spec); c.Boots != 1 {
		b.Errorf("%d boots, want 1", c.Boots)
	}
}

// knows waits until the machine's condition is as the daemon says.
func (b bench) knows(m hypervisor.Machine, guest string) {
	b.Helper()
	hypervisortest.Until(b, "the daemon is known to say that the guest is "+guest, func() bool {
		b.driver.poke()
		c := m.Condition()
		return c.Monitor == hypervisor.Answering && c.Guest == guest
	})
}

func startInTrouble(b bench, t trouble) {
	spec := b.spec()
	end := t(b)
	m, err := b.driver.Start(b.within(2*time.Second), spec)
	b.isTrouble("start", err)
	if c := count(b, spec); c != (hypervisortest.Count{}) {
		b.Errorf("a guest that nobody let go has executed: %+v", c)
	}
	end()
	if err == nil {
		kill(b, m)
	}
	spec.Generation++
	b.start(spec)
	b.oneBoot(spec)
}

func stopInTrouble(b bench, t trouble) {
	spec := b.spec()
	m := b.start(spec)
	end := t(b)
	b.isTrouble("graceful stop", m.Shutdown(b.within(300*time.Millisecond)))
	b.oneBoot(spec)
	kill(b, m)
	hypervisortest.Ended(b, m, hypervisor.Killed)
	end()
	b.isOff(spec)
}

// isOff waits until libvirtd has noticed that the domain has ended.
func (b bench) isOff(spec hypervisor.Spec) {
	b.Helper()
	hypervisortest.Until(b, "libvirtd has noticed the end", func() bool {
		s, err := b.driver.virsh.state(b.Context(), spec.VM)
		return err == nil && !s.active()
	})
}

func killInTrouble(b bench, t trouble) {
	spec := b.spec()
	m := b.start(spec)
	hypervisortest.Freeze(b, m.Handle())
	end := t(b)
	kill(b, m)
	hypervisortest.Ended(b, m, hypervisor.Killed)
	end()
	b.isOff(spec)
}

// frozenInTrouble: a guest is frozen and thawed all the same, and one that stands
// frozen while the daemon comes back goes on where it was.
func frozenInTrouble(b bench, t trouble) {
	spec := b.spec()
	m := b.start(spec)
	end := t(b)
	hypervisortest.Freeze(b, m.Handle())
	found, err := New(b.host.URI).Find(b.Context(), spec.Cluster, spec.Host, spec.RunDir)
	if err != nil || len(found) != 1 {
		b.Fatalf("found %+v, %v", found, err)
	}
	hypervisortest.Thaw(b, m.Handle())
	b.oneBoot(spec)
	hypervisortest.Freeze(b, m.Handle())
	before := count(b, spec)
	end()
	b.host.Kill(b) // and once more, as it stands frozen
	b.host.Start(b)
	if now := count(b, spec); now != before {
		b.Errorf("a frozen guest went on from %+v to %+v", before, now)
	}
	hypervisortest.Thaw(b, m.Handle())
	b.oneBoot(spec)
	b.knows(m, "running")
}

func adoptInTrouble(b bench, t trouble) {
	spec := b.spec()
	first := b.start(spec)
	end := t(b)
	found, err := b.driver.Find(b.Context(), spec.Cluster, spec.Host, spec.RunDir)
	if err != nil || len(found) != 1 {
		b.Fatalf("found %+v, %v", found, err)
	}
	other := New(b.host.URI)
	m, err := other.Adopt(b.within(2*time.Second), found[0])
	if err != nil {
		b.Fatal(err)
	}
	b.oneBoot(spec)
	end()
	hypervisortest.Until(b, "the adopted machine's state is known", func() bool { other.poke(); return m.Condition().Guest == "running" })
	b.host.Virsh(b, "destroy", spec.VM.String())
	hypervisortest.Ended(b, m, hypervisor.Destroyed)
	hypervisortest.Ended(b, first, hypervisor.Destroyed)
}

func neverProtected(uuid.UUID) hypervisor.Former { return hypervisor.Former{} }

// protectInTrouble: a guest that can't be looked at, or taken over, runs on.
func protectInTrouble(b bench, t trouble) {
	spec := b.byHand("define")
	name, places := "web-"+spec.VM.String()[:8], []hypervisor.Place{{Name: "nfs1", Path: spec.DatastorePath}}
	g, err := b.driver.Export(b.Context(), name, places, neverProtected)
	if err != nil {
		b.Fatal(err)
	}
	spec.Definition = g.Definition
	end := t(b)
	_, err = b.driver.Export(b.within(time.Second), name, places, neverProtected)
	b.isTrouble("export", err)
	m, err := b.driver.Start(b.within(time.Second), spec)
	b.isTrouble("taking over", err)
	if err != nil {
		b.oneBoot(spec)
	}
	end()
	if err != nil {
		m, err = b.driver.Start(b.Context(), spec)
	}
	if err != nil {
		b.Fatal(err)
	}
	hypervisortest.Thaw(b, m.Handle())
	b.oneBoot(spec)
	kill(b, m)
}

// pausedInTrouble: who paused the guest wants it paused, also when it is frozen and
// thawed meanwhile.
func pausedInTrouble(b bench, t trouble) {
	spec := b.spec()
	m := b.start(spec)
	b.host.Virsh(b, "suspend", spec.VM.String())
	b.knows(m, "paused")
	before := count(b, spec)
	end := t(b)
	hypervisortest.Freeze(b, m.Handle())
	hypervisortest.Thaw(b, m.Handle())
	end()
	b.knows(m, "paused")
	if now := count(b, spec); now != before {
		b.Errorf("a paused guest went on from %+v to %+v", before, now)
	}
	b.host.Virsh(b, "resume", spec.VM.String())
	b.oneBoot(spec)
}

func switchedOffInTrouble(b bench, t trouble) {
	spec := b.spec()
	m := b.start(spec)
	end := t(b)
	tell(b, spec, "q")
	end()
	hypervisortest.Ended(b, m, hypervisor.GuestShutDown)
}

func crashInTrouble(b bench, t trouble) {
	spec := b.spec()
	m := b.start(spec)
	end := t(b)
	if err := unix.Kill(m.Handle().PID, unix.SIGKILL); err != nil {
		b.Fatal(err)
	}
	hypervisortest.Ended(b, m, hypervisor.Crashed)
	end()
	b.isOff(spec)
}

// TestDaemonEndsInTheMiddleOfAStart has libvirtd stop, or die, at each step of its own
// on the way to a running domain. What it has made by then, or makes when it goes on,
// executes nothing and leaves nothing behind.
func TestDaemonEndsInTheMiddleOfAStart(t *testing.T) {
	for _, signal := range []string{"STOP", "KILL"} {
		t.Run(signal, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			for _, operation := range []string{"prepare", "start", "started"} {
				b.sub(operation, func(b bench) { endsInTheMiddle(b, operation, signal) })
			}
		})
	}
}

func endsInTheMiddle(b bench, operation, signal string) {
	spec := b.spec()
	if err := b.driver.versions(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.host.Hook(b, fmt.Sprintf("[ \"$2\" != %s ] || kill -%s $PPID\n", operation, signal))
	_, err := b.driver.Start(b.within(3*time.Second), spec)
	b.host.Hook(b, "")
	if err == nil {
		b.Fatal("the start succeeded")
	}
	b.isTrouble("start", err)
	if signal == "STOP" {
		b.host.Signal(b, unix.SIGCONT)
		b.host.Await(b)
	} else {
		b.host.Kill(b)
		b.host.Start(b)
	}
	b.endLate(spec)
	if c := count(b, spec); c != (hypervisortest.Count{}) {
		b.Errorf("a guest that nobody let go has executed: %+v", c)
	}
	spec.Generation++
	b.start(spec)
	b.oneBoot(spec)
}

// endLate ends what was born after its start had failed, as the agent does.
func (b bench) endLate(spec hypervisor.Spec) {
	b.Helper()
	hypervisortest.Until(b, "nothing of the failed start is left", func() bool {
		found, err := b.driver.Find(b.Context(), spec.Cluster, spec.Host, spec.RunDir)
		if err != nil {
			b.Fatal(err)
		}
		for _, f := range found {
			m, err := b.driver.Adopt(b.Context(), f)
			if err == nil {
				kill(b, m)
			}
		}
		s, err := b.driver.virsh.state(b.Context(), spec.VM)
		return len(found) == 0 && (errors.Is(err, errNoDomain) || err == nil && !s.active())
	})
}

func TestNoVirsh(t *testing.T) {
	libvirttest.Need(t)
	v := newVirsh("test:///default")
	v.binary = "virsh-that-is-not-installed"
	if _, err := v.call(t.Context(), "list"); !errors.Is(err, errAbsent) {
		t.Errorf("%v, want %v", err, errAbsent)
	}
}
