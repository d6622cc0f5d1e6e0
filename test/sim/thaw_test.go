package sim

import (
	"strings"
	"testing"
	"time"
)

// mostToThaw is what a host may ask of a datastore from the end of a standstill until
// its machines there run: whether it is the same one, the cluster record, the heartbeat
// regions, its heartbeat, and one claim for all its machines (R5).
const mostToThaw = 5

// TestThawCosts: when all storage is back after a standstill, it is not met by a
// stampede, however many machines wait for it.
func TestThawCosts(t *testing.T) {
	t.Parallel()
	for _, machines := range []int{8, 80} {
		s := Default()
		s.Hosts, s.Datastores, s.Machines = 8, 4, machines
		c := newCluster(t, s)
		m := c.mark()
		for _, s := range c.stores {
			c.hang(s)
		}
		c.Run(time.Minute)
		var tallies []*tally
		for _, h := range c.hosts {
			for _, s := range c.stores {
				tallies = append(tallies, c.tally(h, s))
			}
		}
		for _, s := range c.stores {
			c.mend(s)
		}
		c.settles(20 * time.Second)
		c.started(m, 0)
		waited := 0
		for _, y := range tallies {
			if waited += y.machines; len(y.asked) > mostToThaw {
				t.Errorf("%s asked this of %s to thaw %d machines: %q", y.h.name, y.s.name(), y.machines, y.asked)
			}
		}
		if waited != machines {
			t.Errorf("%d machines of %d were frozen", waited, machines)
		}
	}
}

// tally is what a host asks of a datastore while its machines there are frozen, up to
// the claim that they wait for.
type tally struct {
	h        *host
	s        *store
	machines int
	asked    []string
}

// claims counts the claims.
func (y *tally) claims() (n int) {
	for _, what := range y.asked {
		if strings.HasPrefix(what, "claim") {
			n++
		}
	}
	return n
}

// tally counts from now on.
func (c *cluster) tally(h *host, s *store) *tally {
	y := &tally{h: h, s: s}
	frozen := func() (n int) {
		for i, vm := range c.vms {
			if p := h.process(vm); c.stores[i%len(c.stores)] == s && p != nil && !p.executes() {
				n++
			}
		}
		return n
	}
	y.machines = frozen()
	c.ordain(s, h, func(o *operation) fate {
		if frozen() > 0 && (o.claims || y.claims() == 0) {
			y.asked = append(y.asked, o.what)
		}
		return fate{}
	})
	return y
}
