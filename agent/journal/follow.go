package journal

import (
	"context"
	"time"
)

// settleWithin is how long after the start followers wait for the store to be
// read: before that it can't be told where an earlier run ended. That run's store
// process may still have the store when this one wants it for the first time.
const settleWithin = 5 * time.Second

// News is one thing that a follower is told.
type News struct {
	Entry *Entry   `json:"entry,omitempty"` // nil: nothing more that was asked for
	At    Position `json:"at"`              // up to where the journal has been told; where to go on after a break
	Gap   bool     `json:"gap,omitempty"`   // entries before this may be missing
}

// News returns what has come after a place in the journal and is selected, at
// most limit entries at a time, and the place up to which that is. From nil it
// begins with the newest entries that the filter selects. The last one has no entry.
func (j *Journal) News(ctx context.Context, f Filter, after *Position, limit int) []News {
	j.settle(ctx)
	news, _ := j.news(f, after, limit)
	return news
}

// Follow tells what comes, as News does, until ctx is done or the journal is
// closed. What a reader is too slow for shows as a gap.
func (j *Journal) Follow(ctx context.Context, f Filter, after *Position) <-chan News {
	out := make(chan News)
	go func() {
		defer close(out)
		j.settle(ctx)
		for {
			news, changed := j.news(f, after, j.keeper.o.InMemory)
			for _, n := range news {
				select {
				case out <- n:
				case <-ctx.Done():
					return
				case <-j.closed:
					return
				}
			}
			after = &news[len(news)-1].At
			select {
			case <-changed:
			case <-ctx.Done():
				return
			case <-j.closed:
				return
			}
		}
	}()
	return out
}

// news also returns a channel that is closed when there is more.
func (j *Journal) news(f Filter, after *Position, limit int) (news []News, changed <-chan struct{}) {
	if after == nil {
		_, next, changed := j.ring.from(1 << 62)
		at := Position{j.ring.run, uint64(next - 1)}
		for _, e := range j.List(f) {
			if e.Run != at.Run || e.Seq <= at.Seq { // the others are told next
				news = append(news, News{Entry: &e, At: e.Position})
			}
		}
		return append(news, News{At: at}), changed
	}
	from, gap := j.ring.after(*after)
	entries, next, changed := j.ring.from(from)
	gap = gap || next-int64(len(entries)) > from
	at := Position{j.ring.run, uint64(next - 1)}
	for i := range entries {
		if len(news) == limit {
			at = entries[i-1].Position
			changed = closed
			break
		}
		if f.Matches(&entries[i].Event) {
			news = append(news, News{Entry: &entries[i], At: entries[i].Position, Gap: gap})
			gap = false
		}
	}
	return append(news, News{At: at, Gap: gap}), changed
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// settle waits until it is known what earlier runs left, or will not be soon.
func (j *Journal) settle(ctx context.Context) {
	ctx, cancel := context.WithDeadline(ctx, j.opened.Add(settleWithin))
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if len(j.keeper.o.Command) == 0 || j.Health().Settled {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		case <-j.closed:
			return
		}
	}
}
