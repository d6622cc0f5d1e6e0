package clock

import (
	"golang.org/x/sys/unix"

	"storebeat/datastorehb"
)

// Now reads CLOCK_BOOTTIME.
func Now() datastorehb.Instant {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		// The clock exists on every Linux since 2.6.39 and the call has no other
		// way to fail. Without it no lease can be reckoned, so going on is worse.
		panic("reading CLOCK_BOOTTIME: " + err.Error())
	}
	return datastorehb.Instant(ts.Nano())
}
