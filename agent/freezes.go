package agent

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

// freezes keeps the agent's own freezing apart from letting go. The core decides
// on both in order, but a freeze goes on in a goroutine until it is seen to have
// worked: what is left of it must not hit a machine that is let go under a later
// term, which would stand still and pass for running. And what was to be let go
// before a freeze was decided on, and has not been yet, must stay frozen.
type freezes struct {
	mu    sync.Mutex
	count map[uuid.UUID]uint64
	under []*ownFreeze
}

// ownFreeze is one freeze under way.
type ownFreeze struct {
	datastore uuid.UUID
	cancel    context.CancelFunc
	done      chan struct{}
}

// begin begins a freeze. It lasts until the context ends or ended is called.
func (fs *freezes) begin(datastore uuid.UUID, atMost time.Duration) (ctx context.Context, ended func()) {
	ctx, cancel := context.WithTimeout(context.Background(), atMost)
	f := &ownFreeze{datastore: datastore, cancel: cancel, done: make(chan struct{})}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.count == nil {
		fs.count = map[uuid.UUID]uint64{}
	}
	fs.count[datastore]++
	fs.under = append(fs.under, f)
	return ctx, func() {
		cancel()
		close(f.done)
		fs.mu.Lock()
		defer fs.mu.Unlock()
		fs.under = slices.DeleteFunc(fs.under, func(o *ownFreeze) bool { return o == f })
	}
}

// begun returns how many freezes of a datastore have begun.
func (fs *freezes) begun(datastore uuid.UUID) uint64 {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.count[datastore]
}

// end gives up the freezes of a datastore that are under way and waits until
// nothing of them comes after. It returns false, and gives up nothing, when
// more than begun have begun.
func (fs *freezes) end(datastore uuid.UUID, begun uint64) bool {
	fs.mu.Lock()
	if fs.count[datastore] != begun {
		fs.mu.Unlock()
		return false
	}
	var under []*ownFreeze
	for _, f := range fs.under {
		if f.datastore == datastore {
			f.cancel()
			under = append(under, f)
		}
	}
	fs.mu.Unlock()
	for _, f := range under {
		<-f.done
	}
	return true
}
