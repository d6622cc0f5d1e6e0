package sim

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/core"
	clusterrecord "storebeat/agent/core/cluster"
	"storebeat/datastorehb"
)

func (c *cluster) addHost(h *host) string {
	c.t.Helper()
	return c.answer(c.order(c.master(), core.ClusterCommand{Verb: core.ClusterHostAdd, Member: h.asMember()}))
}

func (c *cluster) removeHost(h *host, without ...string) string {
	c.t.Helper()
	return c.answer(c.order(c.master(), core.ClusterCommand{Verb: core.ClusterHostRemove, Host: h.name, Without: without}))
}

// outcast is what a host's agent says of why it takes no part.
func (h *host) outcast() string {
	if h.agent == nil || h.agent.core == nil {
		return ""
	}
	return h.agent.core.Outcast()
}

// TestHostRemovedAndAdded takes hosts out and in again, the master too, and asks
// that no machine is disturbed but by the move that must come before.
func TestHostRemovedAndAdded(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		s := Default()
		s.Seed, s.Machines = seed+1, 6
		c := newCluster(t, s)
		c.agree()
		h := c.hosts[seed%3]
		c.refused(c.removeHost(h), "move them first")
		c.recorded(c.maintain(h, true, true))
		c.becomesEmpty(h, 2*time.Minute)
		c.settles(20 * time.Second)
		m := c.mark()
		c.recorded(c.removeHost(h))
		if _, ok := c.RunUntil(70*time.Second, func() bool { return h.outcast() != "" }); !ok {
			c.fatalf("%s does not know that it was removed", h.name)
		}
		if why := h.outcast(); !strings.Contains(why, "was removed") {
			c.fatalf("%s says %q", h.name, why)
		}
		c.Run(30 * time.Second)
		c.quiet(m)
		c.recorded(c.removeHost(h)) // the reply was lost, and the user asks again
		c.loseAnother(h)
		c.recorded(c.addHost(h))
		c.agree()
		if _, ok := c.RunUntil(70*time.Second, func() bool { return h.outcast() == "" && c.master() != nil }); !ok {
			c.fatalf("%s does not know that it is a member again: %s", h.name, h.outcast())
		}
		c.settles(30 * time.Second)
		c.sound()
	}
}

// loseAnother has another host lose its power for a while: none of its machines may
// start on one that was removed.
func (c *cluster) loseAnother(removed *host) {
	c.t.Helper()
	o := c.others(removed)[0]
	o.powerOff()
	c.Run(25 * time.Second)
	if len(c.on(removed)) > 0 {
		c.fatalf("%s was removed, and runs %v", removed.name, c.on(removed))
	}
	o.powerOn()
	c.Run(15 * time.Second)
	c.settles(30 * time.Second)
}

// TestDeadHostIsRemoved removes a host that is gone: only once its machines run
// elsewhere, and when it comes back with the record of old it does nothing.
func TestDeadHostIsRemoved(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		s := Default()
		s.Seed, s.Machines = seed+20, 6
		c := newCluster(t, s)
		c.agree()
		h := c.hosts[seed%3]
		h.powerOff()
		c.Run(4 * time.Second)
		if c.master() != nil {
			c.refused(c.removeHost(h), "not heard")
		}
		c.Run(10 * time.Second)
		c.settles(20 * time.Second)
		c.recorded(c.removeHost(h))
		m := c.mark()
		h.powerOn()
		c.Run(40 * time.Second)
		if len(c.on(h)) > 0 || h.outcast() == "" {
			c.fatalf("%s was removed while it was off, runs %v and says %q", h.name, c.on(h), h.outcast())
		}
		c.quiet(m)
		c.sound()
	}
}

// TestRemovedHostHandsOver: a machine is started on a host while its removal is
// under way. It is handed over, and starts elsewhere.
func TestRemovedHostHandsOver(t *testing.T) {
	t.Parallel()
	s := Default()
	s.Seed, s.Machines = 3, 4
	c := newCluster(t, s)
	c.agree()
	h := c.others(c.master())[0]
	if len(c.on(h)) == 0 {
		c.fatalf("nothing runs on %s", h.name)
	}
	// What a master's plan and a removal that cross each other come to.
	r := *c.agree()
	next := r.Next(r.Revision+1, c.master().id, c.master().wall(), "removed, with machines", nil)
	if _, err := next.RemoveMember(h.name); err != nil {
		t.Fatal(err)
	}
	payload, err := clusterrecord.Encode(&next)
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range c.stores {
		st.claimRevision(&next, payload, datastorehb.Writer{Host: c.master().id})
	}
	c.becomesEmpty(h, 3*time.Minute)
	c.settles(30 * time.Second)
	c.sound()
}

// TestReplacedComputerIsRecognised exchanges a host's computer: it takes no part
// until an operator says that it is the member (R1).
func TestReplacedComputerIsRecognised(t *testing.T) {
	t.Parallel()
	s := Default()
	s.Seed, s.Machines = 5, 4
	c := newCluster(t, s)
	c.agree()
	h := c.others(c.master())[0]
	h.powerOff()
	h.machine, h.kept = c.uuid(), nil
	c.Run(10 * time.Second)
	c.settles(20 * time.Second)
	h.powerOn()
	c.Run(40 * time.Second)
	if why := h.outcast(); !strings.Contains(why, "another computer") || len(c.on(h)) > 0 {
		c.fatalf("%s is another computer, says %q and runs %v", h.name, why, c.on(h))
	}
	if v := c.master().agent.core.View(c.master().now()); v.Hosts[h.index].Stranger != h.machine {
		c.fatalf("the master does not say that %s is another computer", h.name)
	}
	c.admit(h)
	c.Run(20 * time.Second)
	c.settles(30 * time.Second)
	if h.outcast() != "" {
		c.fatalf("%s was admitted, and says %q", h.name, h.outcast())
	}
	c.sound()
}

// TestDatastoreRemovedAndAdded takes a datastore out while machines run on the
// others, and in again.
func TestDatastoreRemovedAndAdded(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		s := withDatastores(2 + int(seed)%2)
		s.Seed = seed + 1
		s.Machines = 1 // on the first datastore
		c := newCluster(t, s)
		c.agree()
		m := c.mark()
		away, home := c.stores[len(c.stores)-1], c.stores[0]
		c.refused(c.leave(home), "have their home")
		c.recorded(c.leave(away))
		c.agreeBut(away)
		if c.hosts[0].agent.wanted[away.index] {
			c.fatalf("%s still uses %s", c.hosts[0].name, away.name())
		}
		c.hang(away, c.hosts[0], c.hosts[1], c.hosts[2]) // it may go away now
		c.recorded(c.set(c.master(), 7))
		c.Run(30 * time.Second)
		c.heal()
		c.recorded(c.enter(away))
		c.recorded(c.enter(away))
		c.agree()
		c.Run(10 * time.Second)
		c.settles(20 * time.Second)
		c.quiet(m)
		c.sound()
	}
}

func (c *cluster) leave(s *store) string {
	c.t.Helper()
	return c.answer(c.order(c.master(), core.ClusterCommand{Verb: core.ClusterDatastoreRemove, Host: s.name()}))
}

func (c *cluster) enter(s *store) string {
	c.t.Helper()
	return c.answer(c.order(c.master(), core.ClusterCommand{Verb: core.ClusterDatastoreAdd, Datastore: s.asked()}))
}

// agreeBut waits until a datastore has left the cluster, and its vote has, too.
func (c *cluster) agreeBut(away *store) {
	c.t.Helper()
	if _, ok := c.RunUntil(90*time.Second, func() bool {
		return !slices.ContainsFunc(c.hosts, func(h *host) bool {
			r := h.agent.core.Acting()
			return r == nil || r.Datastore(away.name()) != nil || slices.ContainsFunc(r.Voters, func(v uuid.UUID) bool { return v == away.id }) || h.agent.wanted[away.index]
		})
	}); !ok {
		c.fatalf("%s does not leave the cluster", away.name())
	}
}
