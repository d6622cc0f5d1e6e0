package agent

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"storebeat/agent/control"
	"storebeat/agent/journal"
	"storebeat/datastorehb"
)

const (
	// askNewsEvery is how often another host is asked for news, while somebody
	// follows the whole cluster.
	askNewsEvery = time.Second
	// askAwayEvery is how often one that does not answer is asked.
	askAwayEvery = 5 * time.Second
	// mostFollowers is how many may follow the whole cluster through one agent:
	// each asks every other host.
	mostFollowers = 4
)

// FollowRequest asks for journal entries as they come.
type FollowRequest struct {
	journal.Filter
	Cluster bool `json:"cluster"` // those of every host that answers
	// After says where to go on in each host's journal after a break. A host
	// that is not in it begins with its newest entries.
	After map[datastorehb.HostID]journal.Position `json:"after,omitempty"`
}

// FollowItem is one line of the answer.
type FollowItem struct {
	Journal datastorehb.HostID `json:"journal"` // whose
	journal.News
	Note string `json:"note,omitempty"` // for people: the journal can't be followed, or can again
}

func (r *FollowRequest) after(h datastorehb.HostID) *journal.Position {
	if p, ok := r.After[h]; ok {
		return &p
	}
	return nil
}

// question is what agents ask each other for news.
type question struct {
	Filter journal.Filter    `json:"filter"`
	After  *journal.Position `json:"after,omitempty"`
}

func (a *Agent) follow(ctx context.Context, in FollowRequest, send func(any) error) error {
	if in.Cluster {
		return a.followCluster(ctx, in, send)
	}
	for n := range a.journal.Follow(ctx, in.Filter, in.after(a.self.Host)) {
		if err := send(FollowItem{Journal: a.self.Host, News: n}); err != nil {
			return err
		}
	}
	return nil
}

// followCluster tells the newest entries of all hosts in the order of their
// clocks, and then what comes as it comes.
func (a *Agent) followCluster(ctx context.Context, in FollowRequest, send func(any) error) error {
	if a.followers.Add(1) > mostFollowers {
		a.followers.Add(-1)
		return control.Errorf(control.Refused, "%d others follow the whole cluster through this agent already", mostFollowers).
			WithRemedy("follow it through another host, or this host alone")
	}
	defer a.followers.Add(-1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	items := make(chan FollowItem)
	var telling sync.WaitGroup
	defer telling.Wait()
	defer cancel()
	if in.After == nil {
		first := a.firstNews(ctx, in.Filter)
		in.After = map[datastorehb.HostID]journal.Position{}
		for _, item := range first {
			in.After[item.Journal] = item.At
			if err := send(item); err != nil {
				return err
			}
		}
	}
	telling.Go(func() {
		for n := range a.journal.Follow(ctx, in.Filter, in.after(a.self.Host)) {
			tell(ctx, items, FollowItem{Journal: a.self.Host, News: n})
		}
	})
	for _, h := range a.otherHosts() {
		telling.Go(func() { a.followOther(ctx, h, in.Filter, in.after(h), items) })
	}
	for {
		select {
		case item := <-items:
			if err := send(item); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func tell(ctx context.Context, items chan<- FollowItem, item FollowItem) {
	select {
	case items <- item:
	case <-ctx.Done():
	}
}

// firstNews returns the newest entries of all hosts that answer, as many as the
// filter allows in all, and after them the place up to which each host has told.
func (a *Agent) firstNews(ctx context.Context, f journal.Filter) (first []FollowItem) {
	hosts := append(a.otherHosts(), a.self.Host)
	answers := make([][]journal.News, len(hosts))
	var asking sync.WaitGroup
	for i, h := range hosts {
		asking.Go(func() { answers[i], _ = a.newsOf(ctx, h, f, nil) }) // who does not answer is told of later
	}
	asking.Wait()
	var places []FollowItem
	for i, news := range answers {
		for _, n := range news {
			if item := (FollowItem{Journal: hosts[i], News: n}); n.Entry != nil {
				first = append(first, item)
			} else {
				places = append(places, item)
			}
		}
	}
	slices.SortStableFunc(first, func(x, y FollowItem) int { return x.Entry.Wall.Compare(y.Entry.Wall) })
	if f.Limit > 0 {
		first = first[max(0, len(first)-f.Limit):]
	}
	return append(first, places...)
}

// newsOf asks a host, which may be this one.
func (a *Agent) newsOf(ctx context.Context, h datastorehb.HostID, f journal.Filter, after *journal.Position) (news []journal.News, err error) {
	if h == a.self.Host {
		return a.journal.News(ctx, f, after, journal.MaxLimit), nil
	}
	if f.Limit <= 0 || f.Limit > mostEvents {
		f.Limit = mostEvents
	}
	err = a.ask(ctx, h, envelope{News: &question{Filter: f, After: after}}, &news)
	if err == nil && len(news) == 0 {
		err = fmt.Errorf("its answer is empty")
	}
	return news, err
}

// followOther asks another host again and again.
func (a *Agent) followOther(ctx context.Context, h datastorehb.HostID, f journal.Filter, after *journal.Position, items chan<- FollowItem) {
	away := false
	for ctx.Err() == nil {
		pause := askNewsEvery
		news, err := a.newsOf(ctx, h, f, after)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !away:
			tell(ctx, items, FollowItem{Journal: h, Note: fmt.Sprintf("the journal of %s can't be followed: %v; it is tried again", a.hostName(h), err)})
		case err == nil && away:
			tell(ctx, items, FollowItem{Journal: h, Note: fmt.Sprintf("the journal of %s is followed again", a.hostName(h))})
		}
		if away = err != nil; away {
			pause = askAwayEvery
		}
		for _, n := range news {
			if n.At.Run == "" {
				continue
			}
			if n.Entry != nil || n.Gap || after == nil || *after != n.At {
				tell(ctx, items, FollowItem{Journal: h, News: n})
			}
			after = &n.At
		}
		if len(news) > mostEvents {
			continue // there is more
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

func (a *Agent) hostName(h datastorehb.HostID) string {
	if m, ok := a.member(h); ok {
		return m.Name
	}
	return fmt.Sprintf("host %d", h)
}
