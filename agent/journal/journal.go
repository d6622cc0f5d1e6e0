package journal

import (
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"storebeat/agent/core"
)

// StoreCommand is the first argument of the store process.
const StoreCommand = "journal-store"

// SelfCommand starts the store process from the running program itself, also
// after its file was replaced by an upgrade.
func SelfCommand() []string { return []string{"/proc/self/exe", StoreCommand} }

// Options bound what a journal takes. Zero values stand for defaults.
type Options struct {
	// Command starts the store process; the directory is added as its last
	// argument. Without one the journal is kept in memory only.
	Command []string

	InMemory   int    // newest entries kept in memory; 2,000
	MaxEntries uint64 // entries kept on disk; 50,000
	MaxBytes   int64  // of disk space; 32 MiB
	Reserve    int64  // free disk space below which nothing is written; 16 MiB

	Delay time.Duration // from an event to its writing, to gather others; 1 s
	Idle  time.Duration // after which the store process ends; 5 s
	Retry time.Duration // first pause after a failure, doubled up to a minute; 1 s

	openWithin, closeWithin time.Duration // what a hung disk may cost; shortened in tests
}

func (o Options) withDefaults() Options {
	if o.InMemory <= 0 {
		o.InMemory = 2000
	}
	if o.MaxEntries == 0 {
		o.MaxEntries = 50_000
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 32 << 20
	}
	if o.Reserve <= 0 {
		o.Reserve = 16 << 20
	}
	for _, d := range []struct {
		value *time.Duration
		def   time.Duration
	}{{&o.Delay, time.Second}, {&o.Idle, 5 * time.Second}, {&o.Retry, time.Second}, {&o.openWithin, openWithin}, {&o.closeWithin, closeWithin}} {
		if *d.value <= 0 {
			*d.value = d.def
		}
	}
	return o
}

// closeWithin bounds what a hung disk can add to the end of the agent.
const closeWithin = 10 * time.Second

// memoryRoom bounds the entries in memory by size as well as by number.
const memoryRoom = 4 << 20

// Health tells how well the journal is kept.
type Health struct {
	Stored     bool   `json:"stored"`               // false: in memory only
	Reason     string `json:"reason,omitempty"`     // why not
	Settled    bool   `json:"settled"`              // ids are final
	StoredTo   uint64 `json:"storedTo"`             // the newest id on disk
	Waiting    uint64 `json:"waiting"`              // entries not on disk yet
	Dropped    uint64 `json:"dropped"`              // entries that left memory before they could be written
	MovedAside string `json:"movedAside,omitempty"` // where a corrupt store was moved in this run
}

// Journal is the event journal of one host.
type Journal struct {
	ring   *ring
	keeper *keeper
	opened time.Time

	closing sync.Once
	closed  chan struct{}
}

// Open returns the journal kept in dir. It does not wait for the disk and fails
// only if the arguments make no sense: what is wrong with the disk shows in
// Health.
func Open(dir string, log hclog.Logger, o Options) (*Journal, error) {
	if dir == "" && len(o.Command) > 0 {
		return nil, errors.New("the journal has no directory: set state_directory")
	}
	if log == nil {
		log = hclog.NewNullLogger()
	}
	o = o.withDefaults()
	j := &Journal{ring: newRing(rand.Text(), o.InMemory, memoryRoom), opened: time.Now(), closed: make(chan struct{})}
	j.keeper = newKeeper(dir, log, o, j.ring)
	if len(o.Command) == 0 {
		j.keeper.memoryOnly("no store process is configured")
		close(j.keeper.done)
		return j, nil
	}
	go j.keeper.run()
	return j, nil
}

// Append records an event. It never waits. An event without a wall-clock time
// gets the present one.
func (j *Journal) Append(e core.Event) {
	if e.Wall.IsZero() {
		e.Wall = time.Now()
	}
	e.Wall = e.Wall.Round(0)
	j.ring.append(e)
	j.keeper.notice()
}

// List returns the newest entries that the filter selects, oldest first. What
// memory does not hold is looked up in the store, for a few seconds at most.
func (j *Journal) List(f Filter) []Entry {
	recent, oldest := j.ring.list(f)
	if len(recent) >= f.limit() || oldest <= 1 {
		return recent
	}
	f.Limit = f.limit() - len(recent)
	return append(j.keeper.lookUp(query{Filter: f, Before: oldest}), recent...)
}

// Health returns the present state.
func (j *Journal) Health() Health { return j.keeper.healthNow() }

// Close writes what is waiting, for a few seconds at most, and ends the store
// process.
func (j *Journal) Close() error {
	j.closing.Do(func() {
		close(j.closed)
		close(j.keeper.quit)
	})
	select {
	case <-j.keeper.done:
		return nil
	case <-time.After(j.keeper.o.closeWithin):
		return fmt.Errorf("the journal in %s could not be closed within %v: its disk may hang; the newest entries may be missing there", j.keeper.dir, j.keeper.o.closeWithin)
	}
}
