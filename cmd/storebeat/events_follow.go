package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"storebeat/agent"
	"storebeat/agent/control"
	"storebeat/agent/journal"
	"storebeat/datastorehb"
)

// The pauses between two attempts to reach an agent that is away.
const (
	firstPause   = 250 * time.Millisecond
	longestPause = 2 * time.Second
)

// follow shows entries as they come until ctx is done. It goes on where it was
// when the agent comes back from being away.
func (a *app) follow(ctx context.Context, request agent.FollowRequest, show func(journal.Entry) error) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	defer client.Close()
	f := follower{app: a, request: request, show: show}
	pause := firstPause
	for {
		before := f.lines
		err := client.Stream(ctx, agent.MethodFollow, f.request, f.take)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			err = control.Errorf(control.Unavailable, "the agent has ended")
		}
		if !awayFor(err) || f.lines == 0 {
			return err
		}
		if f.lines > before {
			pause = firstPause
		}
		if !f.away {
			f.away = true
			f.note("the agent is away (%v); its events are shown as soon as it is back", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, longestPause)
	}
}

// awayFor reports whether an error may pass by itself.
func awayFor(err error) bool {
	switch control.CodeOf(err) {
	case control.NotRunning, control.Unavailable:
		return true
	}
	return false
}

// follower remembers how far each journal has been shown.
type follower struct {
	*app
	request agent.FollowRequest
	show    func(journal.Entry) error
	lines   int // of the stream
	away    bool
}

func (f *follower) take(value json.RawMessage) error {
	var item agent.FollowItem
	if err := json.Unmarshal(value, &item); err != nil {
		return control.Errorf(control.Internal, "an entry makes no sense: %v", err).WithRemedy("use a storebeat command of the agent's version")
	}
	f.lines++
	if f.away {
		f.away = false
		f.note("the agent is back")
	}
	if item.Note != "" {
		f.note("%s", item.Note)
		return nil
	}
	if item.Gap {
		f.note("entries before this one may be missing: the journal no longer has them")
	}
	if f.request.After == nil {
		f.request.After = map[datastorehb.HostID]journal.Position{}
	}
	f.request.After[item.Journal] = item.At
	if item.Entry == nil {
		return nil
	}
	if f.output == "json" {
		return json.NewEncoder(f.out).Encode(item.Entry)
	}
	return f.show(*item.Entry)
}

// note writes to standard error, beside the entries.
func (f *follower) note(format string, args ...any) {
	fmt.Fprintf(f.errOut, "storebeat: "+format+"\n", args...)
}
