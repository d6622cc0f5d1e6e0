package agent

import (
	"context"
	"slices"

	"github.com/google/uuid"

	"storebeat/agent/control"
	"storebeat/agent/core"
	"storebeat/datastorehb"
	"storebeat/poweron"
)

// ForecastRequest asks what it would mean to lose hosts, all at once.
type ForecastRequest struct {
	Hosts []datastorehb.HostID `json:"hosts"`
}

// clusterForecast is the master's forecast.
func (a *Agent) clusterForecast(ctx context.Context, in ForecastRequest) (f poweron.Forecast, err error) {
	elsewhere, err := a.askMaster(ctx, envelope{Forecast: &in}, &f)
	if err != nil || elsewhere {
		return f, err
	}
	return a.forecast(ctx, in)
}

// forecast is made outside of the loop: only the situation is taken there.
func (a *Agent) forecast(ctx context.Context, in ForecastRequest) (f poweron.Forecast, err error) {
	s, err := a.situation(ctx)
	if err != nil {
		return f, err
	}
	for _, id := range in.Hosts {
		if !slices.ContainsFunc(s.Hosts, func(h poweron.Host) bool { return h.ID == id }) {
			return f, control.Errorf(control.NotFound, "there is no host %d", id).WithRemedy("see `storebeat host list`")
		}
	}
	return s.Lose(in.Hosts...), nil
}

// clusterShortfalls tells, by the master's knowledge, which single hosts'
// machines the rest could not take.
func (a *Agent) clusterShortfalls(ctx context.Context) (short []poweron.Shortfall, err error) {
	elsewhere, err := a.askMaster(ctx, envelope{Shortfalls: true}, &short)
	if err != nil || elsewhere {
		return short, err
	}
	return a.shortfalls(ctx)
}

func (a *Agent) shortfalls(ctx context.Context) ([]poweron.Shortfall, error) {
	s, err := a.situation(ctx)
	if err != nil {
		return nil, err
	}
	return s.Shortfalls(), nil
}

// PlacesRequest asks where a machine could run now.
type PlacesRequest struct {
	VM uuid.UUID `json:"vm"`
}

// clusterPlaces tells, by the master's knowledge, where a machine could run now.
func (a *Agent) clusterPlaces(ctx context.Context, in PlacesRequest) (places []poweron.Place, err error) {
	elsewhere, err := a.askMaster(ctx, envelope{Places: &in}, &places)
	if err != nil || elsewhere {
		return places, err
	}
	return a.places(ctx, in)
}

func (a *Agent) places(ctx context.Context, in PlacesRequest) ([]poweron.Place, error) {
	s, err := a.situation(ctx)
	if err != nil {
		return nil, err
	}
	places, known := s.Places(in.VM)
	if !known {
		return nil, control.Errorf(control.NotFound, "the master knows no machine %s", in.VM).WithRemedy("see `storebeat vm list --all`")
	}
	return places, nil
}

// situation is what this host knows as a master; nobody else knows enough.
func (a *Agent) situation(ctx context.Context) (s poweron.Situation, err error) {
	leading := false
	err = a.look(ctx, func(c *core.Core) {
		if leading = c.Leading(); leading {
			s = c.Situation()
		}
	})
	if err == nil && !leading {
		err = control.Errorf(control.Unavailable, "this host is not the master, who alone knows the whole cluster").WithRemedy("repeat the command in a few seconds")
	}
	return s, err
}

// askMaster asks the master, if that is another host.
func (a *Agent) askMaster(ctx context.Context, question envelope, answer any) (elsewhere bool, err error) {
	leading, master := false, datastorehb.HostID(0)
	err = a.look(ctx, func(c *core.Core) { leading, master = c.Leading(), c.Master() })
	switch {
	case err != nil || leading:
		return false, err
	case master == 0:
		return false, control.Errorf(control.Unavailable, "there is no master, who alone knows the whole cluster").WithRemedy("repeat the command in a few seconds")
	}
	if err := a.ask(ctx, master, question, answer); err != nil {
		return true, control.Errorf(control.Unavailable, "the master did not answer: %v", err).WithRemedy("repeat the command in a few seconds")
	}
	return true, nil
}
