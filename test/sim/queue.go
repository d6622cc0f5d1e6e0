package sim

// queue carries out operations one after the other. One that hangs holds up
// those behind it, and nothing else.
type queue struct {
	waiting []func(done func())
	busy    bool
}

// add appends an operation, which calls done when it has returned.
func (q *queue) add(do func(done func())) {
	q.waiting = append(q.waiting, do)
	q.work()
}

func (q *queue) work() {
	if q.busy || len(q.waiting) == 0 {
		return
	}
	do := q.waiting[0]
	q.waiting = q.waiting[1:]
	q.busy = true
	do(func() {
		q.busy = false
		q.work()
	})
}
