package qemu

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/leader"
	"storebeat/agent/hypervisor/qmp"
)

const (
	// prelaunch is the state of a guest that has never been let run.
	prelaunch = "prelaunch"
	// ioError is the state of a guest that was stopped because its disk failed.
	ioError = "io-error"
	// paused is the state of a guest that somebody has stopped.
	paused = "paused"
)

const (
	// askLimit is how long an answer may take before the monitor counts as silent.
	askLimit = 2 * time.Second
	// askEvery is the time between two questions, to notice a monitor that hangs.
	askEvery = 5 * time.Second
	// shutdownLimit bounds Shutdown when its context has no deadline.
	shutdownLimit = 5 * time.Second
	// retryPause is the time between two attempts to reach the monitor.
	retryPause = 100 * time.Millisecond
	// lastWords is how long the events of a QEMU that has ended are waited for.
	lastWords = time.Second
)

// machine is one QEMU process. Handle, Kill, Done and Exit are the process's own.
type machine struct {
	*leader.Process
	at places

	mu        sync.Mutex
	session   *qmp.Session // nil while there is none
	condition hypervisor.Condition
	over      string           // the guest's last state when it has ended inside QEMU
	fate      *hypervisor.Exit // why QEMU is about to end by itself, nil while nobody has said so
	trouble   trouble
	halted    bool // a pause of the guest is the agent's doing
	told      map[hypervisor.IncidentKind]telling
	changed   chan struct{}
}

func newMachine(at places) *machine {
	return &machine{
		at:        at,
		condition: hypervisor.Condition{Monitor: hypervisor.Connecting},
		told:      map[hypervisor.IncidentKind]telling{},
		changed:   make(chan struct{}, 1),
	}
}

// Condition says what the monitor said last.
func (m *machine) Condition() hypervisor.Condition {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.condition
}

// Shutdown asks the guest's agent, if it has one that answers, and presses the guest's
// power button otherwise.
func (m *machine) Shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, shutdownLimit)
	defer cancel()
	m.mu.Lock()
	session := m.session
	m.mu.Unlock()
	if session == nil {
		return fmt.Errorf("ask the guest in process %d to shut down: its monitor can't be reached; a frozen machine can't be asked", m.Handle().PID)
	}
	refusal := powerDown(ctx, m.at.agent)
	if refusal == nil {
		return nil
	}
	if err := session.Execute(ctx, "system_powerdown", nil, nil); err != nil {
		return errors.Join(err, refusal)
	}
	return nil
}

// judge says what the end of QEMU means, unless the guest's own end came first. What
// QEMU said last may not have been heard yet.
func (m *machine) judge(e leader.Ending) hypervisor.Exit {
	m.mu.Lock()
	session := m.session
	m.mu.Unlock()
	if session != nil {
		select {
		case <-session.Ended():
		case <-time.After(lastWords):
		}
	}
	m.mu.Lock()
	fate := m.fate
	m.mu.Unlock()
	if fate != nil {
		return *fate
	}
	detail := "QEMU " + e.String()
	if said := m.at.said(); said != "" {
		detail += ": " + said
	}
	return hypervisor.Exit{Kind: hypervisor.Crashed, Detail: detail}
}

// askSoon wakes the conversation.
func (m *machine) askSoon() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// lost notes that the monitor can't be talked to.
func (m *machine) lost(state hypervisor.MonitorState, detail string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.condition.Monitor, m.condition.Detail = state, detail
}
