package e2e

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"storebeat/agent/core"
	"storebeat/agent/demo/cluster"
)

// TestReload changes the configuration of a running agent.
func TestReload(t *testing.T) {
	t.Parallel()
	l := newLab(t, cluster.Options{Profile: "default", Datastores: 1})
	l.protect(1, "process")
	h := l.owner(l.machines[0])
	runs, from := l.runs(), time.Now()
	good, err := os.ReadFile(h.Config)
	l.do(err)

	l.do(os.WriteFile(h.Config, bytes.ReplaceAll(good, []byte(`memory = "1 GiB"`), []byte(`memory = "2 GiB"`)), 0o644))
	l.awaitMemory(h, 2<<30)

	l.do(os.WriteFile(h.Config, []byte("cluster {\n  name = \"half a fi"), 0o644))
	l.awaitLog(h, h.Config)
	l.expectMemory(h, 2<<30)

	changed := strings.NewReplacer(`memory = "1 GiB"`, `memory = "3 GiB"`, `profile = "default"`, `profile = "relaxed"`).Replace(string(good))
	l.do(os.WriteFile(h.Config, []byte(changed), 0o644))
	l.awaitMemory(h, 3<<30)
	l.awaitLog(h, "timing")
	v, err := h.View(l.ctx, true)
	l.do(err)
	if v.Timing.Lease.Seconds() != 4 {
		t.Errorf("the lease is %v: it must not change before the next start", v.Timing.Lease)
	}
	l.refuse(h, from, disturbances...)
	l.expectRuns(runs)
}

func memoryOf(v core.View) uint64 {
	for _, h := range v.Hosts {
		if h.ID == v.Host {
			return h.MemoryTotal
		}
	}
	return 0
}

func (l *lab) awaitMemory(h *cluster.Host, bytes uint64) {
	l.Helper()
	l.await("the change to be applied", func() (bool, string) {
		v, err := h.View(l.ctx, true)
		return err == nil && memoryOf(v) == bytes, "it is not"
	})
}

func (l *lab) expectMemory(h *cluster.Host, bytes uint64) {
	l.Helper()
	v, err := h.View(l.ctx, true)
	l.do(err)
	if got := memoryOf(v); got != bytes {
		l.Errorf("%s may use %d bytes, not %d", h.Name, got, bytes)
	}
}

// awaitLog waits until the configuration's part of the log says something.
func (l *lab) awaitLog(h *cluster.Host, words string) {
	l.Helper()
	l.await("the log to name "+words, func() (bool, string) {
		log, err := os.ReadFile(h.Log())
		l.do(err)
		for line := range strings.Lines(string(log)) {
			if strings.Contains(line, ".config") && strings.Contains(line, words) {
				return true, ""
			}
		}
		return false, "it does not"
	})
}
