package core

import (
	"fmt"

	"github.com/google/uuid"

	"storebeat/datastorehb"
)

// placeless says since when a machine has found no place in any plan of this
// master, and whether that is journalled.
type placeless struct {
	since datastorehb.Instant
	told  bool
}

// notePlaceless journals each machine that has found no place for a takeover time: what
// only waits for other starts to end, or for a host that is coming up, is left out.
func (c *Core) notePlaceless() {
	if len(c.mastery.waiting) == 0 {
		c.mastery.placeless = nil
		return
	}
	still := map[uuid.UUID]placeless{}
	for _, w := range c.mastery.waiting {
		p, known := c.mastery.placeless[w.VM]
		if !known {
			p.since = c.now
		}
		f, i := c.find(w.VM)
		if long := c.now.Sub(p.since); i != nil && !p.told && long >= c.cfg.Timing.Takeover {
			p.told = true
			e := Event{Kind: "machine-without-place", Datastore: f.ID, VM: w.VM, Generation: i.Generation.Number, Rule: "R6",
				Text: fmt.Sprintf("%s has found no host to run on for %v: %s", i.Entry.Name, rounded(long), w.Why)}
			for _, refusal := range w.Hosts {
				e.Evidence = append(e.Evidence, refusal.String())
			}
			c.journal(e)
		}
		still[w.VM] = p
	}
	c.mastery.placeless = still
}
