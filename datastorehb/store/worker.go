package store

import (
	"sync"
	"time"
)

// Worker runs one operation at a time, in a goroutine that may hang for ever. A
// hung operation holds up nothing but this worker: there is one per datastore
// and purpose. The zero Worker is ready for use.
type Worker struct {
	mu    sync.Mutex
	name  string
	since time.Time
	busy  bool
}

// Submit starts op and returns at once. It returns false, and does not start it,
// while another operation is under way.
func (w *Worker) Submit(name string, op func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy {
		return false
	}
	w.name, w.since, w.busy = name, time.Now(), true
	go func() {
		defer w.done()
		op()
	}()
	return true
}

func (w *Worker) done() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy = false
}

// Busy names the operation under way and says for how long it has been, so that
// slowness is noticed while it lasts.
func (w *Worker) Busy(now time.Time) (name string, since time.Duration, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.busy {
		return "", 0, false
	}
	return w.name, now.Sub(w.since), true
}
