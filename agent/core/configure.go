package core

import "storebeat/datastorehb"

// Configure takes over what may change while the core runs: how heartbeat
// datastores are chosen, isolation addresses, parallel starts, and what the file says of the cluster. Everything
// else of cfg is left alone.
func (c *Core) Configure(cfg Config) {
	c.cfg.Heartbeats, c.cfg.Isolation, c.cfg.Parallel = cfg.Heartbeats, cfg.Isolation, cfg.Parallel
	for _, d := range cfg.Datastores {
		if f := c.footing(d.ID); f != nil && c.record.acting == nil {
			f.Preferred, f.Excluded = d.Preferred, d.Excluded
		}
	}
	c.record.refound(cfg.Founding, cfg.Silent)
	c.net.pings.Keep(datastorehb.HostID(0), cfg.Isolation.Addresses)
	c.net.nextRank, c.mastery.stale = c.now, true
}
