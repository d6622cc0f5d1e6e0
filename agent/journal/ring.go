package journal

import (
	"slices"
	"sort"
	"sync"

	"storebeat/agent/core"
)

// ring holds the newest events. Each has a sequence number that starts with 1
// in this run of the agent; its id is the sequence number plus a base, which is
// known once the store has been read. What the store held before gets numbers
// of 0 and less.
type ring struct {
	run      string // of the agent
	mu       sync.Mutex
	capacity int // entries
	room     int // bytes
	size     int
	held     []numbered // oldest first, without gaps
	next     int64
	base     uint64
	settled  bool
	changed  chan struct{} // closed and replaced by every append
}

type numbered struct {
	seq int64
	Position
	core.Event
}

func newRing(run string, capacity, room int) *ring {
	return &ring{run: run, capacity: capacity, room: room, next: 1, changed: make(chan struct{})}
}

func (r *ring) append(e core.Event) {
	e = clip(e)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = append(r.held, numbered{r.next, Position{r.run, uint64(r.next)}, e})
	r.size += sizeOf(&e)
	r.next++
	r.shrink()
	close(r.changed)
	r.changed = make(chan struct{})
}

// shrink forgets the oldest events beyond the limits, but never the newest one.
func (r *ring) shrink() {
	drop := 0
	for len(r.held)-drop > 1 && (len(r.held)-drop > r.capacity || r.size > r.room) {
		r.size -= sizeOf(&r.held[drop].Event)
		r.held[drop] = numbered{} // let go of its strings
		drop++
	}
	r.held = r.held[drop:]
}

// settle takes in what the store held before this run: its newest entries, and
// the last id it ever gave. Later calls change nothing.
func (r *ring) settle(last uint64, newest []Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.settled {
		return
	}
	r.settled, r.base = true, last
	old := make([]numbered, 0, len(newest)+len(r.held))
	for _, e := range newest {
		old = append(old, numbered{int64(e.ID) - int64(last), e.Position, e.Event})
		r.size += sizeOf(&e.Event)
	}
	r.held = append(old, r.held...)
	r.shrink()
}

func (r *ring) entry(n *numbered) Entry {
	return Entry{ID: uint64(int64(r.base) + n.seq), Position: n.Position, Event: n.Event}
}

// upTo returns up to limit of the entries whose ids are above id, oldest first.
func (r *ring) upTo(limit int, id uint64) []Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	from := r.find(int64(id) - int64(r.base) + 1)
	to := min(len(r.held), from+limit)
	out := make([]Entry, 0, to-from)
	for k := from; k < to; k++ {
		out = append(out, r.entry(&r.held[k]))
	}
	return out
}

// from returns the entries numbered seq and above, the number after them, and a
// channel that is closed when there are more.
func (r *ring) from(seq int64) (entries []Entry, next int64, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k := r.find(seq); k < len(r.held); k++ {
		entries = append(entries, r.entry(&r.held[k]))
	}
	return entries, r.next, r.changed
}

// after returns the number of the first entry after a place in this journal.
// If the place is not known any more, it is that of this run's first entry, and
// what came between may be missing.
func (r *ring) after(p Position) (seq int64, gap bool) {
	if p.Run == r.run {
		return int64(min(p.Seq, 1<<62)) + 1, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	seq, gap = 1, true
	for k := range r.held {
		switch h := &r.held[k]; {
		case h.Run != p.Run:
		case h.Seq > p.Seq:
			return h.seq, gap && h.Seq > p.Seq+1
		default:
			seq, gap = h.seq+1, false
		}
	}
	return seq, gap
}

func (r *ring) find(seq int64) int {
	return sort.Search(len(r.held), func(k int) bool { return r.held[k].seq >= seq })
}

// list returns the newest entries that the filter selects, oldest first, and
// the id of the oldest entry in memory.
func (r *ring) list(f Filter) (out []Entry, oldest uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k := len(r.held) - 1; k >= 0 && len(out) < f.limit(); k-- {
		if f.Matches(&r.held[k].Event) {
			out = append(out, r.entry(&r.held[k]))
		}
	}
	slices.Reverse(out)
	oldest = uint64(int64(r.base) + r.next)
	if len(r.held) > 0 {
		oldest = r.entry(&r.held[0]).ID
	}
	return out, oldest
}

// bounds returns the ids of the oldest and the newest entry in memory, or 0, 0.
func (r *ring) bounds() (oldest, newest uint64, settled bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.held) == 0 {
		return 0, 0, r.settled
	}
	return r.entry(&r.held[0]).ID, r.entry(&r.held[len(r.held)-1]).ID, r.settled
}
