package hypervisor

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"storebeat/datastorehb"
	"storebeat/poweron"
)

// Spec says which machine to start, under which right, and where.
type Spec struct {
	Cluster       uuid.UUID
	Host          datastorehb.HostID
	VM            uuid.UUID
	Name          string
	Generation    uint64
	Datastore     uuid.UUID // the home datastore
	DatastorePath string    // where the home datastore is mounted
	Others        []Place   // the other datastores that can be used here; nil while that is not known: every name is taken then
	Definition    []byte    // in the driver's own form
	RunDir        string    // local, private to this agent: sockets, records, standard error
	CgroupRoot    string    // cgroup v2 directory to make the machine's own cgroup in; "" means weak freeze
}

// Marker returns what the processes of the machine carry in their environment.
func (s Spec) Marker() Marker {
	return Marker{Cluster: s.Cluster, Host: s.Host, VM: s.VM, Generation: s.Generation, Datastore: s.Datastore}
}

// Driver starts and finds machines of one kind.
type Driver interface {
	// Name is what a machine's entry and configuration call the driver.
	Name() string
	// Validate judges a definition without starting anything. The error names
	// the field, its value and the remedy. Files on the datastore are not
	// looked at: they may be out of reach just now. Of the spec, the definition
	// and the paths of datastores count.
	Validate(spec Spec) error
	// Disks returns the files that a machine of this definition has for itself
	// alone, as absolute paths. They need not exist.
	Disks(spec Spec) ([]string, error)
	// Needs reads in a definition what a machine needs of its host. It looks at nothing
	// but the definition; what it can't read there is left out, for the start to tell.
	Needs(definition []byte) poweron.Needs
	// Capabilities asks the hypervisor, within ctx and the driver's own limit, whether machines
	// can be started here, and what it has of what they need. What can't be told is left out.
	// The result is not changed by anybody.
	Capabilities(ctx context.Context) poweron.DriverState
	// Start brings the machine to life, frozen. ErrLocked in the error's chain
	// means that another process holds one of the machine's disks: retry later,
	// never force (R12).
	Start(ctx context.Context, spec Spec) (Machine, error)
	// Find lists every machine of this driver, host and cluster that has a
	// process, running or frozen.
	Find(ctx context.Context, cluster uuid.UUID, host datastorehb.HostID, runDir string) ([]Found, error)
	// Adopt takes over a machine that Find has reported. It thaws nothing, needs
	// no answer from the machine, and freezes only a newborn one. A machine found without its
	// leading process is over: what is left of it is killed, and Done follows.
	Adopt(ctx context.Context, found Found) (Machine, error)
}

// Pinner is a driver whose definitions may leave open what a host fills in, so
// that another host would fill in something else.
type Pinner interface {
	Driver
	// Pin returns the definition with that written out: as it was before, if it stands
	// for the same still, or as this host has it. It asks the hypervisor that is
	// installed here. before is nil for a machine that had no definition.
	Pin(ctx context.Context, definition, before []byte) ([]byte, error)
}

// Machine is one started or adopted machine.
type Machine interface {
	// Handle says what to freeze and thaw.
	Handle() Handle
	// Shutdown asks the guest to switch itself off and returns once it has been
	// asked; Done tells when it has obeyed, which it need never do.
	Shutdown(ctx context.Context) error
	// Kill ends the machine, frozen or not. It returns nil only once every
	// process of the machine is gone.
	Kill(ctx context.Context) error
	// Done is closed once every process of the machine is gone.
	Done() <-chan struct{}
	// Exit says how the machine ended; it is the zero Exit before Done is closed.
	Exit() Exit
	// Condition says what is known about the machine now, without asking it.
	Condition() Condition
	// Statistics says what the machine has used. It waits for no monitor of a frozen
	// machine: disks are left out then.
	Statistics(ctx context.Context) (Statistics, error)
	// Incidents is where the agent takes from what the hypervisor tells of the guest.
	// All that came before the end are there once Done is closed; it is never closed.
	Incidents() <-chan Incident
}

// Halter is a machine whose guest can be halted through its monitor or daemon, with the clock
// by which the guest's devices count. A freeze from outside does not stop that clock.
// Nothing that must be safe may hang on it.
type Halter interface {
	// Halt halts the guest if it runs. It calls note right before it gives the order, and
	// gives none if note fails. After an error the order may have been heard, or be heard later.
	Halt(ctx context.Context, note func() error) error
	// Resume has the guest go on if it stands still by order. An order of Halt that comes late
	// comes before. Whoever halted the guest is not told apart. Nil means that it goes on, or
	// stands still for another reason.
	Resume(ctx context.Context) error
}

// ExitKind says how a machine ended.
type ExitKind uint8

const (
	// NotEnded is the kind of a machine that has processes still.
	NotEnded ExitKind = iota
	// Crashed means that the machine ended unasked.
	Crashed
	// GuestShutDown means that the guest switched itself off.
	GuestShutDown
	// Killed means that Kill ended it.
	Killed
	// Destroyed means that somebody ended it, or took it away, with the
	// hypervisor's own tools: that is a user's will.
	Destroyed
	// Migrated means that the hypervisor moved the guest to another host, by somebody's order.
	Migrated
)

// String returns the word used in logs.
func (k ExitKind) String() string {
	names := [...]string{"not ended", "crashed", "guest shut down", "killed", "destroyed", "migrated"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("ExitKind(%d)", uint8(k))
}

// Exit is how a machine ended.
type Exit struct {
	Kind   ExitKind
	Detail string // one line for people
}

// String returns kind and detail for logs.
func (e Exit) String() string {
	if e.Detail == "" {
		return e.Kind.String()
	}
	return e.Kind.String() + ": " + e.Detail
}

// MonitorState says whether a machine's monitor answers.
//
//	NoMonitor                (drivers without one)
//	Connecting ──greeting──▶ Answering ──no answer──▶ Silent ──answer──▶ Answering
//
// A frozen machine's monitor is Connecting or Silent; that is no fault.
type MonitorState uint8

const (
	// NoMonitor means that the driver's machines have none.
	NoMonitor MonitorState = iota
	// Connecting means that there is no session with the monitor yet, or any more.
	Connecting
	// Answering means that the monitor answered the newest question.
	Answering
	// Silent means that the newest question has had no answer in time.
	Silent
)

// String returns the word used in logs.
func (s MonitorState) String() string {
	names := [...]string{"none", "connecting", "answering", "silent"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("MonitorState(%d)", uint8(s))
}

// Condition is what a driver knows about a machine without asking it.
type Condition struct {
	Monitor MonitorState
	Guest   string // the monitor's last word on the guest, such as "running", "prelaunch" or "io-error"; may be stale
	Detail  string // why, for people; empty when all is well
}

// Found is one machine that has processes on this computer.
type Found struct {
	Marker
	Driver     string
	RunDir     string
	Handle     Handle   // the leading process, or the oldest one left if that is gone
	Receiving  bool     // by its hypervisor's migration: the guest had not been seen to execute here yet
	Leaderless bool     // the leading process is gone; Handle is a process it left behind
	Newborn    bool     // its start was never completed, so it was never let go; Adopt makes sure that it is frozen
	Others     []Handle // further processes of the machine, oldest first
}

var (
	// ErrLocked means that another process, here or on another host, holds a
	// lock on one of the machine's disks.
	ErrLocked = errors.New("disk is locked by another process")
	// ErrRunning means that this host has a process of the machine already.
	ErrRunning = errors.New("machine has a process on this host already")
	// ErrGone means that the machine has no process any more.
	ErrGone = errors.New("machine has no process any more")
)

// LeftoverError is returned by a failed Start that could not end the process
// it had begun. The process is stopped or dying, and Find reports it.
type LeftoverError struct {
	Handle Handle
	Err    error
}

// Error names the process and the reason for the failed start.
func (e *LeftoverError) Error() string {
	return fmt.Sprintf("%v; process %d is still there: it cannot end before its I/O returns", e.Err, e.Handle.PID)
}

// Unwrap returns the reason for the failed start.
func (e *LeftoverError) Unwrap() error { return e.Err }
