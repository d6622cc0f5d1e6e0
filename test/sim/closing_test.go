package sim

import (
	"testing"
	"time"
)

// TestClosingIsPaced: when a datastore refuses every claim for a while, and at once, a
// master that wants to close a lost host's terms does not ask as fast as it is refused.
// When claims succeed again the machines are started, each once.
func TestClosingIsPaced(t *testing.T) {
	s := Default()
	s.Hosts, s.Datastores, s.Machines = 3, 2, 6
	c := newCluster(t, s)
	const length = 30 * time.Second
	lost := c.others(c.master())[0]
	its, m := c.on(lost), c.mark()
	asked := map[*host]map[*store]int{}
	for _, h := range c.others(lost) {
		asked[h] = map[*store]int{}
		for _, s := range c.stores {
			c.ordain(s, h, func(o *operation) fate {
				if !o.claims {
					return fate{}
				}
				asked[h][s]++
				return fate{fails: true}
			})
		}
	}
	lost.powerOff()
	c.Run(length)
	c.started(m, 0)
	tried := 0
	for h, of := range asked {
		for s, n := range of {
			tried += n
			if most := int(length/time.Second) * mostClaims; n > most {
				t.Errorf("%s claimed %d times on %s in %v; %d are enough", h.name, n, s.name(), length, most)
			}
		}
	}
	if tried < 10 {
		t.Errorf("claims were tried %d times only", tried)
	}
	for _, h := range c.others(lost) {
		for _, s := range c.stores {
			c.ordain(s, h, nil)
		}
	}
	c.settles(20 * time.Second)
	c.started(m, len(its))
}

// mostClaims is how many a second are enough of one host on a datastore that refuses them.
const mostClaims = 2
