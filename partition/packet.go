package partition

import (
	"time"

	"github.com/google/uuid"

	"storebeat/datastorehb"
)

// MaxPacket is the largest network heartbeat, in bytes. It fits one Ethernet frame.
const MaxPacket = 1400

// MaxVersion is the longest version of a program in a packet, in bytes.
const MaxVersion = 32

// PacketFlags are facts about the sender.
type PacketFlags uint32

const (
	// PacketMaster is set while the sender is a master.
	PacketMaster PacketFlags = 1 << iota
	// PacketIsolated is set while the sender holds itself for isolated.
	PacketIsolated
	// PacketMaintenance is set while the sender is in maintenance.
	PacketMaintenance
	// PacketStanding is set while the sender has no master and stands for election.
	PacketStanding
	// PacketLeaving is set while the sender stops in good order.
	PacketLeaving
	// PacketFollowed is set by a master that hears at least one host follow it.
	PacketFollowed
	// PacketDiffers is set while the sender's configuration file differs from the
	// cluster record.
	PacketDiffers
	// PacketUninhibited is set while the login manager of the sender's host would not
	// wait for its agent at a shutdown.
	PacketUninhibited
)

// Packet is one network heartbeat, made for one recipient.
type Packet struct {
	Level    uint16 // the feature level at which it is written
	Cluster  uuid.UUID
	From     datastorehb.Writer
	To       datastorehb.HostID
	Sequence uint64 // grows with every packet of this incarnation, over all recipients
	Flags    PacketFlags
	Master   datastorehb.HostID // the master the sender follows, 0 while there is none

	// Echo names the newest packet that the sender had from the recipient. It
	// proves that the packet is no recording of an earlier run, and that the
	// path works in both directions.
	Echo Echo

	// What the sender acts on and what its program can do, for the master's plans
	// and for people. No right follows from any of it.
	Revision uint64             // of the cluster record, 0 while it knows none
	Sum      uint64             // of that revision, or of the one that the sender's configuration would make
	Levels   datastorehb.Levels // feature levels that its program knows
	Lease    time.Duration      // L and T of its own timing, in whole milliseconds
	Takeover time.Duration
	Version  string // of its program, at most MaxVersion bytes

	MemoryTotal uint64 // bytes that machines may use on the sender
	MemoryUsed  uint64 // bytes that its machines use

	// Datastores are those the sender has configured, in the order of their UUIDs,
	// each once.
	Datastores []DatastoreReport

	// Acks tell the recipient which of its heartbeats the sender has recorded as
	// vouches in a completed write of its own slot (R4b). Each names one of Datastores.
	Acks []Ack
}

// Echo names a packet of the recipient.
type Echo struct {
	Incarnation uint64 // 0: no packet of the recipient was heard
	Sequence    uint64
}

// DatastoreFlags describe the sender's view of one datastore.
type DatastoreFlags uint8

const (
	// DatastoreAccessible is set when the sender's I/O there succeeds in time.
	DatastoreAccessible DatastoreFlags = 1 << iota
	// DatastoreHeartbeat is set when the sender writes heartbeats there.
	DatastoreHeartbeat
	// DatastoreWish asks the recipient to vouch for the sender there.
	DatastoreWish
	// DatastoreSelected is set by a master: the recipient shall write heartbeats there.
	DatastoreSelected
)

// DatastoreReport is the sender's view of one datastore.
type DatastoreReport struct {
	Datastore uuid.UUID
	Flags     DatastoreFlags
}

// Ack is the acknowledgement of one vouch.
type Ack struct {
	Datastore   uuid.UUID
	Boot        uuid.UUID // of the recipient
	Incarnation uint64    // of the recipient
	Sequence    uint64    // of the recipient's heartbeat that was recorded
}
