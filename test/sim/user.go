package sim

import (
	"time"

	"github.com/google/uuid"

	"storebeat/agent/core"
	"storebeat/poweron"
)

// entryOf returns the entry of a machine, as a user would write it.
func (w *World) entryOf(vm uuid.UUID) poweron.Entry {
	s := w.specOf(vm)
	e := poweron.Entry{VM: vm, Name: s.Name, Desired: poweron.Running, Policy: s.Policy, Driver: "sim", Definition: []byte("x"), Memory: s.Memory, Rules: s.Rules}
	if s.Stopped {
		e.Desired = poweron.Stopped
	}
	return e
}

// command gives a user's command to a host's agent.
func (w *World) command(h *host, c core.Command) uint64 {
	w.commands++
	c.ID = w.commands
	w.note("user", "asks %s: %s %s", h.name, c.Verb, c.VM)
	if a := h.agent; a != nil {
		w.after(w.latency(), a.at(func() { a.observe(c) }))
	}
	return c.ID
}

func (w *World) reply(h *host, r core.Reply) {
	text := r.Text
	if r.Err != "" {
		text = "refused: " + r.Err
		w.meetRefusal(r.Err)
	}
	w.note(h.name, "answers command %d: %s", r.Command, text)
	if _, ok := w.replies[r.Command]; ok {
		w.fail("reply", "%s answers command %d twice", h.name, r.Command)
	}
	w.replies[r.Command] = text
	w.changes++
}

// protect puts machine i, counted from 1, on the protected list of datastore home.
func (w *World) protect(by *host, i int, home *store) uint64 {
	return w.command(by, core.Command{Verb: core.Protect, Datastore: home.id, VM: w.nameOf(w.vms[i-1]), Entry: w.entryOf(w.vms[i-1])})
}

// ask gives a user's command about machine i, counted from 1, which need not exist.
func (w *World) ask(by *host, verb core.Verb, i int) uint64 {
	name := "no-such-machine"
	if i <= len(w.vms) {
		name = w.nameOf(w.vms[i-1])
	}
	return w.command(by, core.Command{Verb: verb, VM: name})
}

// confirmDead has an operator read what k knows of h's terms, look at h a while
// later, and confirm it to be off if it is, another while later.
func (w *World) confirmDead(k, h *host, looks, says time.Duration) {
	if k.agent == nil || k.agent.core == nil {
		return
	}
	o := core.ConfirmDead{Host: h.id, By: "an operator"}
	for _, d := range k.agent.core.View(k.now()).Datastores {
		for _, v := range d.Hosts {
			if v.Host == h.id && v.Term > 0 && !v.Closed {
				o.Terms = append(o.Terms, core.ReadTerm{Datastore: d.ID, Number: v.Term})
			}
		}
	}
	w.after(looks, func() {
		if h.powered {
			return
		}
		w.commands++
		o.Command = w.commands
		w.after(says, func() {
			w.note("operator", "confirms to %s that %s is off: %v", k.name, h.name, o.Terms)
			if a := k.agent; a != nil {
				a.at(func() { a.observe(o) })()
			}
		})
	})
}
