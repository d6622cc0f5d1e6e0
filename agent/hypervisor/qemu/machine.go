package qemu

import (
	"context"
	"encoding/json"
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
)

// machine is one QEMU process. Handle, Kill, Done and Exit are the process's own.
type machine struct {
	*leader.Process
	at places

	mu        sync.Mutex
	session   *qmp.Session // nil while there is none
	condition hypervisor.Condition
	over      string // the guest's last state when it has ended inside QEMU
	trouble   trouble
	changed   chan struct{}
}

func newMachine(at places) *machine {
	return &machine{
		at:        at,
		condition: hypervisor.Condition{Monitor: hypervisor.Connecting},
		changed:   make(chan struct{}, 1),
	}
}

// Condition says what the monitor said last.
func (m *machine) Condition() hypervisor.Condition {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.condition
}

// Shutdown presses the guest's power button.
func (m *machine) Shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, shutdownLimit)
	defer cancel()
	m.mu.Lock()
	session := m.session
	m.mu.Unlock()
	if session == nil {
		return fmt.Errorf("ask the guest in process %d to shut down: its monitor can't be reached; a frozen machine can't be asked", m.Handle().PID)
	}
	return session.Execute(ctx, "system_powerdown", nil, nil)
}

// judge says what the end of QEMU means, unless the guest's own end came first.
func (m *machine) judge(e leader.Ending) hypervisor.Exit {
	detail := "QEMU " + e.String()
	if said := m.at.said(); said != "" {
		detail += ": " + said
	}
	return hypervisor.Exit{Kind: hypervisor.Crashed, Detail: detail}
}

// hear takes QEMU's events. It runs on the session's reading goroutine.
func (m *machine) hear(e qmp.Event) {
	switch e.Name {
	case "SHUTDOWN":
		m.heardShutdown(e.Data)
	case "GUEST_PANICKED":
		m.guestIs("guest-panicked")
	case "BLOCK_IO_ERROR":
		m.heardIOError(e.Data)
	case "STOP", "RESUME", "RESET", "WATCHDOG":
		m.askSoon()
	}
}

// heardShutdown tells a guest that switched itself off from a QEMU that was
// told to end from outside; that one ends by itself.
func (m *machine) heardShutdown(data json.RawMessage) {
	var why struct {
		Guest  bool   `json:"guest"`
		Reason string `json:"reason"`
	}
	if json.Unmarshal(data, &why) != nil || !why.Guest {
		return
	}
	if why.Reason == "guest-panic" {
		m.guestIs("guest-panicked")
		return
	}
	m.guestIs("shutdown")
}

func (m *machine) heardIOError(data json.RawMessage) {
	var why struct {
		Node      string `json:"node-name"`
		Operation string `json:"operation"`
		Reason    string `json:"reason"`
		NoSpace   bool   `json:"nospace"`
	}
	if json.Unmarshal(data, &why) != nil {
		return
	}
	m.mu.Lock()
	m.condition.Detail = fmt.Sprintf("%s of %s failed: %s", why.Operation, why.Node, why.Reason)
	m.trouble.last, m.trouble.full = time.Now(), why.NoSpace
	m.mu.Unlock()
	m.askSoon()
}

// guestIs takes down the guest's state. A state that is an end names the
// machine's end, and the conversation then closes QEMU.
func (m *machine) guestIs(state string) {
	m.mu.Lock()
	m.condition.Monitor = hypervisor.Answering
	m.condition.Guest = state
	if state == "running" {
		m.condition.Detail = ""
		m.recovered()
	}
	m.mu.Unlock()
	end, over := ends[state]
	if !over {
		return
	}
	m.Because(end)
	m.mu.Lock()
	m.over = state
	m.mu.Unlock()
	m.askSoon()
}

// ends are the states from which a guest does not come back by itself.
var ends = map[string]hypervisor.Exit{
	"shutdown":       {Kind: hypervisor.GuestShutDown, Detail: "the guest switched itself off"},
	"guest-panicked": {Kind: hypervisor.Crashed, Detail: "the guest panicked"},
	"internal-error": {Kind: hypervisor.Crashed, Detail: "QEMU met an internal error and stopped the guest"},
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
