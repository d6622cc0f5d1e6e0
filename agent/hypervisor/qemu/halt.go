package qemu

import (
	"context"
	"errors"

	"storebeat/agent/hypervisor/qmp"
)

// errUnreachable means that the monitor has no session just now.
var errUnreachable = errors.New("its monitor can't be reached")

func (m *machine) reachable() (*qmp.Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.session == nil {
		return nil, errUnreachable
	}
	return m.session, nil
}

// Halt stops the guest's processors and its clock. QEMU does so before it waits for
// requests to disks, so an order that is not answered in time has mostly been heard.
func (m *machine) Halt(ctx context.Context, note func() error) error {
	session, err := m.reachable()
	if err != nil {
		return err
	}
	state, err := status(ctx, session)
	if err != nil || state != "running" {
		return err
	}
	if err := note(); err != nil {
		return err
	}
	m.setHalted(true)
	return session.Execute(ctx, "stop", nil, nil)
}

// Resume has the guest go on that Halt has stopped. The monitor hears one order after the
// other, so one to stop that is late comes before the question.
func (m *machine) Resume(ctx context.Context) error {
	session, err := m.reachable()
	if err != nil {
		return err
	}
	m.setHalted(true)
	state, err := status(ctx, session)
	if err != nil {
		return err
	}
	if state != paused { // It runs, or stands still for a reason of its own.
		m.setHalted(false)
		return nil
	}
	return session.Execute(ctx, "cont", nil, nil)
}

// setHalted notes that a pause of the guest is the agent's doing, of which nobody need be told.
func (m *machine) setHalted(halted bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.halted = halted
}
