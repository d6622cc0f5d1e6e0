package sim

import (
	"testing"
	"time"

	"storebeat/agent/core"
)

// cluster is a world with the words of the tests.
type cluster struct {
	*World
	t *testing.T
}

// newCluster returns a cluster in which every host is up and every machine
// protected, wanted and running, vm i on datastore i modulo their number.
func newCluster(t *testing.T, s Setup) *cluster {
	t.Helper()
	c := &cluster{New(s), t}
	for i, h := range c.hosts {
		c.after(time.Duration(i)*100*time.Millisecond, h.powerOn)
	}
	c.Run(20 * time.Second)
	for i := range c.vms {
		c.protect(c.hosts[i%len(c.hosts)], i+1, c.stores[i%len(c.stores)])
		c.Run(100 * time.Millisecond)
	}
	c.settles(30 * time.Second)
	c.Run(15 * time.Second)
	return c
}

// settles asks that the cluster comes to rest within a time.
func (c *cluster) settles(within time.Duration) time.Duration {
	c.t.Helper()
	took, ok := c.RunUntil(within, func() bool { return len(c.Unsettled()) == 0 })
	if !ok {
		c.fatalf("not at rest within %v: %q", within, c.Unsettled())
	}
	c.sound()
	return took
}

// sound asks that the observer has nothing to object.
func (c *cluster) sound() {
	c.t.Helper()
	if v := c.Violations(); len(v) > 0 {
		c.fatalf("the observer objects")
	}
}

func (c *cluster) fatalf(format string, args ...any) {
	c.t.Helper()
	c.t.Logf("the trace ends with\n%s", c.Trace().Tail(400))
	if v := c.Violations(); len(v) > 0 {
		c.t.Errorf("%d violations, the first: %s", len(v), v[0])
	}
	c.t.Fatalf(format, args...)
}

// on returns the hosts' machines: those that execute on the host.
func (c *cluster) on(h *host) (vms []int) {
	for i, vm := range c.vms {
		if p := h.process(vm); p != nil && p.executes() {
			vms = append(vms, i+1)
		}
	}
	return vms
}

// master returns the host that is master by its own word.
func (c *cluster) master() *host {
	c.t.Helper()
	for _, h := range c.hosts {
		if h.agent != nil && h.agent.core != nil && h.agent.core.View(h.now()).Leading {
			return h
		}
	}
	c.fatalf("nobody is master")
	return nil
}

// others returns the hosts but the one.
func (c *cluster) others(not ...*host) (others []*host) {
next:
	for _, h := range c.hosts {
		for _, n := range not {
			if n == h {
				continue next
			}
		}
		others = append(others, h)
	}
	return others
}

// mark remembers what was counted so far.
type mark struct {
	counts map[string]int
	starts int
}

func (c *cluster) mark() mark {
	m := mark{counts: map[string]int{}}
	for k, n := range c.counts {
		m.counts[k] = n
	}
	m.starts = c.allStarts()
	return m
}

func (c *cluster) allStarts() (n int) {
	for _, k := range c.starts {
		n += k
	}
	return n
}

// since returns how often an event was journaled since the mark.
func (c *cluster) since(m mark, kind core.Kind) int {
	return c.counts[string(kind)] - m.counts[string(kind)]
}

// quiet asks that nothing has happened to any machine since the mark.
func (c *cluster) quiet(m mark) {
	c.t.Helper()
	c.sound()
	for _, kind := range []core.Kind{"lease-lapsed", "machines-frozen", "machine-thawed", "machine-started", "machine-stopping", "term-closed", "machine-putting-down", "start-ordered"} {
		if n := c.since(m, kind); n > 0 {
			c.fatalf("%d × %s, though nothing should have happened to any machine", n, kind)
		}
	}
	if why := c.Unsettled(); len(why) > 0 {
		c.fatalf("not at rest: %q", why)
	}
}

// started asks how many machines were started since the mark.
func (c *cluster) started(m mark, want int) {
	c.t.Helper()
	c.sound()
	if got := c.allStarts() - m.starts; got != want {
		c.fatalf("%d starts, want %d", got, want)
	}
}
