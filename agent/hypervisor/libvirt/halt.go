package libvirt

import (
	"context"
	"encoding/json"
	"fmt"
)

// Halt suspends the domain. What libvirtd or QEMU do not answer in time may come late:
// the order waits in libvirtd for the domain.
func (m *machine) Halt(ctx context.Context, note func() error) error {
	s, err := m.driver.virsh.state(ctx, m.vm)
	if err != nil || s.word != "running" {
		return err
	}
	if err := note(); err != nil {
		return err
	}
	m.setHalted(true)
	_, err = m.driver.virsh.call(ctx, "suspend", m.vm.String())
	return err
}

// Resume has the domain go on. It asks QEMU itself, in turn with all other orders for the
// domain, and so after a suspend that is late; what libvirtd remembers may be older.
func (m *machine) Resume(ctx context.Context) error {
	m.setHalted(true)
	status, err := m.guestStatus(ctx)
	if err == nil && status == paused {
		_, err = m.driver.virsh.call(ctx, "resume", m.vm.String())
	}
	if err == nil {
		m.setHalted(false)
	}
	return err
}

// setHalted notes that a pause of the guest is the agent's doing, of which nobody need be told.
func (m *machine) setHalted(halted bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.halted = halted
}

// guestStatus asks QEMU for the state of the guest.
func (m *machine) guestStatus(ctx context.Context) (string, error) {
	out, err := m.driver.virsh.call(ctx, "qemu-monitor-command", m.vm.String(), `{"execute":"query-status"}`)
	if err != nil {
		return "", err
	}
	var answer struct {
		Return struct {
			Status string `json:"status"`
		} `json:"return"`
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return "", fmt.Errorf("status of machine %s: %w", m.vm, err)
	}
	return answer.Return.Status, nil
}
