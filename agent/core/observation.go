package core

import (
	"time"

	"github.com/google/uuid"

	"storebeat/agent/core/cluster"
	"storebeat/datastorehb"
	"storebeat/partition"
	"storebeat/poweron"
)

// Observation is something the shell has seen.
type Observation interface{ observation() }

// Tick says only that time has passed. The shell gives one at Core.Wake at the latest.
type Tick struct{}

// Span says when an operation on a datastore was issued and when it had
// returned. Err is empty on success.
type Span struct {
	Datastore uuid.UUID
	Issued    datastorehb.Instant
	Returned  datastorehb.Instant
	Err       string
}

// DatastoreState reports that a datastore could be opened, or can't be used.
type DatastoreState struct {
	Datastore uuid.UUID
	Available bool
	Why       string // when not available
	Replaced  bool   // it is another datastore, or an older state of this one (R14)
	Revision  uint64 // of the own power-on list found there
	Device    Device
}

// SlotWritten is the result of WriteSlot.
type SlotWritten struct {
	Span
	Sequence uint64
}

// RegionRead is the result of ReadRegion.
type RegionRead struct {
	Span
	Full  bool
	Slots []datastorehb.SlotReading
}

// TermsRead is the result of ReadTerms.
type TermsRead struct {
	Span
	Host   datastorehb.HostID
	State  datastorehb.ReadState // Absent: the host never had a term here
	Term   datastorehb.Term
	Writer datastorehb.Writer // who claimed it
}

// TermClaimed is the result of ClaimTerm.
type TermClaimed struct {
	Span
	Term    datastorehb.Term
	Outcome datastorehb.Outcome
}

// GenerationClaimed is the result of ClaimGeneration.
type GenerationClaimed struct {
	Span
	Generation poweron.Generation
	Outcome    datastorehb.Outcome
}

// EntryClaimed is the result of ClaimEntry.
type EntryClaimed struct {
	Span
	Revision uint64
	Entry    poweron.Entry
	Needs    poweron.Needs // of the entry, see MachineState
	Outcome  datastorehb.Outcome
}

// MachineState is what a datastore says of one machine.
type MachineState struct {
	GenerationState datastorehb.ReadState // Absent: never run
	Generation      poweron.Generation
	GenerationBy    datastorehb.Writer
	EntryState      datastorehb.ReadState
	Entry           poweron.Entry
	Revision        uint64        // of the entry
	Needs           poweron.Needs // what the entry's driver reads in its definition; zero when it can't be told
}

// MachineRead is the result of ReadMachine.
type MachineRead struct {
	Span
	VM      uuid.UUID
	Purpose ReadPurpose
	Machine MachineState
}

// CatalogueRead is the result of ReadCatalogue.
type CatalogueRead struct {
	Span
	Machines map[uuid.UUID]MachineState
}

// ListRead is the result of ReadList.
type ListRead struct {
	Span
	Host  datastorehb.HostID
	State datastorehb.ReadState
	List  poweron.List
}

// ListWritten is the result of PublishList. It is observed before the effects
// that hung on the write are carried out.
type ListWritten struct {
	Span
	Revision uint64
}

// RecordRead is the result of ReadRecord.
type RecordRead struct {
	Span
	State   datastorehb.ReadState // Absent: the datastore holds no revision yet
	Record  *cluster.Record
	Payload []byte
	Newer   bool // it is of a feature level that this program does not know
}

// RecordClaimed is the result of ClaimRecord.
type RecordClaimed struct {
	Span
	Record  *cluster.Record
	Payload []byte
	Outcome datastorehb.Outcome
}

// WallClock tells the time of day. The shell gives one every few seconds. It
// decides nothing but when a pause that a user gave an end to is over.
type WallClock struct{ At time.Time }

// HeartbeatReceived is an authentic network heartbeat for this host.
type HeartbeatReceived struct{ Packet partition.Packet }

// Received is a message of another agent.
type Received struct {
	From    datastorehb.HostID
	Message Message
}

// PingAnswered is the answer to a Ping.
type PingAnswered struct {
	Address string
	Host    datastorehb.HostID
}

// GuardFrozen reports that every machine of a datastore is seen frozen.
type GuardFrozen struct {
	Datastore uuid.UUID
	Term      uint64
	Took      time.Duration
}

// GuardRefused reports that the guard did not take a lease.
type GuardRefused struct {
	Datastore uuid.UUID
	Term      uint64
	Why       string
}

// GuardCustodyDone is the result of GuardCustody.
type GuardCustodyDone struct {
	Datastore uuid.UUID
	Term      uint64
	Begun     bool                // it begins; else it has ended
	Deadline  datastorehb.Instant // of the lease, when it has ended
	Refused   string              // why it does not begin
}

// GuardLetWent is the result of GuardLetGo.
type GuardLetWent struct {
	Datastore uuid.UUID
	Term      uint64
	Asked     []uuid.UUID // the machines of the GuardLetGo
	VMs       []uuid.UUID // those that run now
	Why       string      // why others do not
}

// GuardGone reports that the guard has died or does not answer.
type GuardGone struct{ Why string }

// GuardBack reports that a guard is there and holds every machine frozen.
type GuardBack struct{}

// MachineStarted is the result of StartMachine: the process is there, frozen,
// and known to the guard.
type MachineStarted struct {
	VM         uuid.UUID
	Generation uint64
	Err        string
	Refused    bool // only for now, such as by the image lock of a lost host (R12): no failure of the machine
}

// Ending says how a machine ended.
type Ending uint8

const (
	// EndedByCrash means unasked.
	EndedByCrash Ending = iota + 1
	// EndedByGuest means that the guest switched itself off.
	EndedByGuest
	// EndedByUs means that the agent ended it.
	EndedByUs
	// EndedByUser means that somebody ended it, or took it away, with the
	// hypervisor's own tools.
	EndedByUser
	// EndedByMigration means that the hypervisor moved the guest to another host.
	EndedByMigration
)

// IncomingAsked reports that a hypervisor is about to move a machine here, and waits with
// its process, in which nothing of the guest executes. Result: IncomingAnswer.
type IncomingAsked struct {
	VM   uuid.UUID
	From datastorehb.HostID // that it is moved from, 0 if the hypervisor does not say
	Ask  uint64             // not 0; comes back with the answer
}

// MigrationSeen reports how far the hypervisor is with moving a machine, by what it says
// of the process here, again and again while that is receiving or has handed over. While the
// hypervisor does not answer there is none. A process that has handed the guest over never executes it
// again, unless the hypervisor takes that back, which it does only if the other did not execute it.
type MigrationSeen struct {
	VM         uuid.UUID
	Asked      datastorehb.Instant // when the hypervisor was asked; what it says is no older
	Arrived    bool                // the guest was moved here, and executes in the process
	HandedOver bool                // the guest has left the process
}

// MachineGone reports that a machine's process is reaped.
type MachineGone struct {
	VM         uuid.UUID
	Generation uint64
	Ending     Ending
	Detail     string
}

// MachineMonitor reports that a machine's monitor, or the daemon that it belongs to,
// has not answered for a while, or answers again. The machine itself may be well.
type MachineMonitor struct {
	VM     uuid.UUID
	Silent bool
	Detail string
}

// MachineIncident reports what a hypervisor told of a guest, for people. Kind is one
// of those whose names begin with "guest-".
type MachineIncident struct {
	VM         uuid.UUID
	Generation uint64
	Kind       Kind
	Detail     string
}

// HypervisorFinding reports what was found in the hypervisor's own house about a
// machine, or with its process, for people. Kind is one of "definition-refused", "name-taken",
// "guest-by-hand", "start-by-hand-refused", "migration-refused" and "machine-kill-pending".
type HypervisorFinding struct {
	VM       uuid.UUID
	Kind     Kind
	Text     string
	Evidence []string
}

// MemoryState reports how much memory, in bytes, machines may use on the host.
type MemoryState struct{ Total uint64 }

// HostCapable reports what the host has for machines, at the start and when it changes.
// It is not changed afterwards.
type HostCapable struct{ Capabilities poweron.Capabilities }

// Leave asks the agent to stop in good order (R11). A second one ends it at once.
type Leave struct {
	Command uint64            // whom to answer, 0 for nobody
	Why     datastorehb.Leave // for people
	Who     string            // name of the user who asks, "" for what Why says
	AtOnce  bool              // without custody
	OrStay  bool              // go on if not all machines can be left in custody
}

// HostInhibited reports what the host's login manager grants this agent. Where
// there is none to ask, none of these is observed.
type HostInhibited struct {
	Delays  bool          `json:"delays"`  // it waits at a shutdown until LetShutDown
	Longest time.Duration `json:"longest"` // and no longer than that
	Blocks  bool          `json:"blocks"`  // the host is not suspended
	Why     string        `json:"why"`     // why something that was asked for is not granted, "" if all is
}

// HostPrepares reports that the host is about to shut down and waits for
// LetShutDown, or that it does not do so after all.
type HostPrepares struct{ Shutdown bool }

// Command is a user's wish, given to this agent.
type Command struct {
	ID        uint64
	Verb      Verb
	Datastore uuid.UUID // home datastore, for Protect
	VM        string    // name or UUID, for the other verbs
	Entry     poweron.Entry
	Change    poweron.Change // for Set
}

// Verb is what a user wants done with a machine.
type Verb string

const (
	// Protect puts a machine on the protected list, or changes its entry.
	Protect Verb = "protect"
	// Unprotect takes it off; it goes on running.
	Unprotect Verb = "unprotect"
	// Start wants it running.
	Start Verb = "start"
	// Stop wants it stopped.
	Stop Verb = "stop"
	// Set changes rules or priority.
	Set Verb = "set"
	// Redefine takes over what a user has changed of the machine's definition with the
	// hypervisor's own tools: name, definition and memory of the command's entry.
	Redefine Verb = "redefine"
)

// ClusterCommand is a user's wish about the cluster record, given to the master.
type ClusterCommand struct {
	ID     uint64               `json:"id"`
	Verb   ClusterVerb          `json:"verb"`
	At     time.Time            `json:"at"`               // by the wall clock of the host that was asked
	Set    []cluster.Assignment `json:"set"`              // for ClusterSet
	Host   string               `json:"host,omitempty"`   // by name or id: of a member, or of a datastore that is removed
	On     bool                 `json:"on,omitempty"`     // maintenance begins, else it ends
	Move   bool                 `json:"move,omitempty"`   // the host's machines are moved elsewhere, when it begins
	Return bool                 `json:"return,omitempty"` // and brought back, when it ends
	For    time.Duration        `json:"for,omitempty"`    // how long a pause lasts at most
	Why    string               `json:"why,omitempty"`    // for people

	Member    *cluster.Member    `json:"member,omitempty"`    // for ClusterHostAdd, and with what is new for ClusterHostSet
	Replace   bool               `json:"replace,omitempty"`   // it takes the place of the member of that name
	Datastore *cluster.Datastore `json:"datastore,omitempty"` // for ClusterDatastoreAdd

	Without []string `json:"without"` // datastores, by name or UUID, that are given up for this change; for ClusterUpgrade also hosts
}

// ClusterVerb is what a user wants changed in the cluster record.
type ClusterVerb string

const (
	// ClusterInit makes the first revision, without waiting for all hosts.
	ClusterInit ClusterVerb = "init"
	// ClusterSet gives settings new values.
	ClusterSet ClusterVerb = "set"
	// ClusterUpgrade raises the feature level by one.
	ClusterUpgrade ClusterVerb = "upgrade"
	// ClusterPause has every host take its machines into custody, with its agent
	// running on: nothing is frozen, taken over or restarted until ClusterResume.
	ClusterPause ClusterVerb = "pause"
	// ClusterResume ends a pause.
	ClusterResume ClusterVerb = "resume"
	// ClusterMaintenance begins or ends the maintenance of a host.
	ClusterMaintenance ClusterVerb = "maintenance"

	// ClusterHostAdd takes a host in.
	ClusterHostAdd ClusterVerb = "host add"
	// ClusterHostSet renames a member, or changes its addresses.
	ClusterHostSet ClusterVerb = "host set"
	// ClusterHostRemove takes a member out.
	ClusterHostRemove ClusterVerb = "host remove"
	// ClusterDatastoreAdd takes a datastore in.
	ClusterDatastoreAdd ClusterVerb = "datastore add"
	// ClusterDatastoreRemove takes a datastore out.
	ClusterDatastoreRemove ClusterVerb = "datastore remove"

	// clusterComputers notes the computers of members.
	clusterComputers ClusterVerb = "computers"
	// clusterReturned notes that machines were brought back after maintenance.
	clusterReturned ClusterVerb = "returned"
	// clusterSettle makes a revision after a number with rivals, for all datastores to hold the same.
	clusterSettle ClusterVerb = "settle"
)

func (Tick) observation()              {}
func (RecordRead) observation()        {}
func (RecordClaimed) observation()     {}
func (WallClock) observation()         {}
func (ClusterCommand) observation()    {}
func (DatastoreState) observation()    {}
func (SlotWritten) observation()       {}
func (RegionRead) observation()        {}
func (TermsRead) observation()         {}
func (TermClaimed) observation()       {}
func (GenerationClaimed) observation() {}
func (EntryClaimed) observation()      {}
func (MachineRead) observation()       {}
func (CatalogueRead) observation()     {}
func (ListRead) observation()          {}
func (ListWritten) observation()       {}
func (HeartbeatReceived) observation() {}
func (Received) observation()          {}
func (PingAnswered) observation()      {}
func (GuardFrozen) observation()       {}
func (GuardRefused) observation()      {}
func (GuardCustodyDone) observation()  {}
func (GuardLetWent) observation()      {}
func (GuardGone) observation()         {}
func (GuardBack) observation()         {}
func (MachineStarted) observation()    {}
func (MachineGone) observation()       {}
func (MachineMonitor) observation()    {}
func (MachineIncident) observation()   {}
func (HypervisorFinding) observation() {}
func (IncomingAsked) observation()     {}
func (MigrationSeen) observation()     {}
func (MemoryState) observation()       {}
func (HostCapable) observation()       {}
func (Command) observation()           {}
func (Leave) observation()             {}
func (HostInhibited) observation()     {}
func (HostPrepares) observation()      {}
func (ConfirmDead) observation()       {}
