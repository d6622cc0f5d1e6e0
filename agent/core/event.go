package core

import (
	"time"

	"github.com/google/uuid"

	"storebeat/datastorehb"
)

// Event is one entry of the journal: something that happened or was decided,
// with the evidence for it. Fields that do not apply are zero.
type Event struct {
	Kind       Kind                `json:"kind"`
	Severity   Severity            `json:"severity"`
	Wall       time.Time           `json:"wall"` // for people only; filled in by the shell
	At         datastorehb.Instant `json:"at"`   // on the boot-time clock of the host that recorded it
	By         datastorehb.HostID  `json:"by"`   // the host that recorded it
	Host       datastorehb.HostID  `json:"host,omitempty"`
	Datastore  uuid.UUID           `json:"datastore,omitzero"`
	VM         uuid.UUID           `json:"vm,omitzero"`
	Term       uint64              `json:"term,omitempty"`
	Generation uint64              `json:"generation,omitempty"`
	LastSign   datastorehb.Instant `json:"last_sign,omitempty"` // of life, for a term that was closed
	Text       string              `json:"text"`                // one sentence
	Rule       string              `json:"rule,omitempty"`      // of docs/safety.md, such as "R7a"
	Evidence   []string            `json:"evidence,omitempty"`
}
