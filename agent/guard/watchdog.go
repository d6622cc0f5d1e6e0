package guard

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"storebeat/datastorehb"
)

// watchdog is a kernel watchdog device: unless it is written to in time, it
// resets the computer. A nil watchdog is none.
type watchdog struct {
	device *os.File
	fed    datastorehb.Instant
	ever   bool
	// ahead is for how long from now on a machine must be proven for the watchdog to
	// be fed. Whenever the guard dies, the computer is reset within the takeover time
	// after the last proof.
	ahead time.Duration
}

// WatchdogTimes returns after how long unfed a watchdog is to reset the computer, half
// the takeover time in the whole seconds that the kernel knows, and for how long from
// now on a machine must be proven (Keeper.Safe) for the watchdog to be fed (R11).
//
// A machine that is proven until p was proven last at p - lease, and may run elsewhere
// from p - lease + takeover on. So what is written at t is good until t + resets
// if p is at least t + resets - (takeover - lease); clocks differ, so the margin
// of R9 is added. Frozen machines need no proof, so a lease that runs out resets
// nothing: the guard freezes within takeover - lease - margin, and feeds again in time.
func WatchdogTimes(lease, takeover time.Duration) (resets, ahead time.Duration) {
	resets = max(time.Second, (takeover / 2).Truncate(time.Second))
	return resets, max(0, resets-(takeover-lease)+datastorehb.Epsilon(takeover))
}

// limit has the device reset the computer soon enough (R11).
//
// A device that does not do it is used as it is, and the error says what that means.
func (w *watchdog) limit(lease, takeover time.Duration) error {
	if w == nil || lease == 0 || takeover == 0 {
		return nil
	}
	want, ahead := WatchdogTimes(lease, takeover)
	setErr := unix.IoctlSetPointerInt(int(w.device.Fd()), unix.WDIOC_SETTIMEOUT, int(want/time.Second))
	seconds, err := unix.IoctlGetInt(int(w.device.Fd()), unix.WDIOC_GETTIMEOUT)
	if err != nil {
		return fmt.Errorf("set the watchdog's time to %v: %w: nobody knows when it resets the computer; give a watchdog device", want, errors.Join(setErr, err))
	}
	if is := time.Duration(seconds) * time.Second; is > want {
		return fmt.Errorf("the watchdog resets the computer only after %v, not after %v: if agent and guard die together, machines may be started elsewhere before that; "+
			"choose another device, or a longer takeover time (%w)", is, want, cmp.Or(setErr, errors.New("the device accepts no other time")))
	}
	w.ahead = ahead
	return nil
}

// openWatchdog arms the device, by opening it. An empty path is no watchdog.
func openWatchdog(path string) (*watchdog, error) {
	if path == "" {
		return nil, nil
	}
	device, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("open watchdog: %w; correct the setting, load the device's driver, or do without", err)
	}
	return &watchdog{device: device}, nil
}

// feed writes to the device, at most once a period.
func (w *watchdog) feed(now datastorehb.Instant, period time.Duration) error {
	if w.ever && now.Sub(w.fed) < period {
		return nil
	}
	w.fed, w.ever = now, true
	if _, err := w.device.Write([]byte{0}); err != nil {
		return fmt.Errorf("feed watchdog: %w", err)
	}
	return nil
}

// lastFed returns when the device was written to last, 0 without one.
func (w *watchdog) lastFed() datastorehb.Instant {
	if w == nil {
		return 0
	}
	return w.fed
}

// disarm writes the letter that lets the device be closed without a reset.
// Without it, closing leaves it armed.
func (w *watchdog) disarm() error {
	if w == nil {
		return nil
	}
	if _, err := w.device.WriteString("V"); err != nil {
		return fmt.Errorf("disarm watchdog: %w", err)
	}
	if err := w.device.Close(); err != nil {
		return fmt.Errorf("disarm watchdog: %w", err)
	}
	return nil
}
