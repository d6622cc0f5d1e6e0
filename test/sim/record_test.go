package sim

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"storebeat/agent/core"
	clusterrecord "storebeat/agent/core/cluster"
)

func withDatastores(n int) Setup {
	s := Default()
	s.Datastores, s.Machines = n, 2
	return s
}

// set asks a host for a setting, and waits for the answer.
func (c *cluster) set(h *host, value int, without ...string) string {
	c.t.Helper()
	return c.answer(c.wish(h, value, without...))
}

// wish asks for a setting that takes any number from 1 to 1000.
func (c *cluster) wish(h *host, value int, without ...string) uint64 {
	return c.order(h, core.ClusterCommand{Verb: core.ClusterSet, Without: without,
		Set: []clusterrecord.Assignment{{Setting: "machine_defaults.limit", Value: fmt.Sprint(value)}}})
}

// answer waits for the answer to a command.
func (c *cluster) answer(id uint64) string {
	c.t.Helper()
	if _, ok := c.RunUntil(60*time.Second, func() bool { return c.replies[id] != "" }); !ok {
		c.fatalf("command %d was not answered", id)
	}
	return c.replies[id]
}

// recorded asks that a change was granted.
func (c *cluster) recorded(answer string) {
	c.t.Helper()
	if strings.HasPrefix(answer, "refused") {
		c.fatalf("%s", answer)
	}
}

// refused asks that a change was refused, with a word in the reason.
func (c *cluster) refused(answer, word string) {
	c.t.Helper()
	if !strings.HasPrefix(answer, "refused") || !strings.Contains(answer, word) {
		c.fatalf("%q is no refusal with %q", answer, word)
	}
}

// agree waits until every live host acts on one revision and every datastore that
// can be used holds it, and returns it.
func (c *cluster) agree() *clusterrecord.Record {
	c.t.Helper()
	var r *clusterrecord.Record
	if _, ok := c.RunUntil(90*time.Second, func() bool { r = c.agreed(); return r != nil }); !ok {
		c.fatalf("the hosts act on different revisions of the cluster record")
	}
	c.sound()
	return r
}

func (c *cluster) agreed() (r *clusterrecord.Record) {
	for _, h := range c.hosts {
		if h.agent == nil || h.agent.core == nil {
			continue
		}
		v := h.agent.core.View(h.now()).Cluster
		if v.Record == nil || r != nil && v.Record.Sum() != r.Sum() {
			return nil
		}
		r = v.Record
	}
	for _, s := range c.stores {
		if newest, ok := s.newestRevision(); !s.hung && (!ok || newest.record.Sum() != r.Sum()) {
			return nil
		}
	}
	return r
}

func TestFirstMasterMakesTheRecord(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 4; n++ {
		c := newCluster(t, withDatastores(n))
		if r := c.agree(); r.Revision != 1 || len(r.Members) != 3 || len(r.Voters) != n {
			c.fatalf("%+v", r)
		}
	}
}

// TestRecordWaitsForAllHosts: a host that is not there, or whose file names other
// hosts, keeps the master from taking its own file for the cluster's.
func TestRecordWaitsForAllHosts(t *testing.T) {
	t.Parallel()
	w := New(withDatastores(2))
	w.hosts[0].powerOn()
	w.hosts[1].powerOn()
	w.hosts[2].unaware = 1
	c := &cluster{w, t}
	c.Run(30 * time.Second)
	if r := c.agreed(); r != nil {
		c.fatalf("a record without host 3: %+v", r)
	}
	c.refused(c.set(c.master(), 7), "h3 has not been heard")
	w.hosts[2].powerOn()
	c.Run(30 * time.Second)
	c.refused(c.set(c.master(), 7), "the configuration of h")
	c.recorded(c.answer(c.order(c.master(), core.ClusterCommand{Verb: core.ClusterInit})))
	c.recorded(c.set(c.master(), 7))
	if r := c.agree(); r.Machines.Limit != 7 {
		c.fatalf("%+v", r)
	}
}

func TestSetReachesEveryHostAndSurvivesThem(t *testing.T) {
	t.Parallel()
	c := newCluster(t, withDatastores(3))
	m := c.mark()
	c.refused(c.set(c.others(c.master())[0], 7), "is not the master")
	c.refused(c.set(c.master(), 0), "limit is 0")
	c.recorded(c.set(c.master(), 7))
	if answer := c.set(c.master(), 7); !strings.Contains(answer, "nothing to change") {
		c.fatalf("the same again: %s", answer)
	}
	c.agree()
	c.quiet(m)
	for _, h := range c.hosts {
		h.powerOff()
	}
	c.Run(time.Second)
	for _, h := range c.hosts {
		h.powerOn()
	}
	c.Run(20 * time.Second)
	if r := c.agree(); r.Revision != 2 || r.Machines.Limit != 7 {
		c.fatalf("%+v", r)
	}
}

// TestOneDatastoreAway: with two datastores a change needs both, or the word that
// one is given up; with three, two are enough. What comes back gets the newest.
func TestOneDatastoreAway(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 3} {
		c := newCluster(t, withDatastores(n))
		c.agree()
		c.hang(c.stores[0])
		c.Run(20 * time.Second)
		if n == 2 {
			c.refused(c.set(c.master(), 7), "ds1 can't be used")
			c.refused(c.set(c.master(), 7, "ds2"), "can be used")
			c.forced = true
			c.recorded(c.set(c.master(), 7, "ds1"))
		} else {
			c.recorded(c.set(c.master(), 7))
		}
		c.mend(c.stores[0])
		if r := c.agree(); r.Machines.Limit != 7 {
			c.fatalf("%+v", r)
		}
		c.recorded(c.set(c.master(), 9))
		if r := c.agree(); len(r.Voters) != n {
			c.fatalf("%d voters", len(r.Voters))
		}
	}
}

// TestMasterDiesBetweenTwoClaims: what it claimed on one datastore is brought to
// its end by its successor, or given up for something that contains what counts.
func TestMasterDiesBetweenTwoClaims(t *testing.T) {
	t.Parallel()
	ends := map[string]int{}
	for seed := range uint64(60) {
		s := withDatastores(2 + int(seed%3))
		s.Seed = seed + 1
		c := newCluster(t, s)
		c.agree()
		old := c.master()
		for i, st := range c.stores {
			if i > 0 {
				c.ordain(st, old, only("claim of revision", fate{held: true}))
			}
		}
		id := c.wish(old, 7)
		c.Run(c.between(0, []time.Duration{5 * time.Millisecond, 5 * time.Second}[seed/3%2]))
		old.powerOff()
		for _, st := range c.stores {
			c.mend(st, old)
		}
		if seed%2 == 0 {
			c.after(c.between(time.Second, 20*time.Second), old.powerOn)
		}
		c.RunUntil(20*time.Second, func() bool { return c.leads() != nil && c.leads() != old })
		c.recorded(c.set(c.master(), 8))
		r := c.agree()
		if r.Machines.Limit != 8 || c.replies[id] != "" && r.Revision < 3 {
			c.fatalf("%+v after %q", r, c.replies[id])
		}
		ends[fmt.Sprint(r.Revision)]++
		c.Run(30 * time.Second)
		c.settles(30 * time.Second)
	}
	if ends["2"] == 0 || ends["3"] == 0 {
		t.Errorf("the master never died on either side of its first claim: %v", ends)
	}
}

// leads returns the host that is master by its own word, nil if there is none.
func (c *cluster) leads() *host {
	for _, h := range c.hosts {
		if h.agent != nil && h.agent.core != nil && h.agent.core.View(h.now()).Leading {
			return h
		}
	}
	return nil
}

// TestTwoMastersChangeTheRecord: in two partitions that both reach the datastores,
// every change that was granted is in what counts at the end.
func TestTwoMastersChangeTheRecord(t *testing.T) {
	t.Parallel()
	granted := 0
	for seed := range uint64(40) {
		s := withDatastores(1 + int(seed%4))
		s.Seed = seed + 1
		c := newCluster(t, s)
		c.agree()
		one := c.master()
		c.part([]*host{one}, c.others(one))
		c.RunUntil(20*time.Second, func() bool { return len(c.masters()) == 2 })
		var ids []uint64
		for round := range 4 {
			for i, h := range c.masters() {
				id := c.order(h, core.ClusterCommand{Verb: core.ClusterSet, Set: []clusterrecord.Assignment{{Setting: settingsOf[i], Value: fmt.Sprint(10 + round)}}})
				ids = append(ids, id)
			}
			c.Run(c.between(0, time.Second))
		}
		for _, id := range ids {
			c.answer(id)
		}
		c.join()
		r := c.agree()
		for i, id := range ids {
			if last := i >= len(ids)-2; last && !strings.HasPrefix(c.replies[id], "refused") {
				granted++
				if got := r.Show(settingsOf[i%2]); got != "13" {
					c.fatalf("%s is %s though %q", settingsOf[i%2], got, c.replies[id])
				}
			}
		}
	}
	if granted < 40 {
		t.Errorf("%d changes were granted: the masters hinder each other", granted)
	}
}

// settingsOf are what each of two masters changes.
var settingsOf = []string{"machine_defaults.limit", "machine_defaults.attempts"}

// masters returns the hosts that are masters by their own word.
func (c *cluster) masters() (masters []*host) {
	for _, h := range c.hosts {
		if h.agent != nil && h.agent.core != nil && h.agent.core.View(h.now()).Leading {
			masters = append(masters, h)
		}
	}
	return masters
}

// TestRecordRolledBack: a datastore on which a revision is gone is not what it was.
func TestRecordRolledBack(t *testing.T) {
	t.Parallel()
	c := newCluster(t, withDatastores(2))
	c.agree()
	c.recorded(c.set(c.master(), 7))
	c.agree()
	s := c.stores[0]
	s.tampered = true
	s.revisions = s.revisions[:1]
	before := c.counts["datastore-distrusted"]
	c.Run(90 * time.Second)
	if c.counts["datastore-distrusted"] == before {
		c.fatalf("nobody has noticed")
	}
}
