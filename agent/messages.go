package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"storebeat/agent/core"
	"storebeat/agent/journal"
	"storebeat/agent/network"
	"storebeat/datastorehb"
	"storebeat/partition"
)

// envelope is what agents send each other over TLS: a message for the core, or
// the question for a view or for journal entries, or a user's wish for the master.
type envelope struct {
	Message *core.Message        `json:"message,omitempty"`
	View    bool                 `json:"view,omitempty"`
	Events  *journal.Filter      `json:"events,omitempty"`
	News    *question            `json:"news,omitempty"` // for a follower
	Cluster *core.ClusterCommand `json:"cluster,omitempty"`
	Confirm *core.ConfirmDead    `json:"confirm,omitempty"`

	Forecast   *ForecastRequest `json:"forecast,omitempty"`
	Shortfalls bool             `json:"shortfalls,omitempty"`
	Conditions bool             `json:"conditions,omitempty"`
	Places     *PlacesRequest   `json:"places,omitempty"`
	Use        *UseRequest      `json:"use,omitempty"`
}

// askTime is how long to wait for another host's answer to a question that can
// do without.
const askTime = 2 * time.Second

// mostEvents is how many journal entries another host is asked for at most: an
// answer has room for about a thousand.
const mostEvents = 500

// sendTime is how long a message may take on its way. Messages may be lost.
const sendTime = 5 * time.Second

// deliver takes in a packet from the network. What is not authentic is counted and dropped.
func (a *Agent) deliver(raw []byte, from netip.AddrPort, at datastorehb.Instant) {
	p, err := partition.Open(raw, a.cfg.Cluster.UUID, a.self.Host, a.networkKey)
	if err != nil {
		a.metrics.Rejected()
		if ok, held := a.badPackets.Allow(at); ok {
			a.log.Warn("a packet was dropped", "from", from, "error", err, "held", held)
		}
		return
	}
	if m, ok := a.member(p.From.Host); ok {
		a.metrics.Received(m.ID, m.Name, at)
	}
	a.observe(core.HeartbeatReceived{Packet: p})
}

func (a *Agent) sendHeartbeat(p partition.Packet) {
	raw, err := partition.Seal(nil, p, a.networkKey)
	if err != nil {
		a.log.Error("can't make a network heartbeat", "to", p.To, "error", err)
		return
	}
	// An error is counted and logged by the connection: heartbeats may be lost.
	_ = a.network.Send(p.To, raw)
}

func (a *Agent) sendMessage(e core.Send) {
	go func() {
		body, err := json.Marshal(envelope{Message: &e.Message})
		if err == nil {
			ctx, cancel := context.WithTimeout(context.Background(), sendTime)
			defer cancel()
			_, err = a.peers.Send(ctx, e.To, body)
		}
		if err != nil {
			a.log.Debug("a message was not delivered", "to", e.To, "kind", e.Message.Kind, "error", err)
		}
	}()
}

// handle answers another agent.
func (a *Agent) handle(ctx context.Context, from datastorehb.HostID, body []byte) ([]byte, error) {
	var e envelope
	if err := json.Unmarshal(body, &e); err != nil {
		return nil, fmt.Errorf("message of host %d can't be decoded: %w", from, err)
	}
	switch {
	case e.Message != nil:
		a.observe(core.Received{From: from, Message: *e.Message})
		return []byte("{}"), nil
	case e.Events != nil:
		if e.Events.Limit <= 0 || e.Events.Limit > mostEvents {
			e.Events.Limit = mostEvents
		}
		return json.Marshal(a.journal.List(*e.Events))
	case e.News != nil:
		if e.News.Filter.Limit <= 0 || e.News.Filter.Limit > mostEvents {
			e.News.Filter.Limit = mostEvents
		}
		return json.Marshal(a.journal.News(ctx, e.News.Filter, e.News.After, mostEvents))
	case e.Cluster != nil:
		return answer(a.changeRecord(ctx, *e.Cluster))
	case e.Confirm != nil:
		return answer(a.confirmHere(ctx, *e.Confirm))
	case e.Forecast != nil:
		return answer(a.forecast(ctx, *e.Forecast))
	case e.Shortfalls:
		return answer(a.shortfalls(ctx))
	case e.Places != nil:
		return answer(a.places(ctx, *e.Places))
	case e.Use != nil:
		return answer(a.useHere(ctx, *e.Use))
	case e.Conditions:
		return json.Marshal(a.conditions())
	case e.View:
		return answer(a.view(ctx))
	}
	return nil, errors.New("the message holds nothing that this version knows: upgrade this host")
}

// answer encodes what was found out for another host.
func answer(found any, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return json.Marshal(found)
}

// clusterView is the master's view if it can be had, else this host's own.
func (a *Agent) clusterView(ctx context.Context) (core.View, error) {
	own, err := a.view(ctx)
	if err != nil || own.Leading || own.Master == 0 {
		return own, err
	}
	var v core.View
	if err := a.ask(ctx, own.Master, envelope{View: true}, &v); err != nil {
		a.log.Debug("the master's view can't be had", "master", own.Master, "error", err)
		return own, nil
	}
	return v, nil
}

// ask asks another host a question and decodes its answer.
func (a *Agent) ask(ctx context.Context, host datastorehb.HostID, question envelope, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	return a.askWithin(ctx, host, question, answer)
}

// named is an error in which hosts have their names in place of their numbers.
type named struct {
	error
	text string
}

func (e named) Error() string { return e.text }

func (e named) Unwrap() error { return e.error }

// askWithin is ask with the time that ctx leaves.
func (a *Agent) askWithin(ctx context.Context, host datastorehb.HostID, question envelope, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	reply, err := a.peers.Send(ctx, host, body)
	if err != nil {
		return named{err, core.Named(err.Error(), a.hostName)}
	}
	return json.Unmarshal(reply, answer)
}

// clusterEvents returns the newest entries of all hosts that answer, in the order
// of their wall clocks.
func (a *Agent) clusterEvents(ctx context.Context, f journal.Filter) []journal.Entry {
	if f.Limit <= 0 {
		f.Limit = journal.DefaultLimit
	}
	others := a.otherHosts()
	answers := make([][]journal.Entry, len(others))
	var asking sync.WaitGroup
	for i, host := range others {
		asking.Go(func() {
			if err := a.ask(ctx, host, envelope{Events: &f}, &answers[i]); err != nil {
				a.log.Debug("another host's journal can't be had", "host", host, "error", err)
			}
		})
	}
	asking.Wait()
	all := slices.Concat(append(answers, a.journal.List(f))...)
	slices.SortStableFunc(all, func(x, y journal.Entry) int { return x.Wall.Compare(y.Wall) })
	return all[max(0, len(all)-f.Limit):]
}

// ping asks an address once, and reports an answer.
func (a *Agent) ping(e core.Ping) {
	address, err := netip.ParseAddr(e.Address)
	if err != nil {
		a.log.Error("can't ping", "address", e.Address, "error", err)
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), a.cfg.Timing.Interval)
		defer cancel()
		answered, err := network.Ping(ctx, address, a.cfg.Timing.Interval)
		if errors.Is(err, network.ErrNotPermitted) {
			a.pingDenied.Do(func() { a.log.Warn("pings are no evidence here", "error", err) })
		}
		if answered {
			a.observe(core.PingAnswered(e))
		}
	}()
}
