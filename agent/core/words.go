package core

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"storebeat/datastorehb"
)

var hostNumber = regexp.MustCompile(`\bhost ([1-9][0-9]{0,3})\b`)

// named puts names in the place of host numbers. The packages below know hosts
// by their number alone, and people know them by their name.
func (c *Core) named(text string) string { return Named(text, c.HostName) }

// Named puts the names that name knows in the place of host numbers.
func Named(text string, name func(datastorehb.HostID) string) string {
	if !strings.Contains(text, "host ") { // most texts
		return text
	}
	return hostNumber.ReplaceAllStringFunc(text, func(found string) string {
		number, err := strconv.ParseUint(found[len("host "):], 10, 16)
		if err != nil {
			return found
		}
		return name(datastorehb.HostID(number))
	})
}

// thisHost is how the packages below, and this one, speak of the host that decides.
var thisHost = regexp.MustCompile(`\bthis host\b( itself)?`)

// nameHosts puts names in the place of numbers, and of "this host": who reads a view may
// sit at another one.
func (c *Core) nameHosts(v *View) {
	shown := func(texts ...*string) {
		for _, text := range texts {
			*text = thisHost.ReplaceAllString(c.named(*text), strings.ReplaceAll(v.Name, "$", "$$$$")+"$1")
		}
	}
	every := func(texts []string) []string {
		texts = slices.Clone(texts)
		for i := range texts {
			shown(&texts[i])
		}
		return texts
	}
	for i := range v.Hosts {
		h := &v.Hosts[i]
		shown(&h.Rule)
		h.Evidence, h.Stuck = every(h.Evidence), every(h.Stuck)
	}
	for i := range v.Datastores {
		d := &v.Datastores[i]
		shown(&d.Why, &d.ReadError)
		d.Reasons = every(d.Reasons)
		for k := range d.Hosts {
			shown(&d.Hosts[k].NotClosed)
		}
	}
	for i := range v.Machines {
		m := &v.Machines[i]
		shown(&m.Why)
		m.Refusals = every(m.Refusals)
	}
	shown(&v.Cluster.Missing, &v.Cluster.Outcast, &v.Cluster.Outdated)
	v.Cluster.Differences = every(v.Cluster.Differences)
}

func (c *Core) allNamed(texts []string) []string {
	for i, text := range texts {
		texts[i] = c.named(text)
	}
	return texts
}

// rounded is a duration in the form that people read.
func rounded(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
