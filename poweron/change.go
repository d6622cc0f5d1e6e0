package poweron

import (
	"fmt"
	"time"

	"storebeat/datastorehb"
)

// Change is what a user changes in the entry of a machine, beside what its
// definition says. What is nil stays as it is.
type Change struct {
	Policy PolicyChange   `json:"policy,omitzero"`
	Groups *[]string      `json:"groups,omitempty"`
	Must   AffinityChange `json:"must,omitzero"`
	Prefer AffinityChange `json:"prefer,omitzero"`
}

// PolicyChange replaces parts of a Policy.
type PolicyChange struct {
	Priority        *int                   `json:"priority,omitempty"`
	Restart         *bool                  `json:"restart,omitempty"`
	Isolation       *IsolationResponse     `json:"isolation,omitempty"`
	Attempts        *int                   `json:"attempts,omitempty"`
	Limit           *int                   `json:"limit,omitempty"`
	Window          *time.Duration         `json:"window,omitempty"`    // in nanoseconds
	StopTime        *time.Duration         `json:"stop_time,omitempty"` // in nanoseconds
	OnGuestShutDown *GuestShutDownResponse `json:"on_guest_shut_down,omitempty"`
	OnHostShutdown  *HostShutdownResponse  `json:"on_host_shutdown,omitempty"`
	RebootWait      *time.Duration         `json:"reboot_wait,omitempty"` // in nanoseconds
	Pause           *PauseResponse         `json:"pause,omitempty"`
}

// Of returns the policy with the change made. It may be none that is valid.
func (c PolicyChange) Of(p Policy) Policy {
	if c.OnHostShutdown != nil || c.RebootWait != nil || c.Pause != nil {
		p = p.Complete()
	}
	replace(&p.Priority, c.Priority)
	replace(&p.Restart, c.Restart)
	replace(&p.Isolation, c.Isolation)
	replace(&p.Attempts, c.Attempts)
	replace(&p.Limit, c.Limit)
	replace(&p.Window, c.Window)
	replace(&p.StopTime, c.StopTime)
	replace(&p.OnGuestShutDown, c.OnGuestShutDown)
	replace(&p.OnHostShutdown, c.OnHostShutdown)
	replace(&p.RebootWait, c.RebootWait)
	replace(&p.Pause, c.Pause)
	return p
}

// AffinityChange replaces lists of an Affinity. What is nil stays as it is.
type AffinityChange struct {
	Apart    *[]string             `json:"apart,omitempty"`
	Together *[]string             `json:"together,omitempty"`
	Hosts    *[]datastorehb.HostID `json:"hosts,omitempty"`
}

// Of returns the entry with the change made, or why that makes no valid entry.
func (c Change) Of(e Entry) (Entry, error) {
	e.Policy = c.Policy.Of(e.Policy)
	replace(&e.Rules.Groups, c.Groups)
	c.Must.in(&e.Rules.Must)
	c.Prefer.in(&e.Rules.Prefer)
	if err := e.Validate(); err != nil {
		return Entry{}, fmt.Errorf("change machine %s: %w", e.Name, err)
	}
	return e, nil
}

func (c AffinityChange) in(a *Affinity) {
	replace(&a.Apart, c.Apart)
	replace(&a.Together, c.Together)
	replace(&a.Hosts, c.Hosts)
}

func replace[T any](to *T, by *T) {
	if by != nil {
		*to = *by
	}
}
