package freeze

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// pendingSignals reads the signals that wait for a process as a whole.
func pendingSignals(pid int) (uint64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("read pending signals of process %d: %w", pid, err)
	}
	return parsePending(string(text))
}

// parsePending finds the line ShdPnd of a status file, a hexadecimal mask.
func parsePending(status string) (uint64, error) {
	for line := range strings.Lines(status) {
		if mask, ok := strings.CutPrefix(line, "ShdPnd:"); ok {
			pending, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
			if err != nil {
				return 0, fmt.Errorf("pending signals %.40q are no hexadecimal mask", mask)
			}
			return pending, nil
		}
	}
	return 0, fmt.Errorf("status of process has no line ShdPnd")
}
