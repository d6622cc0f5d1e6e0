package qemu

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"storebeat/agent/hypervisor"
	"storebeat/agent/hypervisor/qmp"
)

// facts are the members of events that say something to people.
type facts struct {
	Guest     bool   `json:"guest"`
	Reason    string `json:"reason"`
	Action    string `json:"action"`
	Node      string `json:"node-name"`
	Operation string `json:"operation"`
	NoSpace   bool   `json:"nospace"`
	Device    string `json:"device"`
	Path      string `json:"path"`
	Error     string `json:"error"`
	Type      string `json:"type"`
	Recipient string `json:"recipient"`
}

// hear takes QEMU's events. It runs on the session's reading goroutine.
func (m *machine) hear(e qmp.Event) {
	var f facts
	if len(e.Data) > 0 && json.Unmarshal(e.Data, &f) != nil {
		return
	}
	switch e.Name {
	case "SHUTDOWN":
		m.heardShutdown(f)
	case "GUEST_PANICKED":
		m.guestIs("guest-panicked")
	case "WATCHDOG":
		m.tell(hypervisor.GuestWatchdog, "its watchdog does what it is told to do then: "+f.Action)
		m.askSoon()
	case "BLOCK_IO_ERROR":
		m.heardIOError(f)
	case "RESET":
		m.tell(hypervisor.GuestReset, f.Reason)
		m.askSoon()
	case "STOP", "RESUME":
		m.askSoon()
	default:
		m.heardForPeople(e.Name, f)
	}
}

// heardForPeople takes events that change nothing.
func (m *machine) heardForPeople(event string, f facts) {
	switch event {
	case "GUEST_CRASHLOADED":
		m.tell(hypervisor.GuestCrashKernel, "")
	case "BLOCK_JOB_ERROR":
		m.tell(hypervisor.GuestJobFailed, fmt.Sprintf("a %s of job %s failed", f.Operation, f.Device))
	case "BLOCK_JOB_COMPLETED":
		if f.Error != "" {
			m.tell(hypervisor.GuestJobFailed, fmt.Sprintf("%s %s: %s", f.Type, f.Device, f.Error))
		}
	case "DEVICE_DELETED":
		if f.Device != "" { // else it is part of one that has a name
			m.tell(hypervisor.GuestDeviceRemoved, f.Device)
		}
	case "MEMORY_FAILURE":
		m.tell(hypervisor.GuestMemoryFailed, fmt.Sprintf("met by the %s, which does: %s", f.Recipient, f.Action))
	}
}

// heardShutdown tells a guest that switched itself off from a QEMU that was
// told to end from outside; that one ends by itself.
func (m *machine) heardShutdown(f facts) {
	switch {
	case f.Guest && f.Reason == "guest-panic":
		m.guestIs("guest-panicked")
	case f.Guest:
		m.guestIs("shutdown")
	case f.Reason == "host-qmp-quit":
		m.setFate(hypervisor.Exit{Kind: hypervisor.Destroyed, Detail: "a user of QEMU's monitor ended it (quit)"})
	case f.Reason == "host-ui":
		m.setFate(hypervisor.Exit{Kind: hypervisor.Destroyed, Detail: "a user closed QEMU's window"})
	case f.Reason == "host-signal":
		m.setFate(hypervisor.Exit{Kind: hypervisor.Crashed, Detail: "QEMU was told to end by a signal"})
	}
}

// setFate notes why QEMU is about to end by itself.
func (m *machine) setFate(exit hypervisor.Exit) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fate = &exit
}

func (m *machine) heardIOError(f facts) {
	if f.Operation == "" {
		return
	}
	detail := fmt.Sprintf("%s of %s failed: %s", f.Operation, firstOf(f.Node, f.Device), f.Reason)
	m.mu.Lock()
	m.condition.Detail = detail
	m.trouble.last, m.trouble.full = time.Now(), f.NoSpace
	first := !m.trouble.told && f.Action == "stop"
	m.trouble.told = m.trouble.told || first
	m.mu.Unlock()
	if first {
		m.Tell(hypervisor.GuestDiskFailed, detail)
	}
	m.askSoon()
}

func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

// guestIs takes down the guest's state. A state that is an end names the
// machine's end, and the conversation then closes QEMU.
func (m *machine) guestIs(state string) {
	m.mu.Lock()
	before := m.condition.Guest
	m.condition.Monitor = hypervisor.Answering
	m.condition.Guest = state
	recovered := false
	if state == "running" {
		m.condition.Detail = ""
		recovered = m.recovered()
	}
	ours := m.halted
	if before == paused && state != paused {
		m.halted = false
	}
	m.mu.Unlock()
	switch {
	case recovered:
		m.Tell(hypervisor.GuestDiskRecovered, "")
	case ours:
	case state == paused && before == "running":
		m.tell(hypervisor.GuestPaused, "")
	case state == "running" && before == paused:
		m.tell(hypervisor.GuestResumed, "")
	}
	if end, is := ends[state]; is {
		m.isOver(state, end)
	}
}

// isOver notes that the guest has ended inside QEMU.
func (m *machine) isOver(state string, end hypervisor.Exit) {
	m.Because(end)
	m.mu.Lock()
	first := m.over == ""
	m.over = state
	m.mu.Unlock()
	if first && state == "guest-panicked" {
		m.Tell(hypervisor.GuestPanicked, "")
	}
	m.askSoon()
}

// ends are the states from which a guest does not come back by itself.
var ends = map[string]hypervisor.Exit{
	"shutdown":       {Kind: hypervisor.GuestShutDown, Detail: "the guest switched itself off"},
	"guest-panicked": {Kind: hypervisor.Crashed, Detail: "the guest panicked"},
	"watchdog":       {Kind: hypervisor.Crashed, Detail: "the guest did not feed its watchdog"},
	"internal-error": {Kind: hypervisor.Crashed, Detail: "QEMU met an internal error and stopped the guest"},
}

// tellEvery is how often one kind of incident is told: a guest that is reset over
// and over would fill the journal.
const tellEvery = 10 * time.Second

// telling is when a kind of incident was told last, and how often it has been held
// back since.
type telling struct {
	at   time.Time
	more int
}

// tell reports an incident, unless one of its kind was reported just now.
func (m *machine) tell(kind hypervisor.IncidentKind, detail string) {
	m.mu.Lock()
	t := m.told[kind]
	if time.Since(t.at) < tellEvery {
		t.more++
		m.told[kind] = t
		m.mu.Unlock()
		return
	}
	m.told[kind] = telling{at: time.Now()}
	m.mu.Unlock()
	if t.more > 0 {
		detail = strings.TrimPrefix(fmt.Sprintf("%s; it happened %d times more since it was told last", detail, t.more), "; ")
	}
	m.Tell(kind, detail)
}
