package sim

import (
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"storebeat/agent/core"
	"storebeat/poweron"
)

// thing is the kind of what hosts have and machines need here.
const thing poweron.Kind = "thing"

// things is what a host has for machines. One that nothing is declared of has all there is.
type things struct {
	declared bool
	silent   bool                     // its program says nothing of it
	has      []string                 // sorted
	taken    map[string]time.Duration // when it was taken away
}

// lacks returns the first thing that a machine needs and the host does not have, or "".
func (h *host) lacks(vm uuid.UUID) string {
	for _, name := range h.w.specOf(vm).Needs {
		if h.things.declared && !slices.Contains(h.things.has, name) {
			return name
		}
	}
	return ""
}

// needsOf is what the driver reads in a machine's definition.
func (w *World) needsOf(vm uuid.UUID) (n poweron.Needs) {
	n.Watchdog = w.setup.Watchdog > 0
	for _, name := range w.specOf(vm).Needs {
		n.Driver = "sim"
		n.Of = append(n.Of, poweron.Need{Kind: thing, Name: name})
	}
	return n
}

// sayWhatItHas tells the core what the host has.
func (a *agent) sayWhatItHas() {
	if t := &a.h.things; t.declared && !t.silent {
		a.observe(core.HostCapable{Capabilities: poweron.Capabilities{Drivers: []poweron.DriverState{{Name: "sim",
			Has: map[poweron.Kind][]string{thing: slices.Clone(t.has)}}}}})
	}
}

// give gives the host things, and take takes them away.
func (h *host) give(names []string) {
	h.things.has = slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(h.things.has), names...))))
	maps.DeleteFunc(h.things.taken, func(name string, _ time.Duration) bool { return slices.Contains(names, name) })
	h.changedThings()
}

func (h *host) take(names []string) {
	h.things.has = slices.DeleteFunc(slices.Clone(h.things.has), func(n string) bool { return slices.Contains(names, n) })
	if h.things.taken == nil {
		h.things.taken = map[string]time.Duration{}
	}
	for _, name := range names {
		h.things.taken[name] = h.w.now
	}
	h.changedThings()
}

func (h *host) changedThings() {
	if a := h.agent; a != nil {
		a.soon(a.sayWhatItHas)
	}
}

// toldAgain is how long it may take until a master knows what a host has if messages were lost.
const toldAgain = 70 * time.Second

// seeNeeds checks I3 when a host is ordered to start a machine: the master orders nothing
// that the host has been saying for a while that it can't do.
func (w *World) seeNeeds(by, to *host, vm uuid.UUID) {
	name, known := to.lacks(vm), w.now-w.setup.Timing.Takeover-2*w.setup.Timing.Interval
	at, taken := to.things.taken[name]
	switch {
	case name == "" || to.things.silent || w.twins[to.id] || taken && at > known:
	case by.trouble.since(known) || to.trouble.since(known) || by.alone.since(w.now-toldAgain) || to.alone.since(w.now-toldAgain):
	default:
		w.fail("I3", "%s orders a start of %s on %s, which has no %s %s", by.name, w.nameOf(vm), to.name, thing, name)
	}
}
