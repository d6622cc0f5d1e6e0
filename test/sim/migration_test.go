package sim

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/core"
	"storebeat/datastorehb"
	"storebeat/poweron"
)

// A hypervisor's own tools move machines between hosts (docs/safety.md, R15).

// mover is a cluster at rest, and a machine that is about to be moved.
type mover struct {
	*cluster
	vm       uuid.UUID
	from, to *host
	before   mark
}

func newMover(t *testing.T, seed uint64) *mover {
	t.Helper()
	s := withDatastores(1)
	s.Machines, s.Seed = 3, seed
	c := newCluster(t, s)
	c.agree()
	m := &mover{cluster: c, vm: c.vms[0]}
	m.from = c.executing(m.vm)[0]
	m.to = c.others(m.from)[seed%2]
	m.before = c.mark()
	return m
}

// moved lets time pass until the machine executes on the other host and nobody else has a
// process of it.
func (m *mover) moved() {
	m.t.Helper()
	m.until("the machine's arrival", func() bool { return len(m.transfers) == 0 })
	m.settles(20 * time.Second)
	if on := m.executing(m.vm); len(on) != 1 || on[0] != m.to {
		m.fatalf("%s executes on %d hosts, and not on %s", m.nameOf(m.vm), len(on), m.to.name)
	}
}

// newest returns the machine's newest generation.
func (m *mover) newest() genRecord {
	gs := m.stores[0].gens[m.vm]
	return gs[len(gs)-1]
}

func (m *mover) shared() bool {
	g := m.newest().gen
	return g.Shared()
}

// TestMigration: a hypervisor moves a running machine. Nothing is frozen and nothing
// started, and the machine is protected on its new host as it was on the old one.
func TestMigration(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		m := newMover(t, seed+1)
		if m.from.migrate(m.vm, m.to, 3*time.Second) == nil {
			m.fatalf("it can't begin")
		}
		m.Run(2 * time.Second)
		if g := m.newest().gen; g.Owner != m.from.id || g.Receiver.Writer.Host != m.to.id {
			m.fatalf("in the midst of it, the newest generation is %+v", g)
		}
		m.moved()
		m.Run(20 * time.Second)
		m.quiet(m.before)
		if g := m.newest(); g.gen.Owner != m.to.id || g.by.Host != m.from.id {
			m.fatalf("after it, the newest generation is %+v", g)
		}
		m.to.powerOff()
		m.settles(30 * time.Second)
		m.started(m.before, 1+m.startsOf(m.to)) // once, wherever there is room
	}
}

// startsOf is how many other machines a host had that was lost.
func (m *mover) startsOf(h *host) (n int) {
	for _, l := range m.log[m.before.starts:] {
		if l.vm != m.vm {
			n++
		}
	}
	return n
}

// TestMigrationGivenUp: the machine goes on where it was.
func TestMigrationGivenUp(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		m := newMover(t, seed+1)
		x := m.from.migrate(m.vm, m.to, time.Minute)
		m.Run(3 * time.Second)
		x.abort("somebody wants it so")
		m.settles(20 * time.Second)
		m.Run(10 * time.Second)
		m.quiet(m.before)
		if g := m.newest(); g.gen.Owner != m.from.id || g.gen.Shared() || g.by.Host != m.to.id {
			m.fatalf("after it, the newest generation is %+v", g)
		}
		if m.from.migrate(m.vm, m.to, time.Second); m.since(m.before, "machine-migration-failed") == 0 {
			m.fatalf("nobody told of it")
		}
		m.moved()
		m.quiet(m.before)
	}
}

// TestMigrationRefused: by agents that do not share, and for machines that are not to move.
func TestMigrationRefused(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(m *mover){
		"no agent there": func(m *mover) { m.to.killAgent() },
		"no agent here":  func(m *mover) { m.from.killAgent() },
		"an older level": func(m *mover) {
			for _, h := range m.hosts {
				h.agent.core.Acting().Level = 1
			}
		},
		"cut off": func(m *mover) { m.part([]*host{m.from}, []*host{m.to}) },
		"a second time": func(m *mover) {
			m.from.migrate(m.vm, m.others(m.from, m.to)[0], time.Hour)
			m.Run(2 * time.Second)
			m.transfers = nil // somebody has lost sight of it
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMover(t, 1)
			spoil(m)
			x := m.from.migrate(m.vm, m.to, time.Second)
			if x == nil {
				m.fatalf("it can't begin")
			}
			m.Run(3 * time.Second)
			if x.allowed || len(m.executing(m.vm)) != 1 || m.executing(m.vm)[0] != m.from {
				m.fatalf("it was moved, or is lost")
			}
			m.sound()
		})
	}
}

// TestMigrationSourceLost: its host loses power amid a migration. The machine is started once,
// anew, if the guest had not left it, and not at all if it had.
func TestMigrationSourceLost(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		m := newMover(t, seed+1)
		x := m.from.migrate(m.vm, m.to, time.Duration(seed)*100*time.Millisecond+time.Second)
		x.lingers = true
		if seed%2 == 0 {
			m.Run(800 * time.Millisecond)
			x.stuck = true // nobody tells the receiver that nothing comes any more
		} else {
			m.until("the switch-over", func() bool { return x.switched })
		}
		m.from.powerOff()
		m.Run(12 * time.Second)
		if x.switched && (len(m.executing(m.vm)) != 1 || m.executing(m.vm)[0] != m.to || m.newest().gen.Owner != m.to.id || m.shared()) {
			m.fatalf("it does not run on alone")
		}
		m.settles(60 * time.Second)
		starts := 0
		for _, l := range m.log[m.before.starts:] {
			if l.vm == m.vm {
				starts++
			}
		}
		if want := map[bool]int{true: 0, false: 1}[x.switched]; starts != want {
			m.fatalf("it was started %d times, want %d", starts, want)
		}
	}
}

// TestMigrationReceiverLost: the host that receives it loses power. The machine goes on
// where it is if it was there, and is started once if it was not.
func TestMigrationReceiverLost(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		m := newMover(t, seed+1)
		x := m.from.migrate(m.vm, m.to, 3*time.Second)
		if seed%2 == 0 {
			m.Run(2 * time.Second)
		} else {
			m.until("the switch-over", func() bool { return x.switched })
			x.lingers = true
		}
		m.to.powerOff()
		m.settles(60 * time.Second)
		starts := 0
		for _, l := range m.log[m.before.starts:] {
			if l.vm == m.vm {
				starts++
			}
		}
		if want := map[bool]int{true: 1, false: 0}[x.switched]; starts != want {
			m.fatalf("it was started %d times, want %d", starts, want)
		}
	}
}

// TestMigrationAgentsRestarted: agents die in any step, and nobody notices.
func TestMigrationAgentsRestarted(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		m := newMover(t, seed+1)
		x := m.from.migrate(m.vm, m.to, 2*time.Second)
		m.until("the answer", func() bool { return x.allowed })
		m.Run(time.Duration(seed) * 100 * time.Millisecond)
		for i, h := range []*host{m.from, m.to} {
			if int(seed)%3 != i {
				m.restartAgent(h, m.between(0, 2*time.Second))
			}
		}
		m.moved()
		m.started(m.before, 0)
		if n := m.since(m.before, "machines-frozen"); n > 0 {
			m.fatalf("machines were frozen")
		}
	}
}

// TestMigrationEndsUnread: a new agent finds what its forerunner was receiving, and that is
// given up before the agent has read whose the machine is. It gives nothing up that it has not read.
func TestMigrationEndsUnread(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		m := newMover(t, seed+1)
		x := m.from.migrate(m.vm, m.to, time.Minute)
		m.until("the answer", func() bool { return x.allowed })
		m.to.killAgent()
		m.Run(200 * time.Millisecond)
		m.ordain(m.stores[0], m.to, only("machine", fate{held: true}))
		m.to.startAgent()
		m.Run(500 * time.Millisecond)
		x.abort("somebody wants it so")
		m.Run(500 * time.Millisecond)
		m.mend(m.stores[0], m.to)
		m.settles(20 * time.Second)
		m.Run(5 * time.Second)
		m.started(m.before, 0)
		if m.shared() || m.executing(m.vm)[0] != m.from {
			m.fatalf("it does not go on where it was")
		}
	}
}

// TestMigrationThroughALapse: a host loses its lease amid a migration and wins its next
// term. The generation stays shared, and the machine is moved.
func TestMigrationThroughALapse(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		m := newMover(t, seed+1)
		x := m.from.migrate(m.vm, m.to, 8*time.Second)
		m.until("the answer", func() bool { return x.allowed })
		victim := []*host{m.from, m.to}[seed%2]
		m.hang(m.stores[0], victim)
		m.part([]*host{victim}, m.others(victim))
		m.Run(4500 * time.Millisecond)
		m.mend(m.stores[0], victim)
		m.join()
		m.moved()
		m.started(m.before, 0)
	}
}

// TestMigrationsInTrouble runs schedules of nothing but migrations and what befalls them,
// and of everything else beside.
func TestMigrationsInTrouble(t *testing.T) {
	t.Parallel()
	usual := uint64(max(10, schedules/12))
	if testing.Short() {
		usual = 10
	}
	first, end := seeds(t, usual)
	switched := 0
	for seed := first; seed < end; seed++ {
		w, wrong := migrationsInTrouble(seed, end-first > 1)
		switched += w.covered[string(switchedOver)]
		if end-first == 1 {
			t.Logf("%s", &w.trace)
		}
		if len(wrong) > 0 {
			t.Fatalf("seed %d: %s", seed, strings.Join(wrong, "\n\t"))
		}
	}
	t.Logf("%d schedules with %d switch-overs", end-first, switched)
	if end-first >= 10 && switched == 0 {
		t.Error("no machine was ever moved")
	}
}

func migrationsInTrouble(seed uint64, quiet bool) (*World, []string) {
	s := RandomSetup(seed)
	s.Quiet = quiet
	s.Rules = nil
	if seed%4 != 0 {
		s.Barrier = datastorehb.BarrierLock
	}
	w := New(s)
	w.PowerOn()
	w.Run(10 * time.Second)
	x := NewChaos(w)
	x.kinds = []mischief{}
	for _, m := range allMischief() {
		if own := m.name == "migrated" || m.name == "moved and lost"; own || seed%3 == 0 && w.chance(0.1) {
			x.kinds = append(x.kinds, m)
		}
	}
	x.Rage(90 * time.Second)
	w.Run(x.most)
	w.heal()
	w.tidyUp()
	return w, w.rest()
}

// TestMigratedAndEndedBehind: what is left behind of a machine that has just arrived elsewhere is
// ended by hand, before anybody has said that the guest had left it. That is no wish about the
// machine: when its new host is lost, it is started anew.
func TestMigratedAndEndedBehind(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		m := newMover(t, seed+1)
		x := m.from.migrate(m.vm, m.to, time.Second)
		m.until("the switch-over", func() bool { return x.switched })
		x.from.end(core.EndedByUser, "destroyed by hand")
		m.settles(20 * time.Second)
		m.Run(20 * time.Second)
		if on := m.executing(m.vm); len(on) != 1 || on[0] != m.to {
			m.fatalf("%s executes on %d hosts, and not on %s", m.nameOf(m.vm), len(on), m.to.name)
		}
		m.to.powerOff()
		m.settles(30 * time.Second)
		if on := m.executing(m.vm); len(on) != 1 || on[0] == m.to {
			m.fatalf("%s is not started anew: generation %+v", m.nameOf(m.vm), m.newest().gen)
		}
	}
}

// TestMigratedAndCrashed: the guest crashes where it has just arrived, before anybody has said
// that it did. It is nowhere then, and is started anew.
func TestMigratedAndCrashed(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		m := newMover(t, seed+1)
		x := m.from.migrate(m.vm, m.to, time.Second)
		m.until("the switch-over", func() bool { return x.switched })
		x.to.end(core.EndedByCrash, "the guest panicked")
		m.settles(60 * time.Second)
		if on := m.executing(m.vm); len(on) != 1 {
			m.fatalf("%s executes on %d hosts: generation %+v", m.nameOf(m.vm), len(on), m.newest().gen)
		}
	}
}

// TestReceiverEnds: a process that is to receive a guest ends just as if the guest had switched itself
// off in it, as QEMU does that is ended by a signal. The guest, which has not come there, goes on where it is.
func TestReceiverEnds(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		m := newMover(t, seed+1)
		x := m.from.migrate(m.vm, m.to, time.Minute)
		m.until("the answer", func() bool { return x.allowed })
		x.to.end(core.EndedByGuest, "ended by a signal")
		m.settles(20 * time.Second)
		m.Run(20 * time.Second)
		m.started(m.before, 0)
		if on := m.executing(m.vm); len(on) != 1 || on[0] != m.from || m.shared() {
			m.fatalf("%s executes on %d hosts, and not on %s: generation %+v", m.nameOf(m.vm), len(on), m.from.name, m.newest().gen)
		}
	}
}

// TestEndsWhileItIsShared: the guest switches itself off just when the claim takes effect by which it
// is shared, and which counts as failed. That it did is known all the same, and nobody starts it.
func TestEndsWhileItIsShared(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		m := newMover(t, seed+1)
		m.ordain(m.stores[0], m.from, only("claim of generation", fate{fails: true, lands: 20 * time.Millisecond}))
		m.from.migrate(m.vm, m.to, time.Minute)
		m.until("the claim", m.shared)
		m.mend(m.stores[0], m.from)
		m.from.process(m.vm).end(core.EndedByGuest, "the guest switched itself off")
		m.Run(90 * time.Second)
		m.started(m.before, 0)
		if g := m.newest().gen; g.Reason != poweron.GuestShutDown {
			m.fatalf("the newest generation is %+v", g)
		}
	}
}
