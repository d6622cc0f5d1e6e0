package poweron

import (
	"fmt"
	"time"

	"storebeat/datastorehb"
)

// Change is what a user changes in the entry of a machine, beside what its
// definition says. What is nil stays as it is.
type Change struct {
	Priority       *int                  `json:"priority,omitempty"`
	OnHostShutdown *HostShutdownResponse `json:"on_host_shutdown,omitempty"`
	RebootWait     *time.Duration        `json:"reboot_wait,omitempty"` // in nanoseconds
	Groups         *[]string             `json:"groups,omitempty"`
	Must           AffinityChange        `json:"must,omitzero"`
	Prefer         AffinityChange        `json:"prefer,omitzero"`
}

// AffinityChange replaces lists of an Affinity. What is nil stays as it is.
type AffinityChange struct {
	Apart    *[]string             `json:"apart,omitempty"`
	Together *[]string             `json:"together,omitempty"`
	Hosts    *[]datastorehb.HostID `json:"hosts,omitempty"`
}

// Of returns the entry with the change made, or why that makes no valid entry.
func (c Change) Of(e Entry) (Entry, error) {
	replace(&e.Policy.Priority, c.Priority)
	if c.OnHostShutdown != nil || c.RebootWait != nil {
		e.Policy = e.Policy.WithHostShutdown()
	}
	replace(&e.Policy.OnHostShutdown, c.OnHostShutdown)
	replace(&e.Policy.RebootWait, c.RebootWait)
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
