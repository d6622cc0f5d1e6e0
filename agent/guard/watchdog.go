package guard

import (
	"fmt"
	"os"
	"time"

	"storebeat/datastorehb"
)

// watchdog is a kernel watchdog device: unless it is written to in time, it
// resets the computer. A nil watchdog is none.
type watchdog struct {
	device *os.File
	fed    datastorehb.Instant
	ever   bool
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
