package sim

import (
	"testing"
	"time"
)

// down shuts hosts down for good and asks that each of their machines is started
// elsewhere, once.
func (c *cluster) down(hosts ...*host) {
	c.t.Helper()
	m, lost := c.mark(), 0
	for _, h := range hosts {
		lost += len(c.on(h))
		h.shutDown(time.Minute)
	}
	if lost == 0 {
		c.fatalf("nothing runs there")
	}
	took, ok := c.RunUntil(90*time.Second, func() bool { return c.allStarts()-m.starts == lost && len(c.Unsettled()) == 0 })
	if !ok {
		c.fatalf("%d of %d machines were started: %q", c.allStarts()-m.starts, lost, c.Unsettled())
	}
	for _, h := range hosts {
		if h.powered {
			c.fatalf("%s is still there after %v", h.name, took)
		}
	}
	c.Run(time.Minute)
	c.started(m, lost)
	if n := c.since(m, "term-closed") + c.since(m, "lease-lapsed"); n > 0 {
		c.fatalf("%d terms were closed or lapsed: the machines were not given up", n)
	}
}

func TestShutDown(t *testing.T) {
	t.Parallel()
	c := newCluster(t, Default())
	c.down(c.others(c.master())[0])
}

func TestMasterShutsDown(t *testing.T) {
	t.Parallel()
	c := newCluster(t, Default())
	c.down(c.master())
}

func TestTwoHostsShutDownAtOnce(t *testing.T) {
	t.Parallel()
	c := newCluster(t, Default())
	c.down(c.hosts[:2]...)
}

// A host that shuts down while its datastore hangs gives up what it can't release:
// it waits no longer than it has a lease, and the others take over what it has left.
func TestShutDownWhileItsDatastoreHangs(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	m, lost := b.mark(), len(b.on(b.h))
	b.hang(b.s, b.h)
	b.part([]*host{b.h}, b.others(b.h))
	b.h.shutDown(time.Minute)
	b.until("the end", func() bool { return !b.h.powered })
	b.until("the start elsewhere", func() bool { return b.allStarts()-m.starts == lost })
	b.heals()
	b.started(m, lost)
}

// A reboot: the machines are elsewhere when the host is back, and stay there.
func TestReboot(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	m, lost := b.mark(), len(b.on(b.h))
	b.h.shutDown(time.Minute)
	b.until("the end", func() bool { return !b.h.powered })
	b.Run(30 * time.Second)
	b.h.powerOn()
	b.heals()
	b.started(m, lost)
	if len(b.on(b.h)) > 0 {
		b.fatalf("machines went back by themselves")
	}
}

// A guard is upgraded while its leases run out: everything is frozen in time.
func TestGuardUpgradedWhileLeasesRunOut(t *testing.T) {
	t.Parallel()
	for _, pause := range []time.Duration{0, 20 * time.Millisecond, 200 * time.Millisecond} {
		b := newBench(t, nil)
		b.silence()
		for at := time.Duration(0); at < 5*time.Second; at += 250 * time.Millisecond {
			b.after(at, func() { b.h.upgradeGuard(pause) })
		}
		b.Run(8 * time.Second)
		if len(b.on(b.h)) > 0 {
			b.fatalf("not frozen")
		}
		b.heals()
	}
}
