package core

import (
	"github.com/google/uuid"

	"storebeat/datastorehb"
	"storebeat/poweron"
)

// MessageKind tells messages between agents apart.
type MessageKind string

const (
	// StartOrder asks the receiver to claim and start a machine. It entitles to
	// nothing: the receiver finds its right on the datastore.
	StartOrder MessageKind = "start order"
	// OrderEnded answers a StartOrder.
	OrderEnded MessageKind = "order ended"
	// MoveOrder asks the receiver to stop a machine and hand it over, for the
	// maintenance that the cluster record speaks of.
	MoveOrder MessageKind = "move order"
	// MachineChanged says that an entry or a generation of a machine has changed.
	MachineChanged MessageKind = "machine changed"
	// HostHas says what the sender has for machines. A program that does not know it
	// leaves it alone: it names no datastore.
	HostHas MessageKind = "host has"
	// MigrationAsk asks the host that runs a machine to share it with the sender, to whom a
	// hypervisor moves it.
	MigrationAsk MessageKind = "migration ask"
	// MigrationAnswer says which generation is shared, or why none is.
	MigrationAnswer MessageKind = "migration answer"
)

// Message is what agents say to each other beside heartbeats. Every message may
// be lost, late or repeated without harm.
type Message struct {
	Kind       MessageKind        `json:"kind"`
	Datastore  uuid.UUID          `json:"datastore"`
	VM         uuid.UUID          `json:"vm"`
	Order      uint64             `json:"order,omitempty"`
	OK         bool               `json:"ok,omitempty"`
	Why        string             `json:"why,omitempty"`
	Generation uint64             `json:"generation,omitempty"` // StartOrder: the newest that the sender knows; OrderEnded: the one that was won
	Host       datastorehb.HostID `json:"host,omitempty"`

	// Claimed is the sender's newest generation of the machine, with
	// MachineChanged: what the receiver then need not read. It goes into the
	// catalogue, which no right follows from.
	Claimed *poweron.Generation `json:"claimed,omitempty"`

	// Capabilities is what the sender has, with HostHas, and Incarnation the run of
	// its agent that says so.
	Capabilities *poweron.Capabilities `json:"capabilities,omitempty"`
	Incarnation  uint64                `json:"incarnation,omitempty"`

	// Receiver is the sender, with MigrationAsk, and its newest term.
	Receiver *poweron.Party `json:"receiver,omitempty"`
}
