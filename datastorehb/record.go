package datastorehb

import (
	"fmt"

	"github.com/google/uuid"
)

// RegisterKind tells the kinds of registers apart.
type RegisterKind uint8

const (
	// TermRegister holds the terms of one host on one datastore.
	TermRegister RegisterKind = 1
	// GenerationRegister holds the generations of one virtual machine.
	GenerationRegister RegisterKind = 2
	// EntryRegister holds the revisions of one machine's protected entry.
	EntryRegister RegisterKind = 3
	// ClusterRegister holds the revisions of the cluster record.
	ClusterRegister RegisterKind = 4
)

// String returns the kind's name, as used in paths and messages.
func (k RegisterKind) String() string {
	switch k {
	case TermRegister:
		return "term"
	case GenerationRegister:
		return "generation"
	case EntryRegister:
		return "entry"
	case ClusterRegister:
		return "cluster"
	}
	return fmt.Sprintf("RegisterKind(%d)", uint8(k))
}

// Register names one register of a datastore: a value that only grows, each
// next value of which is created by one atomic exclusive create (R2).
type Register struct {
	Kind RegisterKind
	Host HostID    // for TermRegister
	VM   uuid.UUID // for GenerationRegister and EntryRegister
}

// TermsOf names the register of a host's terms.
func TermsOf(h HostID) Register { return Register{Kind: TermRegister, Host: h} }

// GenerationsOf names the register of a machine's generations.
func GenerationsOf(vm uuid.UUID) Register { return Register{Kind: GenerationRegister, VM: vm} }

// EntriesOf names the register of a machine's protected entries.
func EntriesOf(vm uuid.UUID) Register { return Register{Kind: EntryRegister, VM: vm} }

// ClusterRecords names the register of the cluster record.
func ClusterRecords() Register { return Register{Kind: ClusterRegister} }

// String returns the register in the form used in logs.
func (r Register) String() string {
	switch r.Kind {
	case TermRegister:
		return fmt.Sprintf("term of host %d", r.Host)
	case ClusterRegister:
		return "cluster record"
	}
	return fmt.Sprintf("%s of machine %s", r.Kind, r.VM)
}

// Record is one value of a register, immutable once it has its final name.
type Record struct {
	Register Register
	Number   uint64    // the value; the first is 1
	Nonce    uuid.UUID // of the attempt that created it: who finds its own nonce under the final name has won
	Writer   Writer    // who created it
	Payload  []byte    // what it says; its form depends on the kind
}

// Outcome is how an attempt to claim a register's next value ended.
type Outcome uint8

const (
	// ClaimFailed means that nothing is known: the attempt may still win later.
	// It proves nothing, in either direction.
	ClaimFailed Outcome = iota
	// ClaimWon means that the final name holds this attempt's nonce and no higher number exists.
	ClaimWon
	// ClaimLost means that somebody else holds the number, or a higher one exists.
	ClaimLost
)

// String returns the outcome's name.
func (o Outcome) String() string {
	switch o {
	case ClaimFailed:
		return "failed"
	case ClaimWon:
		return "won"
	case ClaimLost:
		return "lost"
	}
	return fmt.Sprintf("Outcome(%d)", uint8(o))
}

// Term is the payload of a term's record.
type Term struct {
	Host   HostID // whose term it is
	Number uint64
	Closed bool   // claimed by another host: the machines under the term before it are free to be taken
	First  uint64 // of the unbroken chain of open terms that this one ends; equals Number for a new chain
	Timing Timing // Interval, Lease and Freeze are fixed for the term; Takeover is zero
	Reason string // for people, at most MaxReason bytes
}

// MaxReason is the longest reason a term or a generation carries, in bytes.
const MaxReason = 200

// Carries reports whether a machine whose generation names the term named may
// still run under t: t is open and its unbroken chain reaches back to named (R3).
func (t Term) Carries(named uint64) bool {
	return !t.Closed && t.First <= named && named <= t.Number
}
