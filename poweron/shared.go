package poweron

import (
	"fmt"

	"storebeat/datastorehb"
)

// SharedLevel is the feature level from which generations may be shared, and left to
// another host. A program of an earlier one refuses to read such a generation, and so
// takes its machine for undetermined.
const SharedLevel = 2

// Party is a host that a generation names in another host's claim, or beside its owner:
// the run of its agent that is meant, and the term under which it may run the machine.
type Party struct {
	Writer datastorehb.Writer
	Term   uint64 // its newest open term on the home datastore
}

// Shared reports whether two hosts may run the machine under the generation, while a
// hypervisor moves it from the owner to the receiver (R15).
func (g *Generation) Shared() bool { return g.Kind == Run && g.Receiver.Writer.Host != 0 }

// Left reports whether another host claimed the generation in its holder's favour.
func (g *Generation) Left() bool { return g.Kind == Run && g.Holder.Host != 0 && !g.Shared() }

// Names reports whether a host may run the machine under the generation, if its chain
// and lease allow it.
func (g *Generation) Names(h datastorehb.HostID) bool {
	return g.Kind == Run && (g.Owner == h || g.Shared() && g.Receiver.Writer.Host == h)
}

// TermOf returns the term that the generation names for a host, 0 for one that it
// does not name.
func (g *Generation) TermOf(h datastorehb.HostID) uint64 {
	switch {
	case g.Kind != Run:
	case g.Owner == h:
		return g.Term
	case g.Shared() && g.Receiver.Writer.Host == h:
		return g.Receiver.Term
	}
	return 0
}

// Other returns the host that shares the generation with host h, 0 if none does.
func (g *Generation) Other(h datastorehb.HostID) datastorehb.HostID {
	switch {
	case !g.Shared():
		return 0
	case g.Owner == h:
		return g.Receiver.Writer.Host
	}
	return g.Owner
}

// OwnerBy returns the run of the owner's agent that the generation belongs to. by is
// the writer of its record.
func (g *Generation) OwnerBy(by datastorehb.Writer) datastorehb.Writer {
	if g.Holder.Host != 0 {
		return g.Holder
	}
	return by
}

// PartyOf returns the run of a host's agent that the generation names, nothing for a
// host that it does not name. by is the writer of its record.
func (g *Generation) PartyOf(h datastorehb.HostID, by datastorehb.Writer) datastorehb.Writer {
	switch {
	case g.Kind != Run:
	case g.Owner == h:
		return g.OwnerBy(by)
	case g.Shared() && g.Receiver.Writer.Host == h:
		return g.Receiver.Writer
	}
	return datastorehb.Writer{}
}

// Share returns the generation by which the holder of g shares the machine with
// another host, while it runs on. self and term are the holder's own.
func Share(g Generation, self datastorehb.Writer, term uint64, receiver Party) Generation {
	next := g
	next.Number, next.Term, next.Holder, next.Receiver = g.Number+1, term, self, receiver
	next.Reason, next.Detail = NotReleased, ""
	return next
}

// ShareAgain returns the generation by which a host that shares g claims its part of it
// anew, under a term of its own. The other's part stays what it is.
func ShareAgain(g Generation, self datastorehb.Writer, term uint64) Generation {
	next := Share(g, g.Holder, g.Term, g.Receiver)
	if self.Host == g.Owner {
		next.Holder, next.Term = self, term
	} else {
		next.Receiver = Party{Writer: self, Term: term}
	}
	return next
}

// LeaveToOther returns the generation by which a host that shares g, and has no process of the
// machine, leaves it to the other. reason says why the machine itself has ended, or is
// NotReleased if it goes on.
func LeaveToOther(g Generation, from datastorehb.HostID, reason ReleaseReason, failures uint32, detail string) Generation {
	next := g
	next.Number, next.Receiver = g.Number+1, Party{}
	if from == g.Owner {
		next.Owner, next.Term, next.Holder = g.Receiver.Writer.Host, g.Receiver.Term, g.Receiver.Writer
	}
	next.Reason, next.Failures, next.Detail = reason, failures, cut(detail)
	return next
}

// Terms returns the newest term of a host on the machine's home datastore; known is
// false while it has not been read.
type Terms func(h datastorehb.HostID) (newest datastorehb.Term, known bool)

// partOver reports whether the right to run that a generation gives one host has come to
// its end, since that host's chain is broken.
func partOver(g *Generation, h datastorehb.HostID, newest datastorehb.Term, known bool) (over bool, why string) {
	term := g.TermOf(h)
	switch {
	case !known:
		return false, fmt.Sprintf("no term of host %d, which holds generation %d, has been read", h, g.Number)
	case newest.Host != h:
		return false, fmt.Sprintf("the term that was read is host %d's, and generation %d is held by host %d", newest.Host, g.Number, h)
	case newest.Number < term:
		return false, fmt.Sprintf("generation %d names term %d of host %d, and the newest that was read is %d", g.Number, term, h, newest.Number)
	case newest.Closed:
		return true, fmt.Sprintf("term %d of host %d, which holds generation %d, is closed", newest.Number, h, g.Number)
	case !newest.Carries(term):
		return true, fmt.Sprintf("host %d holds generation %d under term %d, and its present chain of terms begins with %d", h, g.Number, term, newest.First)
	}
	return false, fmt.Sprintf("host %d holds generation %d under term %d, and term %d carries it", h, g.Number, term, newest.Number)
}

// PartOver reports whether host h, which shares generation g, has lost its part of it: its
// chain is broken (R15). Whoever shares g with it may then claim the next one alone.
func PartOver(g Generation, h datastorehb.HostID, terms Terms) (over bool, why string) {
	newest, known := terms(h)
	return partOver(&g, h, newest, known)
}
