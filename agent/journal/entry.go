package journal

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/core"
	"storebeat/datastorehb"
)

const (
	// DefaultLimit is how many entries List returns unless told otherwise.
	DefaultLimit = 1000
	// MaxLimit is the most that List returns.
	MaxLimit = 10_000

	maxText     = 4 << 10
	maxEvidence = 48 << 10
)

// Position is a place in a host's journal that stays the same, unlike an id
// that is not final yet. Places of different runs can't be compared.
type Position struct {
	Run string `json:"run"` // of the agent that recorded the entry
	Seq uint64 `json:"seq"` // in that run, from 1
}

// Entry is an event with its number and its place in this host's journal.
type Entry struct {
	ID uint64 `json:"id"`
	Position
	core.Event
}

// stored is an entry as it is on disk, where its key is its id.
type stored struct {
	Position
	core.Event
}

// Filter selects entries. A field that is zero selects all.
type Filter struct {
	Host      datastorehb.HostID `json:"host,omitempty"`
	Datastore uuid.UUID          `json:"datastore,omitzero"`
	VM        uuid.UUID          `json:"vm,omitzero"`
	Kind      core.Kind          `json:"kind,omitempty"`
	Severity  core.Severity      `json:"severity,omitempty"` // that or more
	Since     time.Time          `json:"since,omitzero"`     // by the wall clock, which may have been set meanwhile
	Limit     int                `json:"limit,omitempty"`    // the newest so many; DefaultLimit when zero
}

// Matches says whether the filter selects the event, its limit aside.
func (f Filter) Matches(e *core.Event) bool {
	return (f.Host == 0 || f.Host == e.Host) &&
		(f.Datastore == uuid.Nil || f.Datastore == e.Datastore) &&
		(f.VM == uuid.Nil || f.VM == e.VM) &&
		(f.Kind == "" || f.Kind == e.Kind) &&
		(f.Severity == "" || e.Severity.AtLeast(f.Severity)) &&
		(f.Since.IsZero() || !e.Wall.Before(f.Since))
}

func (f Filter) limit() int {
	if f.Limit <= 0 {
		return DefaultLimit
	}
	return min(f.Limit, MaxLimit)
}

// clip bounds the size of an event and says so in it.
func clip(e core.Event) core.Event {
	if len(e.Text) > maxText {
		e.Text = fmt.Sprintf("%s … (%d bytes left out)", e.Text[:maxText], len(e.Text)-maxText)
	}
	kept, size := 0, 0
	for kept < len(e.Evidence) && size+len(e.Evidence[kept]) <= maxEvidence {
		size += len(e.Evidence[kept])
		kept++
	}
	if left := len(e.Evidence) - kept; left > 0 {
		e.Evidence = append(e.Evidence[:kept:kept], fmt.Sprintf("… (%d more lines of evidence left out for their size)", left))
	}
	return e
}

func sizeOf(e *core.Event) int {
	size := 160 + len(e.Text) + len(e.Rule) + len(e.Kind)
	for _, line := range e.Evidence {
		size += 16 + len(line)
	}
	return size
}
