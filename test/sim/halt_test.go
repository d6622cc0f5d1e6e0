package sim

import (
	"testing"
	"time"

	"storebeat/poweron"
)

// outage has the storage of all hosts hang for longer than the guests' watchdogs wait, and
// returns how many of them were reset.
func outage(t *testing.T, seed uint64, pause poweron.PauseResponse) int {
	t.Helper()
	s := Default()
	s.Seed, s.Watchdog, s.Policy.Pause = seed, 10*time.Second, pause
	c := newCluster(t, s)
	for _, s := range c.stores {
		c.hang(s)
	}
	c.Run(30 * time.Second)
	if c.counts["lease-lapsed"] == 0 {
		c.fatalf("no lease has lapsed")
	}
	for _, s := range c.stores {
		c.mend(s)
	}
	c.settles(30 * time.Second)
	for _, h := range c.hosts {
		for _, p := range h.processes {
			if p.halt.is {
				c.fatalf("%s is halted still", c.nameOf(p.vm))
			}
		}
	}
	return c.counts["watchdog-reset"]
}

// Guests with a watchdog come through a long freeze if they are halted before, and would
// not otherwise.
func TestWatchdogsDoNotCountThroughAFreeze(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		if n := outage(t, seed+1, poweron.Automatic); n > 0 {
			t.Errorf("seed %d: %d guests were reset by their watchdogs", seed+1, n)
		}
	}
	if n := outage(t, 1, poweron.Freeze); n == 0 {
		t.Error("no watchdog counts where guests are frozen alone: the test proves nothing")
	}
}

// A guest that its agent has halted goes on by the next agent.
func TestHaltedByAnAgentThatDied(t *testing.T) {
	t.Parallel()
	s := Default()
	s.Watchdog = 10 * time.Second
	c := newCluster(t, s)
	h := c.hostOf(1)
	p := h.process(c.vms[0])
	c.hang(p.home)
	if _, ok := c.RunUntil(10*time.Second, func() bool { return p.halt.is }); !ok {
		c.fatalf("it is not halted")
	}
	h.killAgent()
	c.mend(p.home)
	c.Run(200 * time.Millisecond)
	h.startAgent()
	c.settles(time.Minute)
}
