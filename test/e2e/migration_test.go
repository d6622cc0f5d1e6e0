package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"storebeat/agent"
	"storebeat/agent/demo/cluster"
	"storebeat/agent/hypervisor"
	"storebeat/poweron"
)

// newMigrationLab is a libvirtLab with a protected guest on its first host that has so many KiB
// of memory.
func newMigrationLab(t *testing.T, profile, memory string) (*libvirtLab, *cluster.Machine) {
	l := newLibvirtLabWith(t, cluster.Options{Profile: profile})
	m, file := l.draft("web", filepath.Join(l.Datastores[0].Path, "web"))
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// How its disk is cached is left open, as by most users.
	changed := strings.NewReplacer("'KiB'>2048<", "'KiB'>"+memory+"<", " cache='none'", "").Replace(string(text))
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	l.daemons[0].Virsh(t, "define", file)
	l.daemons[0].Virsh(t, "start", m.Name)
	l.machines = append(l.machines, m)
	go l.watch(m)
	l.awaitTicks(2, m)
	if out, err := l.storebeat(l.Hosts[0], "vm", "protect", "web"); err != nil {
		t.Fatalf("protect: %v: %s", err, out)
	}
	return l, m
}

// migrate has the libvirt of one host move a guest to another, as an operator would.
func (l *libvirtLab) migrate(m *cluster.Machine, from, to int, more ...string) (string, error) {
	args := append([]string{"migrate", "--live", "--unsafe"}, more...)
	return l.daemons[from].Try(append(args, m.Name, l.daemons[to].URI, "--migrateuri", "tcp://127.0.0.1")...)
}

// migrating is a migration under way.
type migrating struct {
	out  string
	err  error
	done chan struct{}
}

// begin has a migration begin that takes some ten seconds, and waits until its memory flows.
func (l *libvirtLab) begin(m *cluster.Machine, from, to int) *migrating {
	l.Helper()
	since := time.Now()
	run := &migrating{done: make(chan struct{})}
	go func() {
		defer close(run.done)
		run.out, run.err = l.migrate(m, from, to, "--bandwidth", "1", "--persistent")
	}()
	l.awaitEvent(l.Hosts[to], since, "machine-migrating")
	l.await("memory to flow", func() (bool, string) {
		out, _ := l.daemons[from].Try("domjobinfo", m.Name)
		return strings.Contains(out, "Data processed"), out
	})
	return run
}

// ended waits for the end of a migration, and returns how it went.
func (l *libvirtLab) ended(run *migrating) error {
	l.Helper()
	l.await("virsh migrate to end", func() (bool, string) {
		select {
		case <-run.done:
			return true, ""
		default:
			return false, "it goes on"
		}
	})
	l.Logf("virsh migrate: %v: %s", run.err, run.out)
	return run.err
}

// awaitHost waits until a machine runs on a host and is that one's alone.
func (l *libvirtLab) awaitHost(m *cluster.Machine, on *cluster.Host) {
	l.Helper()
	l.await(m.Name+" to be "+on.Name+"'s", func() (bool, string) {
		v := l.machine(m)
		return v.State == "running" && v.Host == on.ID && !strings.Contains(v.Why, "hypervisor moves"), v.State + " on " + v.HostName + ": " + v.Why
	})
	l.awaitTicks(2, m)
}

func (l *libvirtLab) startedOnce(m *cluster.Machine, want int) {
	l.Helper()
	if _, runs := m.Console.Newest(); runs != want {
		l.Errorf("%s was started %d times, not %d times", m.Name, runs, want)
	}
}

// TestMigration: a protected guest is moved there and back with libvirt's own tools. It goes
// on counting, is started nowhere, and survives the loss of its new host.
func TestMigration(t *testing.T) {
	t.Parallel()
	l, m := newMigrationLab(t, "default", "2048")
	h1, h2 := l.Hosts[0], l.Hosts[1]
	since := time.Now()
	if out, err := l.migrate(m, 0, 1, "--persistent", "--undefinesource"); err != nil {
		t.Fatalf("migrate: %v: %s", err, out)
	}
	l.awaitHost(m, h2)
	l.awaitEvent(h2, since, "machine-migrating")
	l.awaitEvent(h1, since, "machine-migrated")
	l.startedOnce(m, 1)
	l.awaitDomains(0)
	l.bypassesCache(m, h2)

	// Back, and now libvirt is not told to keep or to forget anything.
	since = time.Now()
	if out, err := l.migrate(m, 1, 0); err != nil {
		t.Fatalf("migrate back: %v: %s", err, out)
	}
	l.awaitHost(m, h1)
	l.awaitEvent(h2, since, "machine-migrated")
	l.awaitDomains(1)
	l.startedOnce(m, 1)
	for _, h := range l.Hosts {
		l.refuse(h, since, "guest-by-hand", "machine-crashed", "machine-destroyed", "machine-migration-failed", "start-by-hand-refused", "definition-changed")
	}
	l.keepsItsDefinition(m)
	l.movesUnasked(m)
	for _, h := range l.Hosts {
		l.refuse(h, since, "definition-changed")
	}
	if _, err := h2.Kill(l.ctx); err != nil {
		t.Fatal(err)
	}
	l.daemons[1].Kill(t)
	l.awaitRuns(m, 2)
	l.awaitHost(m, h1)
}

// bypassesCache: the process that a machine was moved to writes past the page cache of its host,
// though the one that it was moved from was begun by a user for whom it did not.
func (l *libvirtLab) bypassesCache(m *cluster.Machine, on *cluster.Host) {
	l.Helper()
	found, err := on.Machines(l.ctx)
	at := slices.IndexFunc(found, func(f hypervisor.Found) bool { return f.VM == m.VM })
	if err != nil || at < 0 {
		l.Fatalf("its process on %s: %+v, %v", on.Name, found, err)
	}
	words, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", found[at].Handle.PID))
	if err != nil || !strings.Contains(string(words), `"direct":true`) {
		l.Errorf("on %s it runs as %q, %v", on.Name, words, err)
	}
}

// keepsItsDefinition: what libvirt makes of a guest that it moves is no change of a user's.
func (l *libvirtLab) keepsItsDefinition(m *cluster.Machine) {
	l.Helper()
	var e poweron.Entry
	v := l.machine(m)
	if err := l.owner(m).Client.Call(l.ctx, agent.MethodEntry, agent.EntryRequest{Datastore: v.Datastore, VM: m.VM}, &e); err != nil {
		l.Fatal(err)
	}
	if strings.Contains(string(e.Definition), "transient") {
		l.Errorf("its definition has become %s", e.Definition)
	}
}

// movesUnasked: where no hook asks, a migration is a user's will: the machine is started nowhere
// until it is protected where it runs now.
func (l *libvirtLab) movesUnasked(m *cluster.Machine) {
	l.Helper()
	h1, h2 := l.Hosts[0], l.Hosts[1]
	since := time.Now()
	l.daemons[1].Hook(l, "")
	if out, err := l.migrate(m, 0, 1, "--persistent"); err != nil {
		l.Fatalf("migrate where no hook asks: %v: %s", err, out)
	}
	l.daemons[1].Hook(l, l.hooks[1])
	l.awaitEvent(h1, since, "machine-destroyed")
	l.awaitState(m, "held")
	l.awaitTicks(2, m)
	if out, err := l.storebeat(h2, "vm", "protect", m.Name); err != nil {
		l.Fatalf("protect it where it runs: %v: %s", err, out)
	}
	l.awaitHost(m, h2)
	l.startedOnce(m, 1)
}

// large is the memory, in KiB, of a guest that takes a while to be moved. It is never touched.
const large = "4194304"

// TestMigrationInTrouble: a migration that is given up, or loses an agent, a daemon or one of its
// hosts on the way, costs no protection and starts nothing a second time.
func TestMigrationInTrouble(t *testing.T) {
	t.Parallel()
	l, m := newMigrationLab(t, "relaxed", large) // agents are restarted, within their leases
	h1, h2 := l.Hosts[0], l.Hosts[1]

	// Somebody gives it up.
	since := time.Now()
	run := l.begin(m, 0, 1)
	l.daemons[0].Virsh(t, "domjobabort", m.Name)
	if l.ended(run) == nil {
		t.Error("it was given up, and has succeeded")
	}
	l.awaitEvent(h1, since, "machine-migration-failed")
	l.awaitHost(m, h1)
	l.awaitDomains(1)

	// Without an agent where it is to go nothing begins.
	h2.KillAgent()
	if out, err := l.migrate(m, 0, 1); err == nil || !strings.Contains(out, "whose agent does not answer") {
		t.Errorf("without an agent: %v: %s", err, out)
	}
	l.restart(h2)

	// The destination's agent is lost, and on the way back the source's.
	l.movesWithout(h2, m, 0, 1)
	l.movesWithout(h2, m, 1, 0)

	// The destination's libvirtd is lost, and ends what it had begun when it is back.
	run = l.begin(m, 0, 1)
	l.daemons[1].Kill(t)
	if l.ended(run) == nil {
		t.Error("the destination's libvirtd was killed, and the migration has succeeded")
	}
	l.awaitTicks(2, m)
	l.daemons[1].Start(t)
	l.awaitDomains(1)
	l.awaitHost(m, h1)
	l.startedOnce(m, 1)

	// The destination is lost: the guest runs on where it is, which soon has it alone.
	since = time.Now()
	run = l.begin(m, 0, 1)
	if _, err := h2.Kill(l.ctx); err != nil {
		t.Fatal(err)
	}
	l.daemons[1].Kill(t)
	if l.ended(run) == nil {
		t.Error("the destination was lost, and the migration has succeeded")
	}
	l.awaitEvent(h1, since, "machine-migration-failed")
	l.awaitHost(m, h1)
	l.startedOnce(m, 1)
	l.daemons[1].Start(t)
	l.restart(h2)
	l.awaitDomains(1)

	// The source is lost with the guest: it is started anew, once.
	run = l.begin(m, 0, 1)
	if _, err := h1.Kill(l.ctx); err != nil {
		t.Fatal(err)
	}
	l.daemons[0].Kill(t)
	if l.ended(run) == nil {
		t.Error("the source was lost, and the migration has succeeded")
	}
	l.awaitRuns(m, 2)
	l.awaitHost(m, h2)
	l.startedOnce(m, 2)
	l.refuse(h2, since, "guest-by-hand", "machine-destroyed", "start-by-hand-refused")
}

// restart starts a host's agent again, and waits until it has found its place.
func (l *libvirtLab) restart(h *cluster.Host) {
	l.Helper()
	if err := h.Start(); err != nil {
		l.Fatal(err)
	}
	l.awaitAnswer(h)
	l.await(h.Name+" to be live", func() (bool, string) {
		v, err := h.View(l.ctx, false)
		if err != nil {
			return false, err.Error()
		}
		for _, seen := range v.Hosts {
			if seen.ID == h.ID {
				return seen.State == "live", seen.State
			}
		}
		return false, "it is not known"
	})
}

// movesWithout: a migration goes on though an agent is lost in the middle, and started again.
func (l *libvirtLab) movesWithout(lost *cluster.Host, m *cluster.Machine, from, to int) {
	l.Helper()
	run := l.begin(m, from, to)
	lost.KillAgent()
	l.restart(lost)
	if err := l.ended(run); err != nil {
		l.Fatalf("virsh migrate: %v: %s", err, run.out)
	}
	l.awaitHost(m, l.Hosts[to])
	l.awaitDomains(from)
}
