package agent

import (
	"sync"
	"time"

	"storebeat/agent/clock"
	"storebeat/datastorehb"
)

// queue carries out operations one after the other in a goroutine of its own.
// An operation may hang for ever: it holds up those behind it in the same queue
// and nothing else. The zero queue is ready.
type queue struct {
	mu      sync.Mutex
	waiting []operation
	running string
	since   datastorehb.Instant
	busy    bool
}

type operation struct {
	name string
	do   func()
}

// add appends an operation and never blocks.
func (q *queue) add(name string, do func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, operation{name, do})
	if !q.busy {
		q.busy = true
		go q.work()
	}
}

func (q *queue) work() {
	for {
		op, ok := q.next()
		if !ok {
			return
		}
		op.do()
	}
}

func (q *queue) next() (operation, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		q.busy, q.running = false, ""
		return operation{}, false
	}
	op := q.waiting[0]
	q.waiting = q.waiting[1:]
	q.running, q.since = op.name, clock.Now()
	return op, true
}

// state tells what has been running for how long, and how many wait behind it.
func (q *queue) state() (running string, for_ time.Duration, waiting int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.running == "" {
		return "", 0, 0
	}
	return q.running, clock.Now().Sub(q.since), len(q.waiting)
}
