package sim

import (
	"time"

	"storebeat/datastorehb"
)

// bootClock is the boot-time clock of one boot of one host. Its origin and rate
// are its own.
type bootClock struct {
	base  time.Duration       // when the host booted
	start datastorehb.Instant // what the clock read then
	ppm   int64               // by how many parts in a million it is fast
}

// read returns what the clock reads at an instant of virtual time.
func (c bootClock) read(at time.Duration) datastorehb.Instant {
	d := int64(at - c.base)
	return c.start + datastorehb.Instant(d+d/1_000_000*c.ppm+d%1_000_000*c.ppm/1_000_000)
}

// when returns the first instant of virtual time at which the clock reads t or more.
func (c bootClock) when(t datastorehb.Instant) time.Duration {
	d := int64(t - c.start)
	at := c.base + time.Duration(float64(d)/(1+float64(c.ppm)/1e6))
	for c.read(at) < t {
		at += 2
	}
	for c.read(at-1) >= t {
		at--
	}
	return at
}
