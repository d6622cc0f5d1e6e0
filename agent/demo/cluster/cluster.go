package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"storebeat/agent/core"
)

// Start starts every host's agent.
func (c *Cluster) Start() error {
	for _, h := range c.Hosts {
		if err := h.Start(); err != nil {
			return err
		}
	}
	return nil
}

// End stops everything that is still there. It goes on after errors and returns them all.
func (c *Cluster) End(ctx context.Context) error {
	var errs []error
	for _, h := range c.Hosts {
		errs = append(errs, h.End(ctx))
	}
	return errors.Join(errs...)
}

// Up lists the hosts whose agents run.
func (c *Cluster) Up() (up []*Host) {
	for _, h := range c.Hosts {
		if h.Up() {
			up = append(up, h)
		}
	}
	return up
}

// Await polls until a condition holds, and says what it waited for if it does not.
func Await(ctx context.Context, limit time.Duration, what string, ok func() (done bool, state string)) error {
	deadline := time.Now().Add(limit)
	for {
		done, state := ok()
		if done {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %v for %s: %s", limit, what, state)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Settled reports whether one master sees every running host live and so many
// machines running, and all there are.
func (c *Cluster) Settled(ctx context.Context, machines int) (bool, string) {
	masters := 0
	for _, h := range c.Up() {
		v, err := h.View(ctx, true)
		if err != nil {
			return false, fmt.Sprintf("%s does not answer yet: %v", h.Name, err)
		}
		if v.Leading {
			masters++
			if ok, why := c.mastered(v, machines); !ok {
				return false, why
			}
		} else if v.Master == 0 {
			return false, h.Name + " has no master yet"
		}
	}
	return masters == 1, fmt.Sprintf("there are %d masters", masters)
}

func (c *Cluster) mastered(v core.View, machines int) (bool, string) {
	for _, s := range v.Hosts {
		if s.State != "live" && slices.ContainsFunc(c.Up(), func(h *Host) bool { return h.ID == s.ID }) {
			return false, fmt.Sprintf("%s is %s", s.Name, s.State)
		}
	}
	for _, d := range v.Datastores {
		if d.Heartbeat && d.Phase != "held" { // on others it needs none before it runs machines there
			return false, fmt.Sprintf("the master's term on %s is %s", d.Name, d.Phase)
		}
	}
	running := 0
	for _, m := range v.Machines {
		if m.State != "running" {
			return false, fmt.Sprintf("%s is %s: %s", m.Name, m.State, m.Why)
		}
		running++
	}
	return running == machines, fmt.Sprintf("%d of %d machines run", running, machines)
}
