package poweron

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"storebeat/datastorehb"
)

// GenerationKind says whether a generation's holder runs the machine or gave it up.
type GenerationKind uint8

const (
	// Run means that the holder claimed the generation to run the machine.
	Run GenerationKind = 1
	// Released means that the holder of the generation before this one has
	// stopped or frozen the machine for good and runs it no more (R8).
	Released GenerationKind = 2
)

// String returns the kind's name.
func (k GenerationKind) String() string {
	switch k {
	case Run:
		return "run"
	case Released:
		return "released"
	}
	return fmt.Sprintf("GenerationKind(%d)", uint8(k))
}

// ReleaseReason says why an owner gave a machine up.
type ReleaseReason uint8

const (
	// NotReleased stands in generations that are held to run.
	NotReleased ReleaseReason = 0
	// StoppedByUser means that a user asked for it.
	StoppedByUser ReleaseReason = 1
	// GuestShutDown means that the guest switched itself off.
	GuestShutDown ReleaseReason = 2
	// Crashed means that the machine ended unasked and shall start elsewhere.
	Crashed ReleaseReason = 3
	// HostShutdown means that the host was shut down.
	HostShutdown ReleaseReason = 4
	// HandedOver means that another host shall run the machine.
	HandedOver ReleaseReason = 5
	// StartFailed means that the machine could not be started under the generation.
	StartFailed ReleaseReason = 6
	// Isolation means that the holder was isolated and its policy is to give its machines up.
	Isolation ReleaseReason = 7
	// Held means that the machine crashed too often (flap limit) and waits for a user.
	Held ReleaseReason = 8
	// Abandoned means that the holder found the generation in its own name and does not run the machine.
	Abandoned ReleaseReason = 9
)

// String returns the reason's name.
func (r ReleaseReason) String() string {
	names := [...]string{"none", "stopped by user", "guest shut down", "crashed", "host shutdown", "handed over", "start failed", "isolation", "held", "abandoned"}
	if int(r) < len(names) {
		return names[r]
	}
	return fmt.Sprintf("ReleaseReason(%d)", uint8(r))
}

// Generation is the payload of a generation's record.
type Generation struct {
	VM       uuid.UUID
	Number   uint64
	Kind     GenerationKind
	Owner    datastorehb.HostID // the holder
	Term     uint64             // the holder's newest open term on the home datastore when it claimed; what R8 speaks of
	Reason   ReleaseReason
	Entry    uint64 // revision of the protected entry that the holder acted on, 0 while it knew none
	Failures uint32 // crashes and failed starts in a row that led here; a long good run sets it back
	Detail   string // for people, at most datastorehb.MaxReason bytes

	// Holder is the run of the owner's agent that holds the generation, where that is not
	// simply the writer of its record: of a generation that is shared, or that another host left
	// to the owner (R15). Reason then says why the machine has ended, if it has.
	Holder datastorehb.Writer
	// Receiver may run the machine as well: a hypervisor moves it there.
	Receiver Party
}

// Entry is the payload of an entry's record: one machine of the protected list.
type Entry struct {
	VM         uuid.UUID `json:"vm"`
	Name       string    `json:"name"`
	Protected  bool      `json:"protected"` // false: the user took the machine off the list
	Desired    Desired   `json:"desired"`
	Asked      uint64    `json:"asked"` // the revision in which the user last asked for a start; see AskStart
	Policy     Policy    `json:"policy"`
	Driver     string    `json:"driver"`     // name of the hypervisor driver
	Definition []byte    `json:"definition"` // in the driver's own form
	Memory     uint64    `json:"memory"`     // bytes the machine needs on its host
	Rules      Rules     `json:"rules,omitzero"`
}

// Desired is the user's will about a machine.
type Desired string

const (
	// Running means that the machine shall run.
	Running Desired = "running"
	// Stopped means that the machine shall not run; it is never started (I5).
	Stopped Desired = "stopped"
)

// IsolationResponse says what an isolated host does with a machine.
type IsolationResponse string

const (
	// Leave keeps the machine running.
	Leave IsolationResponse = "leave"
	// ShutDown stops the machine gracefully, then releases it.
	ShutDown IsolationResponse = "shut down"
	// PowerOff stops the machine at once, then releases it.
	PowerOff IsolationResponse = "power off"
)

// Policy is how a machine wants to be treated.
type Policy struct {
	Priority        int                   `json:"priority"` // 1 starts first … 5 last; 3 is the default
	Restart         bool                  `json:"restart"`  // false: never started again on its own
	Isolation       IsolationResponse     `json:"isolation"`
	Attempts        int                   `json:"attempts"`  // restarts on the spot before the machine moves
	Limit           int                   `json:"limit"`     // failures in a row after which it is held
	Window          time.Duration         `json:"window"`    // a run longer than this sets the failures back, in nanoseconds
	StopTime        time.Duration         `json:"stop_time"` // for a graceful stop, in nanoseconds
	OnGuestShutDown GuestShutDownResponse `json:"on_guest_shut_down"`
	OnHostShutdown  HostShutdownResponse  `json:"on_host_shutdown,omitzero"`
	RebootWait      time.Duration         `json:"reboot_wait,omitzero"` // for WaitForReboot, in nanoseconds
	Pause           PauseResponse         `json:"pause,omitzero"`
}

// PauseResponse says how a machine is stopped when its host's proof of life runs out.
type PauseResponse string

const (
	// Automatic stops guests with an emulated watchdog by StopThenFreeze, and all others by
	// Freeze. It is not written into entries: one that says nothing means the same.
	Automatic PauseResponse = "auto"
	// Freeze stops the process from outside and nothing else. To the guest its clock
	// has jumped afterwards.
	Freeze PauseResponse = "freeze"
	// StopThenFreeze has the hypervisor stop the guest with its clock just before, if it answers in
	// time, so that what the guest counts, such as an emulated watchdog, stands still as well.
	StopThenFreeze PauseResponse = "stop then freeze"
)

// IsZero reports whether a machine's pause goes without saying.
func (p PauseResponse) IsZero() bool { return p == "" || p == Automatic }

// GuestShutDownResponse says what happens when the guest switches itself off.
type GuestShutDownResponse string

const (
	// StayOff takes it for the user's will.
	StayOff GuestShutDownResponse = "stay off"
	// StartAgain treats it like a crash.
	StartAgain GuestShutDownResponse = "start again"
)

// HostShutdownResponse says what becomes of a machine when its host shuts down or
// reboots in good order. The machine is stopped and released whatever it says.
type HostShutdownResponse string

const (
	// RestartElsewhere has it started on another host at once. An entry that says
	// nothing means the same.
	RestartElsewhere HostShutdownResponse = "restart elsewhere"
	// WaitForReboot keeps it for its host for a while, and has it started elsewhere
	// if the host is not back by then.
	WaitForReboot HostShutdownResponse = "wait"
	// LeaveOff keeps it for its host until that is back or a user asks for a start.
	LeaveOff HostShutdownResponse = "leave off"
)

// List is one host's power-on list on one datastore.
type List struct {
	Writer   datastorehb.Writer
	Revision uint64 // grows with every write
	Term     uint64 // the writer's newest open term on the datastore
	Isolated bool
	Machines []Listed // sorted by VM
}

// Listed is one machine of a power-on list.
type Listed struct {
	VM         uuid.UUID
	Generation uint64
	Frozen     bool
}
