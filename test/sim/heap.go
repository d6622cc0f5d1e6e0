package sim

import "time"

// event is something that happens at an instant of virtual time. Events of one
// instant happen in the order in which they were planned.
type event struct {
	at    time.Duration
	order uint64
	do    func()
}

// schedule is a heap of events, the next one first.
type schedule struct {
	events []event
	orders uint64
}

func (s *schedule) before(i, j int) bool {
	a, b := &s.events[i], &s.events[j]
	return a.at < b.at || a.at == b.at && a.order < b.order
}

func (s *schedule) add(at time.Duration, do func()) {
	s.orders++
	s.events = append(s.events, event{at, s.orders, do})
	for i := len(s.events) - 1; i > 0; {
		parent := (i - 1) / 2
		if !s.before(i, parent) {
			return
		}
		s.events[i], s.events[parent] = s.events[parent], s.events[i]
		i = parent
	}
}

// next takes the next event out, if there is one not later than until.
func (s *schedule) next(until time.Duration) (event, bool) {
	if len(s.events) == 0 || s.events[0].at > until {
		return event{}, false
	}
	first := s.events[0]
	last := len(s.events) - 1
	s.events[0] = s.events[last]
	s.events[last] = event{}
	s.events = s.events[:last]
	s.sink(0)
	return first, true
}

func (s *schedule) sink(i int) {
	for {
		child := 2*i + 1
		if child >= len(s.events) {
			return
		}
		if child+1 < len(s.events) && s.before(child+1, child) {
			child++
		}
		if !s.before(child, i) {
			return
		}
		s.events[i], s.events[child] = s.events[child], s.events[i]
		i = child
	}
}
