package sim

import (
	"strings"
	"testing"
	"time"
)

// mostAsked is how many operations a second are enough of one host on a datastore. A
// healthy master asks four.
const mostAsked = 10

// TestRefusedIsNotHurried: a host is lost while a datastore refuses operations of some
// kind, and at once. Nobody asks again as fast as that is refused. When it is over the
// lost machines run again, each started once.
func TestRefusedIsNotHurried(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"claim", "claim of term", "claim of generation", "slot", "region", "terms", "machine", "power-on list", "catalogue", "identity"} {
		t.Run(kind, func(t *testing.T) {
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
						asked[h][s]++
						return fate{fails: strings.HasPrefix(o.what, kind)}
					})
				}
			}
			lost.powerOff()
			c.Run(length)
			for h, of := range asked {
				for s, n := range of {
					if most := int(length/time.Second) * mostAsked; n > most {
						t.Errorf("%s asked %d times for something on %s in %v; %d are enough", h.name, n, s.name(), length, most)
					}
				}
			}
			for _, h := range c.others(lost) {
				for _, s := range c.stores {
					c.ordain(s, h, nil)
				}
			}
			c.settles(30 * time.Second)
			c.started(m, len(its))
		})
	}
}
