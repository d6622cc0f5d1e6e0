package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"storebeat/agent/core"
	"storebeat/agent/freeze"
)

// pendingAfter is how long the end of a machine may take before people are told what it waits for.
const pendingAfter = 5 * time.Second

// kill ends a machine once its I/O has returned: what is in the kernel of a
// killed process could reach the disk after the next owner's writes (R12). It is
// frozen first, or it could begin the next write just when it is looked at.
func (ms *machines) kill(m *machine) {
	for since := time.Now(); ; {
		why := unquiet(m.Handle())
		if why == "" {
			break
		}
		if time.Since(since) > pendingAfter {
			ms.tellPending(m, why)
		}
		select {
		case <-m.Done():
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	if err := m.Kill(ctx); err != nil {
		ms.agent.log.Error("can't end the machine; it is tried again", "vm", m.vm, "error", err)
		ms.tellPending(m, err.Error())
		time.AfterFunc(time.Second, func() { ms.kill(m) })
	}
}

// unquiet freezes a machine and says why it may not be killed yet, "" once it is seen frozen
// with no I/O under way.
func unquiet(h freeze.Handle) string {
	if err := h.Freeze(); errors.Is(err, freeze.ErrGone) {
		return ""
	}
	state, err := h.State()
	if err == nil && state == freeze.Gone {
		return ""
	}
	pending := false
	if err == nil && state == freeze.Frozen {
		pending, err = h.IOPending()
	}
	switch {
	case err != nil:
		return "nobody can tell whether its I/O is over: " + err.Error()
	case state != freeze.Frozen:
		return fmt.Sprintf("it is %s, and not frozen yet", state)
	case pending:
		return "its requests to the storage have not returned, and could reach the disk later"
	}
	return ""
}

// tellPending has people know, once, that a machine can't be ended yet.
func (ms *machines) tellPending(m *machine, why string) {
	if m.pending.Swap(&why) != nil {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), startTime)
		defer cancel()
		name := m.vm.String()
		if e, known := ms.agent.entryOf(ctx, m.home, m.vm); known && e.Name != "" {
			name = e.Name
		}
		self, _ := ms.agent.member(ms.agent.self.Host)
		ms.agent.observe(core.HypervisorFinding{VM: m.vm, Kind: "machine-kill-pending",
			Text: fmt.Sprintf("%s is to be ended on %s, and can't be yet; it stands frozen there", name, self.Name), Evidence: []string{why}})
	}()
}
