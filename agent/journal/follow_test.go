package journal

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// reader follows a journal and remembers what it was told, through breaks.
type reader struct {
	after *Position
	texts []string
	gaps  int
}

func (r *reader) take(n News) {
	r.after = &n.At
	if n.Gap {
		r.gaps++
	}
	if n.Entry != nil {
		r.texts = append(r.texts, n.Entry.Text)
	}
}

func (r *reader) ask(j *Journal) {
	for _, n := range j.News(context.Background(), Filter{}, r.after, 1000) {
		r.take(n)
	}
}

func (r *reader) expect(t *testing.T, what string, from, to int) {
	t.Helper()
	var want []string
	for n := from; n <= to; n++ {
		want = append(want, fmt.Sprintf("event %d", n))
	}
	if diff := cmp.Diff(want, r.texts); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestFollow(t *testing.T) {
	j := start(t, "", Options{})
	add(j, 1, 3)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	first, second := j.Follow(ctx, Filter{Limit: 2}, nil), j.Follow(context.Background(), Filter{}, nil)
	var r reader
	r.take(<-first)
	add(j, 4, 20)
	for len(r.texts) < 19 {
		select {
		case n := <-first:
			r.take(n)
		case <-time.After(patienceInTests):
			t.Fatalf("only %v was told", r.texts)
		}
	}
	r.expect(t, "the newest two, and what came then", 2, 20)
	cancel()
	until(t, "the first is closed", func() bool { _, open := <-first; return !open })
	// The second has read nothing and held nobody up. Closing the journal ends it.
	j.Close()
	for range second {
	}
}

// Nothing is lost or told twice when the agent ends in good order and another begins.
func TestFollowingThroughRestarts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	var r reader
	for run := range 4 {
		j := start(t, dir, quick())
		r.ask(j)
		add(j, 10*run+1, 10*run+5)
		r.ask(j)
		r.ask(j)
		add(j, 10*run+6, 10*run+10) // the reader learns of these from the next run
		j.Close()
	}
	j := start(t, dir, quick())
	r.ask(j)
	r.expect(t, "four runs", 1, 40)
	if r.gaps != 0 {
		t.Errorf("%d gaps were told of", r.gaps)
	}
}

// An agent that is killed loses what it had not written, but the reader has seen
// it. The next run gives the same ids to others, which are news all the same.
func TestFollowingThroughACrash(t *testing.T) {
	before := newRing("first", 100, 1<<20)
	for n := 1; n <= 57; n++ {
		before.append(event(n))
	}
	seen := Position{"first", 57}
	next := newRing("second", 100, 1<<20)
	next.append(event(58))
	next.settle(55, before.upTo(55, 0))
	next.append(event(59))
	seq, gap := next.after(seen)
	entries, _, _ := next.from(seq)
	if diff := cmp.Diff([]string{"56:event 58", "57:event 59"}, contents(entries)); diff != "" || gap {
		t.Errorf("gap %t (-want +got):\n%s", gap, diff)
	}
}

func TestPlacesInAJournal(t *testing.T) {
	old := newRing("first", 100, 1<<20)
	for n := 1; n <= 10; n++ {
		old.append(event(n))
	}
	r := newRing("second", 100, 1<<20)
	r.settle(10, old.upTo(100, 4)) // of the first run, 5 to 10 are left
	for n := 11; n <= 13; n++ {
		r.append(event(n))
	}
	for _, c := range []struct {
		place Position
		first string
		gap   bool
	}{
		{Position{"second", 0}, "11:event 11", false},
		{Position{"second", 2}, "13:event 13", false},
		{Position{"second", 3}, "", false},
		{Position{"second", 1 << 63}, "", false},
		{Position{"first", 8}, "9:event 9", false},
		{Position{"first", 10}, "11:event 11", false},
		{Position{"first", 99}, "11:event 11", false},
		{Position{"first", 0}, "5:event 5", true}, // 1 to 4 are gone
		{Position{"another", 7}, "11:event 11", true},
	} {
		j := &Journal{ring: r, keeper: &keeper{}}
		news, _ := j.news(Filter{}, &c.place, 100)
		first := ""
		if news[0].Entry != nil {
			first = contents([]Entry{*news[0].Entry})[0]
		}
		if first != c.first || news[0].Gap != c.gap {
			t.Errorf("after %v: %q, gap %t; want %q, gap %t", c.place, first, news[0].Gap, c.first, c.gap)
		}
		if last := news[len(news)-1]; last.Entry != nil || last.At != (Position{"second", 3}) {
			t.Errorf("after %v it goes on at %v", c.place, last.At)
		}
	}
}

// A reader who was away for longer than memory reaches is told so, once.
func TestAGapIsTold(t *testing.T) {
	j := start(t, "", Options{InMemory: 10})
	var r reader
	r.ask(j)
	add(j, 1, 25)
	r.ask(j)
	r.ask(j)
	r.expect(t, "what is left", 16, 25)
	if r.gaps != 1 {
		t.Errorf("%d gaps were told of", r.gaps)
	}
}

// What does not fit into one answer comes with the next.
func TestNewsInParts(t *testing.T) {
	j := start(t, "", Options{})
	var r reader
	r.ask(j)
	add(j, 1, 25)
	for range 4 {
		for _, n := range j.News(context.Background(), Filter{}, r.after, 10) {
			r.take(n)
		}
	}
	r.expect(t, "all parts", 1, 25)
}

// The place moves on past what is not wanted, so that it is no gap later.
func TestWhatIsNotWantedMovesThePlace(t *testing.T) {
	j := start(t, "", Options{InMemory: 10})
	at := j.News(context.Background(), Filter{Kind: "other"}, nil, 10)[0].At
	for n := range 5 {
		add(j, 5*n+1, 5*n+5)
		news := j.News(context.Background(), Filter{Kind: "other"}, &at, 10)
		if len(news) != 1 || news[0].Entry != nil || news[0].Gap {
			t.Fatalf("told %+v", news)
		}
		at = news[0].At
	}
}
