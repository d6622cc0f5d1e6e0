package sim

import (
	"testing"
	"time"
)

func TestClusterComesUpAndStartsItsMachines(t *testing.T) {
	c := newCluster(t, Default())
	if c.allStarts() != 6 {
		c.fatalf("%d starts of 6 machines", c.allStarts())
	}
}

func TestDeadHostsMachinesRunElsewhere(t *testing.T) {
	c := newCluster(t, Default())
	victim := c.others(c.master())[0]
	lost := len(c.on(victim))
	m := c.mark()
	victim.powerOff()
	took := c.settles(6500 * time.Millisecond)
	t.Logf("%d machines run elsewhere after %v", lost, took)
	c.started(m, lost)
}
