package core

import (
	"time"

	"github.com/google/uuid"

	"storebeat/agent/core/cluster"
	"storebeat/datastorehb"
	"storebeat/partition"
	"storebeat/poweron"
)

// Effect is something the shell shall do.
type Effect interface{ effect() }

// WriteSlot writes the host's own slot. Result: SlotWritten.
type WriteSlot struct {
	Datastore uuid.UUID
	Slot      datastorehb.Slot
}

// ReadRegion reads heartbeat slots, bypassing every cache. Result: RegionRead.
type ReadRegion struct {
	Datastore uuid.UUID
	Hosts     []datastorehb.HostID // whose slots; nil reads the whole region
}

// CheckIdentity makes sure that the datastore is still the one that was opened
// (R14). Result: DatastoreState.
type CheckIdentity struct{ Datastore uuid.UUID }

// ReadTerms reads the newest term of a host. Result: TermsRead.
type ReadTerms struct {
	Datastore uuid.UUID
	Host      datastorehb.HostID
}

// ClaimTerm claims a term: the own next one, or another host's as closed.
// Result: TermClaimed.
type ClaimTerm struct {
	Datastore uuid.UUID
	Term      datastorehb.Term
}

// ClaimGeneration claims a machine's generation. Result: GenerationClaimed.
type ClaimGeneration struct {
	Datastore  uuid.UUID
	Generation poweron.Generation
}

// ClaimEntry claims a revision of a machine's protected entry. Result: EntryClaimed.
type ClaimEntry struct {
	Datastore uuid.UUID
	Revision  uint64
	Entry     poweron.Entry
}

// ReadMachine reads a machine's newest generation and entry. Result: MachineRead.
type ReadMachine struct {
	Datastore uuid.UUID
	VM        uuid.UUID
	Purpose   ReadPurpose
	Number    uint64 // of the generation, for ForClaim
}

// ReadPurpose keeps reads of one machine for different ends apart.
type ReadPurpose uint8

const (
	// ForCatalogue refreshes what is known of the machine.
	ForCatalogue ReadPurpose = iota
	// ForStart precedes a claim.
	ForStart
	// ForClaim precedes a claim too, where the newest generation is known by its
	// number: only that record is read, and the claim finds out whether it is
	// the newest still.
	ForClaim
	// ForRecheck is the last look at the entry, after the claim and before the start (R8). Only the entry is needed.
	ForRecheck
	// ForCommand precedes a change of the entry by a user.
	ForCommand
	// ForThaw finds out what became of a machine whose chain is broken.
	ForThaw
	// ForMigration finds out who may run a machine that is being moved.
	ForMigration
	// ForRelease finds out whom a release has lost the next generation to.
	ForRelease
)

// ReadCatalogue reads every machine's newest generation and entry. Result: CatalogueRead.
type ReadCatalogue struct{ Datastore uuid.UUID }

// ReadList reads another host's power-on list. Result: ListRead.
type ReadList struct {
	Datastore uuid.UUID
	Host      datastorehb.HostID
}

// PublishList writes the host's own power-on list. Result: ListWritten. The
// effects in After are carried out only once the write has completed (R10).
type PublishList struct {
	Datastore uuid.UUID
	List      poweron.List
	After     []Effect
}

// Prune removes the values of a register below a number. This host holds a newer
// one, and has for long (R2). No result: what stays is removed another time.
type Prune struct {
	Datastore uuid.UUID
	Register  datastorehb.Register
	Below     uint64
}

// WriteLevel says at which feature level everything is to be written from now on.
// It comes before anything is written. No result.
type WriteLevel struct{ Level uint16 }

// ReadRecord reads the newest revision of the cluster record on a datastore.
// Result: RecordRead.
type ReadRecord struct{ Datastore uuid.UUID }

// ClaimRecord claims a revision of the cluster record on a datastore. Result:
// RecordClaimed.
type ClaimRecord struct {
	Datastore uuid.UUID
	Record    *cluster.Record
	Payload   []byte // its encoding
}

// KeepRecord keeps a revision on this host, for Config.Record of the next
// incarnation. No result: nothing hangs on it.
type KeepRecord struct{ Payload []byte }

// SendHeartbeat sends a network heartbeat. No result.
type SendHeartbeat struct{ Packet partition.Packet }

// Send sends a message to another agent. No result: an answer is a message of its own.
type Send struct {
	To      datastorehb.HostID
	Message Message
}

// Ping sends an ICMP echo request. Result: PingAnswered, or nothing.
type Ping struct {
	Address string
	Host    datastorehb.HostID // whose address it is, 0 for an isolation address
}

// GuardLease tells the guard of a term's lease, or of its new deadline. Result: GuardRefused if it was refused.
type GuardLease struct {
	Datastore uuid.UUID
	Term      uint64
	Length    time.Duration
	Deadline  datastorehb.Instant
}

// GuardCustody asks the guard to hold a term's lease without limit, or to limit
// it again (R11). Result: GuardCustodyDone, or GuardRefused.
type GuardCustody struct {
	Datastore uuid.UUID
	Term      uint64
	Begin     bool
}

// GuardLetGo asks the guard to let machines go under a term. Result: GuardLetWent.
type GuardLetGo struct {
	Datastore uuid.UUID
	Term      uint64
	VMs       []uuid.UUID
}

// OpenDatastore has a datastore opened, and tried again until that succeeds.
// Result: DatastoreState, at every change.
type OpenDatastore struct{ Datastore uuid.UUID }

// CloseDatastore has a datastore left alone: it is not the cluster's any more.
type CloseDatastore struct{ Datastore uuid.UUID }

// ActOn says which revision of the cluster record goes from now on: who the members
// are and where, and where datastores lie. The record is never changed.
type ActOn struct{ Record *cluster.Record }

// FreezeMachines freezes the machines of a datastore from the agent itself,
// because the guard is gone or did not report in time. Result: GuardFrozen.
type FreezeMachines struct{ Datastore uuid.UUID }

// RestartGuard starts a new guard and registers every machine with it, frozen.
// Result: GuardBack.
type RestartGuard struct{}

// StartMachine creates the machine's process, born frozen, and registers it with
// the guard. Result: MachineStarted.
type StartMachine struct {
	Datastore  uuid.UUID
	VM         uuid.UUID
	Generation uint64
	Entry      poweron.Entry
}

// ReceiveMachine takes on the process that a hypervisor has made to move a machine here: it
// is registered with the guard, which freezes it, and recorded under its generation.
// Result: MachineStarted.
type ReceiveMachine struct {
	Datastore  uuid.UUID
	VM         uuid.UUID
	Generation uint64
}

// IncomingAnswer answers IncomingAsked. A process that is not allowed is ended, and never
// executes the guest.
type IncomingAnswer struct {
	VM      uuid.UUID
	Ask     uint64
	Allowed bool
	Why     string // with the remedy, when it is not
}

// HaltGuests halts the processors of guests and their clocks through their monitors, as far
// as these answer: their leases are about to run out. A guest that somebody else has
// halted is left alone. No result.
type HaltGuests struct{ VMs []uuid.UUID }

// ResumeGuests has guests go on that HaltGuests has halted, or may have, and tries
// until they do. No result.
type ResumeGuests struct{ VMs []uuid.UUID }

// StopMachine asks the guest to stop, and powers it off at the deadline.
// Result: MachineGone.
type StopMachine struct {
	VM       uuid.UUID
	Graceful time.Duration // 0: power off at once
}

// PutDown ends a machine that another host owns: it stays frozen until its I/O
// has returned, is killed then, and is reported gone only once it is reaped
// (R12). Result: MachineGone.
type PutDown struct{ VM uuid.UUID }

// KeepAwake asks the host's login manager not to suspend the host, or ends that.
// Result: HostInhibited.
type KeepAwake struct{ On bool }

// LetShutDown lets the host go on with the shutdown that HostPrepares has announced.
type LetShutDown struct{}

// Left ends the agent. It is the last effect.
type Left struct{}

// Journal records an event.
type Journal struct{ Event Event }

// Reply answers a user's command.
type Reply struct {
	Command uint64
	Text    string // what was done
	Err     string // what was refused and the remedy; empty on success
	// NotMaster says that nothing was done because this host is not the master, or no
	// longer one: whoever is, or is elected next, may be asked.
	NotMaster bool
}

func (WriteSlot) effect()       {}
func (OpenDatastore) effect()   {}
func (CloseDatastore) effect()  {}
func (ActOn) effect()           {}
func (WriteLevel) effect()      {}
func (ReadRecord) effect()      {}
func (ClaimRecord) effect()     {}
func (KeepRecord) effect()      {}
func (ReadRegion) effect()      {}
func (CheckIdentity) effect()   {}
func (ReadTerms) effect()       {}
func (ClaimTerm) effect()       {}
func (ClaimGeneration) effect() {}
func (ClaimEntry) effect()      {}
func (ReadMachine) effect()     {}
func (ReadCatalogue) effect()   {}
func (ReadList) effect()        {}
func (PublishList) effect()     {}
func (Prune) effect()           {}
func (SendHeartbeat) effect()   {}
func (Send) effect()            {}
func (Ping) effect()            {}
func (GuardLease) effect()      {}
func (GuardCustody) effect()    {}
func (GuardLetGo) effect()      {}
func (FreezeMachines) effect()  {}
func (RestartGuard) effect()    {}
func (StartMachine) effect()    {}
func (StopMachine) effect()     {}
func (HaltGuests) effect()      {}
func (ResumeGuests) effect()    {}
func (PutDown) effect()         {}
func (ReceiveMachine) effect()  {}
func (IncomingAnswer) effect()  {}
func (KeepAwake) effect()       {}
func (LetShutDown) effect()     {}
func (Left) effect()            {}
func (Journal) effect()         {}
func (Reply) effect()           {}
