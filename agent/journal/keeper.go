package journal

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	batchSize    = 100
	openWithin   = 30 * time.Second
	answerWithin = 10 * time.Second
	lookUpWithin = 3 * time.Second
	endWithin    = 3 * time.Second
	longestRetry = time.Minute

	// patience is how many store processes in a row may crash before the store
	// itself is blamed and moved aside.
	patience = 2
)

// keeper writes the ring to the store, in one goroutine. Nothing waits for it.
type keeper struct {
	dir  string
	log  hclog.Logger
	o    Options
	ring *ring

	dirty   chan struct{}
	lookups chan lookup
	quit    chan struct{}
	done    chan struct{}

	child    *child
	leaving  *child // told to go, perhaps not gone yet
	storedTo uint64 // the newest id on disk
	everTo   uint64 // the newest id that ever was, in case the store is deleted
	crashes  int    // since the last successful write
	broken   bool   // the store process found damage
	pause    time.Duration
	ending   bool
	notUntil time.Time

	mu     sync.Mutex
	health Health
}

type lookup struct {
	query
	answer chan []Entry
}

func newKeeper(dir string, log hclog.Logger, o Options, r *ring) *keeper {
	return &keeper{
		dir: dir, log: log, o: o, ring: r,
		dirty:   make(chan struct{}, 1),
		lookups: make(chan lookup),
		quit:    make(chan struct{}),
		done:    make(chan struct{}),
	}
}

func (k *keeper) notice() {
	select {
	case k.dirty <- struct{}{}:
	default:
	}
}

func (k *keeper) lookUp(q query) []Entry {
	l := lookup{q, make(chan []Entry, 1)}
	timeout := time.After(lookUpWithin)
	select {
	case k.lookups <- l:
	case <-timeout:
		return nil
	case <-k.done:
		return nil
	}
	select {
	case entries := <-l.answer:
		return entries
	case <-timeout:
		return nil
	}
}

func (k *keeper) run() {
	defer close(k.done)
	write := time.NewTimer(0) // reads the store once, even if nothing happens
	idle := time.NewTimer(k.o.Idle)
	defer write.Stop()
	defer idle.Stop()
	armed := true
	for {
		select {
		case <-k.quit:
			k.end()
			return
		case <-k.dirty:
			switch {
			case k.pressing():
				write.Reset(0)
			case !armed:
				write.Reset(k.o.Delay)
			}
			armed = true
		case <-write.C:
			armed = false
			if wait := k.store(); wait > 0 {
				write.Reset(wait)
				armed = true
			}
			idle.Reset(k.o.Idle)
		case l := <-k.lookups:
			l.answer <- k.read(l.query)
			idle.Reset(k.o.Idle)
		case <-idle.C:
			k.letGo()
		}
	}
}

// pressing says that so much waits to be written that memory may let go of some
// of it before the usual delay is over.
func (k *keeper) pressing() bool {
	_, newest, _ := k.ring.bounds()
	return newest > k.storedTo+uint64(k.o.InMemory)/2 && time.Now().After(k.notUntil)
}

// store writes what is waiting. It returns how long to wait before trying again,
// or 0 if everything is written.
func (k *keeper) store() time.Duration {
	for {
		if wait := k.ready(); wait > 0 {
			return wait
		}
		batch := k.ring.upTo(batchSize, k.storedTo)
		if len(batch) == 0 {
			return 0
		}
		k.countDropped(batch[0].ID)
		r, err := k.child.call(request{Append: batch}, k.within(answerWithin))
		if wait := k.judge(r, err); wait > 0 {
			return wait
		}
		k.pause, k.crashes = 0, 0
		k.stored(max(r.Last, batch[len(batch)-1].ID))
	}
}

func (k *keeper) read(q query) []Entry {
	if k.ready() > 0 {
		return nil
	}
	r, err := k.child.call(request{List: &q}, lookUpWithin)
	if k.judge(r, err) > 0 {
		return nil
	}
	return r.Entries
}

// ready makes sure that a store process is there with the store open. It returns
// how long to wait if not.
func (k *keeper) ready() time.Duration {
	if k.child != nil {
		return 0
	}
	if wait := time.Until(k.notUntil); wait > 0 {
		return wait
	}
	if k.leaving != nil && !k.leaving.ended(endWithin) {
		return k.trouble(fmt.Errorf("%w: it still holds the journal in %s", errHung, k.dir))
	}
	k.leaving = nil
	c, err := startChild(k.o.Command, k.dir)
	if err != nil {
		return k.trouble(fmt.Errorf("starting the store process: %w", err))
	}
	k.child = c
	aside := k.broken || k.crashes >= patience
	r, err := c.call(request{Open: &openRequest{
		Aside: aside, MaxEntries: k.o.MaxEntries, MaxBytes: k.o.MaxBytes, Reserve: k.o.Reserve, Newest: k.o.InMemory,
	}}, k.within(k.o.openWithin))
	if r.MovedAside != "" {
		k.movedAside(r.MovedAside)
	}
	if wait := k.judge(r, err); wait > 0 {
		return wait
	}
	if aside {
		k.broken, k.crashes = false, 0
	}
	k.opened(r)
	return 0
}

// opened compares the store with what is known of it. One that holds less than
// was written was deleted: memory writes it anew.
func (k *keeper) opened(r reply) {
	if _, _, settled := k.ring.bounds(); !settled {
		k.ring.settle(r.Last, r.Entries)
	} else if r.Last < k.storedTo {
		k.log.Warn("the journal on disk is gone; the newest entries are written again", "directory", k.dir, "had", k.storedTo, "has", r.Last)
	}
	k.stored(r.Last)
}

// judge takes a reply and returns how long to wait if it is none to go on with.
func (k *keeper) judge(r reply, err error) time.Duration {
	switch {
	case err != nil:
		if errors.Is(err, errCrashed) {
			k.crashes++
		}
		k.drop()
		return k.trouble(fmt.Errorf("%w: the journal in %s is not being written", err, k.dir))
	case r.Trouble == gone:
		k.letGo()
		k.notUntil = time.Time{}
		return time.Millisecond
	case r.Trouble != none:
		k.broken = k.broken || r.Trouble == broken
		k.letGo()
		return k.trouble(fmt.Errorf("journal in %s: %s", k.dir, r.Reason))
	}
	return 0
}

// letGo ends the process in good order, drop at once.
func (k *keeper) letGo() {
	if k.child != nil {
		k.child.stop()
		k.leaving, k.child = k.child, nil
		go closeOutput(k.leaving)
	}
}

// closeOutput closes our end of the pipe when nobody reads from it any more.
func closeOutput(c *child) {
	<-c.exited
	_ = c.out.Close()
}

func (k *keeper) drop() {
	if k.child != nil {
		k.child.kill()
		k.leaving, k.child = k.child, nil
	}
}

// end writes what is waiting and lets the process go, within a few seconds.
func (k *keeper) end() {
	k.ending = true
	if _, newest, _ := k.ring.bounds(); newest > k.storedTo {
		k.notUntil = time.Time{}
		k.store()
	}
	k.letGo()
	if k.leaving != nil && !k.leaving.ended(endWithin) {
		k.leaving.kill()
		k.leaving.ended(time.Second)
	}
}

// trouble notes why the journal is in memory only and returns the pause before
// the next attempt.
func (k *keeper) trouble(err error) time.Duration {
	k.pause = min(max(2*k.pause, k.o.Retry), longestRetry)
	k.notUntil = time.Now().Add(k.pause)
	k.memoryOnly(err.Error())
	return k.pause
}

func (k *keeper) memoryOnly(reason string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.health.Stored || k.health.Reason == "" {
		k.log.Warn("the journal is kept in memory only; nothing else depends on it", "reason", reason)
	}
	k.health.Stored, k.health.Reason = false, reason
}

func (k *keeper) stored(to uint64) {
	k.storedTo, k.everTo = to, max(k.everTo, to)
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.health.Stored && k.health.Reason != "" {
		k.log.Info("the journal is written to disk again", "directory", k.dir)
	}
	k.health.Stored, k.health.Reason, k.health.StoredTo = true, "", k.storedTo
}

func (k *keeper) movedAside(where string) {
	k.log.Warn("the journal on disk was damaged and has been moved aside; a fresh one is kept", "moved", where)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.health.MovedAside = where
}

// countDropped notices entries that memory let go of before they were written.
func (k *keeper) countDropped(oldest uint64) {
	if oldest <= k.everTo+1 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.health.Dropped += oldest - k.everTo - 1
}

// within shortens what the agent would have to wait for at its end.
func (k *keeper) within(d time.Duration) time.Duration {
	if k.ending {
		return min(d, endWithin)
	}
	return d
}

func (k *keeper) healthNow() Health {
	_, newest, settled := k.ring.bounds()
	k.mu.Lock()
	defer k.mu.Unlock()
	h := k.health
	h.Settled = settled
	if newest > h.StoredTo {
		h.Waiting = newest - h.StoredTo
	}
	return h
}
