package guard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/freeze"
	"storebeat/datastorehb"
)

// Both directions of the socket carry one JSON value per line. An agent of a
// later version may meet a guard of an earlier one, so Hello names the version,
// and the guard refuses one that it doesn't speak. Each speaks its own version
// and the one before: an agent that is refused says hello in the older one, and
// then does without what that one lacks.
const (
	protocolVersion = 2        // that this program speaks
	oldestVersion   = 1        // that it understands
	maxRequest      = 1 << 20  // bytes; LetGo of 25,000 machines
	maxAnswer       = 16 << 20 // bytes; an inventory of 25,000 machines
	maxMachines     = 25_000   // in one request
)

// operation names what a request asks for.
type operation string

const (
	opHello     operation = "hello"
	opPing      operation = "ping"
	opInventory operation = "inventory"
	opSetLease  operation = "set lease"
	opRegister  operation = "register"
	opLetGo     operation = "let go"
	opCustody   operation = "begin custody" // since version 2
	opEnd       operation = "end custody"   // since version 2
	opFreeze    operation = "freeze"
	opForget    operation = "forget"
)

// request is one line from a client. Fields that the operation doesn't speak of
// are zero.
type request struct {
	ID          uint64              `json:"id"` // echoed in the answer, not zero
	Op          operation           `json:"op"`
	Version     int                 `json:"version,omitempty"`
	Incarnation uint64              `json:"incarnation,omitempty"`
	Datastore   uuid.UUID           `json:"datastore,omitzero"`
	Term        uint64              `json:"term,omitempty"`
	Length      time.Duration       `json:"length,omitempty"`
	Deadline    datastorehb.Instant `json:"deadline,omitempty"`
	VMs         []uuid.UUID         `json:"vms,omitempty"`
	Machine     *Machine            `json:"machine,omitempty"`
}

// answer is one line from the guard: the answer to a request, or an event.
type answer struct {
	ID        uint64       `json:"id,omitempty"`
	Error     string       `json:"error,omitempty"`
	Inventory *Inventory   `json:"inventory,omitempty"`
	LetGo     *LetGoResult `json:"let_go,omitempty"`
	Event     *Event       `json:"event,omitempty"`
	// Fed is when the watchdog was fed last, in the answer to a ping; 0 without one.
	Fed      datastorehb.Instant `json:"fed,omitempty"`
	Guard    *freeze.Handle      `json:"guard,omitempty"`    // who answers a ping: a guard that was restarted is another process
	Deadline datastorehb.Instant `json:"deadline,omitempty"` // with the end of custody
}

// decodeRequest reads one line strictly: an unknown field may be one whose
// meaning matters.
func decodeRequest(line []byte) (request, error) {
	var r request
	if len(line) > maxRequest {
		return r, fmt.Errorf("request of %d bytes is longer than %d", len(line), maxRequest)
	}
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&r); err != nil {
		return r, fmt.Errorf("request is not understood: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return r, errors.New("request is followed by something else on its line")
	}
	return r, r.check()
}

// check demands what each operation needs. Whether it is allowed is for the
// Keeper to say.
func (r request) check() error {
	if r.ID == 0 {
		return errors.New("request has no id")
	}
	if len(r.VMs) > maxMachines {
		return fmt.Errorf("request names %d machines, more than %d", len(r.VMs), maxMachines)
	}
	switch r.Op {
	case opPing, opInventory, opSetLease, opCustody, opEnd, opLetGo:
		return nil
	case opHello:
		return r.checkHello()
	case opRegister:
		if r.Machine == nil {
			return errors.New("register names no machine")
		}
		return r.Machine.Handle.Validate()
	case opFreeze, opForget:
		if len(r.VMs) == 0 {
			return fmt.Errorf("%s names no machine", r.Op)
		}
		return nil
	}
	return fmt.Errorf("operation %.40q is unknown", r.Op)
}

func (r request) checkHello() error {
	if r.Version < oldestVersion || r.Version > protocolVersion {
		return fmt.Errorf("agent speaks version %d and this guard versions %d to %d; restart the guard with the agent's own program", r.Version, oldestVersion, protocolVersion)
	}
	if r.Incarnation == 0 {
		return errors.New("hello names no incarnation")
	}
	return nil
}

// encode makes one line of a value that can always be encoded.
func encode(v any) ([]byte, error) {
	line, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode message: %w", err)
	}
	return append(line, '\n'), nil
}
