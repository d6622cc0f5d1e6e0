package sim

import "time"

// epoch is what every wall clock shows at first.
var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// wall is what the host's wall clock shows. The shell stamps the journal with it,
// for people. The core is never told: it has no field for it (R13).
func (h *host) wall() time.Time { return epoch.Add(h.w.now + h.walled) }

// jump sets a host's wall clock forward, or back.
func (h *host) jump(by time.Duration) {
	h.w.note(h.name, "its wall clock jumps by %v", by)
	h.walled += by
}
