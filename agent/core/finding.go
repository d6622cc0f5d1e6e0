package core

import (
	"github.com/google/uuid"
)

// onHypervisorFinding tells the operator. Nothing follows from it.
func (c *Core) onHypervisorFinding(o HypervisorFinding) {
	e := Event{Kind: o.Kind, Host: c.cfg.Self.Host, VM: o.VM, Text: o.Text, Evidence: o.Evidence}
	if f, i := c.located(o.VM); i != nil {
		e.Datastore, e.Generation = f.ID, i.Generation.Number
	}
	c.journal(e)
}

// located finds what is known of a machine, and on which datastore.
func (c *Core) located(vm uuid.UUID) (*footing, *info) {
	for _, f := range c.footings {
		if i := f.info(vm); i != nil {
			return f, i
		}
	}
	return nil, nil
}
