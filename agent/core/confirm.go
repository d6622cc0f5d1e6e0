package core

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"storebeat/datastorehb"
)

// ConfirmDead is an operator's word that a host is off (R7b). It closes the terms
// that were read before the operator was asked, and no others.
type ConfirmDead struct {
	Command      uint64             `json:"-"` // whom to answer
	Host         datastorehb.HostID `json:"host"`
	Terms        []ReadTerm         `json:"terms"`
	By           string             `json:"by"`            // who confirms, for people
	AnswersPings bool               `json:"answers_pings"` // though its address answers pings
}

// ReadTerm names a host's newest term on a datastore, as it was read.
type ReadTerm struct {
	Datastore uuid.UUID `json:"datastore"`
	Number    uint64    `json:"number"`
}

// confirmation is a ConfirmDead that is being carried out.
type confirmation struct {
	ConfirmDead
	ends    datastorehb.Instant
	closed  []string
	refused []string
}

// word is what an operator's word still has to do on one datastore.
type word struct {
	*confirmation
	term uint64 // to be closed, if it is the newest still
}

func (c *Core) onConfirmDead(o ConfirmDead) {
	if why := c.notDead(&o); why != "" {
		c.do(Reply{Command: o.Command, Err: why})
		return
	}
	n := &confirmation{ConfirmDead: o, ends: c.now.Add(c.orderTime())}
	for _, t := range o.Terms {
		f := c.footing(t.Datastore)
		if f == nil || f.watches.of(o.Host) == nil {
			n.refused = append(n.refused, fmt.Sprintf("datastore %s: nothing is known of the host there", t.Datastore))
			continue
		}
		f.watches.of(o.Host).word = &word{n, t.Number}
	}
	c.confirmations = append(c.confirmations, n)
	c.journal(Event{Kind: "host-confirmed-dead", Host: o.Host, Rule: "R7b", Text: fmt.Sprintf("%s confirms that %s is off", o.By, c.HostName(o.Host))})
}

// notDead says why an operator's word about a host is not taken.
func (c *Core) notDead(o *ConfirmDead) string {
	name := c.HostName(o.Host)
	switch {
	case o.Host == c.cfg.Self.Host:
		return name + " is alive: its own agent answers"
	case !slices.Contains(c.members(), o.Host) && (c.record.acting == nil || c.record.acting.Former(o.Host) == nil):
		return name + " is no member of the cluster"
	case !c.net.leading:
		return "there is no master, who alone watches the others: repeat it when there is one"
	case c.heard(o.Host):
		return name + " is heard on the network: it is not off. To stop its machines, stop them one by one"
	case len(o.Terms) == 0:
		return name + " has no open term on any datastore: there is nothing to close"
	}
	for _, f := range c.footings {
		if w := f.watches.of(o.Host); w != nil && w.slot.State == datastorehb.Valid && c.now.Sub(w.alive) < c.cfg.Timing.Takeover {
			return fmt.Sprintf("%s gave a sign of life on %s %v ago: it is not known to be off; repeat it after %v of silence", name, f.Name, c.now.Sub(w.alive).Round(time.Millisecond), c.cfg.Timing.Takeover)
		}
	}
	if p := c.net.pings.OfHost(o.Host); p.AnsweredWithin(c.now, c.net.timing.Answered) && !o.AnswersPings {
		return name + " answers pings: switch it off first. If something else has its address, say so with --although-it-answers-pings"
	}
	return ""
}

// keepWord closes the term that an operator's word is about (R7b). It reports
// whether there is such a word.
func (c *Core) keepWord(f *footing, w *watch) bool {
	if w.word == nil {
		return false
	}
	t, known := w.Term()
	switch {
	case !known || w.busy:
		return true
	case t.Closed && t.Number == w.word.term+1:
		w.endWord(true, f.Name)
		return false
	case t.Number != w.word.term || t.Closed:
		w.endWord(false, fmt.Sprintf("%s: term %d was read, and the newest is %d", f.Name, w.word.term, t.Number))
		return false
	}
	c.closeTerm(f, w, t, "R7b", "confirmed by "+w.word.By+": the host is off")
	return true
}

func (w *watch) endWord(closed bool, text string) {
	if w.word == nil {
		return
	}
	if closed {
		w.word.closed = append(w.word.closed, text)
	} else {
		w.word.refused = append(w.word.refused, text)
	}
	w.word = nil
}

// answerConfirmations tells operators what became of their words.
func (c *Core) answerConfirmations() {
	for _, n := range slices.Clone(c.confirmations) {
		over := c.due(n.ends) || !c.net.leading
		if done := len(n.closed)+len(n.refused) == len(n.Terms); !done && !over {
			continue
		}
		for _, f := range c.footings {
			if w := f.watches.of(n.Host); w != nil && w.word != nil && w.word.confirmation == n {
				w.endWord(false, f.Name+": it could not be done in time")
			}
		}
		c.confirmations = slices.DeleteFunc(c.confirmations, func(o *confirmation) bool { return o == n })
		r := Reply{Command: n.Command, Text: fmt.Sprintf("%s has lost its machines on %s: they are started elsewhere", c.HostName(n.Host), strings.Join(n.closed, ", "))}
		if len(n.refused) > 0 {
			r.Err = "not every term was closed: " + strings.Join(n.refused, "; ") + ". Look at `storebeat host show " + c.HostName(n.Host) + "` and confirm again"
		}
		c.do(r)
	}
}
