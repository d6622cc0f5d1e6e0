package poweron

import (
	"fmt"
	"strings"

	"github.com/google/uuid"

	"storebeat/datastorehb"
)

// Over reports whether generation g has come to its end (R8), which entitles to
// claim g+1: its owner released it, or the chain of the term that it names is
// broken; of a shared one, both chains (R15).
//
// A term older than the one that g names proves nothing: it was read before g
// was claimed, and what it says about the chain is out of date.
func Over(g Generation, terms Terms) (over bool, why string) {
	switch g.Kind {
	case Released:
		return true, fmt.Sprintf("generation %d was released by host %d: %s", g.Number, g.Owner, g.Reason)
	case Run:
	default:
		return false, fmt.Sprintf("generation %d is of unknown kind %d", g.Number, uint8(g.Kind))
	}
	newest, known := terms(g.Owner)
	over, why = partOver(&g, g.Owner, newest, known)
	if !over || !g.Shared() {
		return over, why
	}
	newest, known = terms(g.Receiver.Writer.Host)
	over, also := partOver(&g, g.Receiver.Writer.Host, newest, known)
	return over, why + "; it is shared, and " + also
}

// MayClaim reports whether host may claim the generation after g as a Run
// generation of its own: g is over, or host holds it alone. g is nil while the machine
// never had a generation. Only the claim decides: of several hosts that may, one wins.
//
// It is the holder's duty to have the machine stopped or frozen before it claims
// the next generation after its own.
func MayClaim(host datastorehb.HostID, g *Generation, terms Terms) (may bool, why string) {
	switch {
	case g == nil:
		return true, "the machine never ran"
	case g.Kind == Run && g.Owner == host && !g.Shared():
		return true, fmt.Sprintf("host %d holds generation %d itself", host, g.Number)
	case g.Names(host) && g.Shared():
		if over, why := PartOver(*g, g.Other(host), terms); over {
			return true, why
		}
	}
	return Over(*g, terms)
}

// Statement is an owner's authenticated message that it runs a machine no more
// and never again under one generation (R8). It stands in for a released
// generation where the owner can't reach the home datastore. It never expires.
type Statement struct {
	VM         uuid.UUID
	Owner      datastorehb.HostID
	Generation uint64
	Reason     ReleaseReason
}

// Entitles reports whether the statement entitles to claim the generation after
// g. It speaks of one generation alone: whoever loses the claim after it, or finds
// a newer generation, is entitled to nothing.
func (s Statement) Entitles(g Generation) bool {
	return s.VM == g.VM && s.Owner == g.Owner && s.Generation == g.Number && g.Kind == Run
}

// Standing is what host knows about one machine and itself when it asks
// whether it may run the machine.
type Standing struct {
	Host       datastorehb.HostID
	Generation Generation       // the machine's newest
	Mine       bool             // this incarnation of the agent won Generation, or adopted the machine running under it
	Term       datastorehb.Term // the host's own newest on the home datastore
	TermKnown  bool
	LeaseTerm  uint64 // the term that the lease belongs to
	LeaseValid bool   // the lease is running
}

// MayRun reports whether the host may execute the machine now (R3). If not, why
// names what is missing.
func MayRun(s Standing) (may bool, why string) {
	g := s.Generation
	switch {
	case g.Kind != Run:
		return false, fmt.Sprintf("R3(1): generation %d is %s", g.Number, g.Kind)
	case !g.Names(s.Host):
		return false, fmt.Sprintf("R3(1): generation %d is held by host %d", g.Number, g.Owner)
	case !s.Mine:
		return false, fmt.Sprintf("R3(1): this run of the agent neither won generation %d nor adopted the machine running", g.Number)
	case !s.TermKnown || s.Term.Host != s.Host:
		return false, fmt.Sprintf("R3(2): host %d knows no term of its own on the home datastore", s.Host)
	case s.Term.Closed:
		return false, fmt.Sprintf("R3(2): term %d was closed by another host", s.Term.Number)
	case !s.Term.Carries(g.TermOf(s.Host)):
		return false, fmt.Sprintf("R3(2): generation %d names term %d, and the chain runs from %d to %d", g.Number, g.TermOf(s.Host), s.Term.First, s.Term.Number)
	case s.LeaseTerm != s.Term.Number:
		return false, fmt.Sprintf("R3(3): the lease is of term %d, and the newest is %d", s.LeaseTerm, s.Term.Number)
	case !s.LeaseValid:
		return false, fmt.Sprintf("R3(3): the lease of term %d has run out", s.LeaseTerm)
	}
	return true, ""
}

// Next returns the generation that owner claims to run the machine vm under its
// own open term. newest is nil for the first one. entry is the revision of the
// protected entry that owner read last. The failures are carried over, unless
// the machine ended by somebody's will: then it starts with a clean sheet.
func Next(vm uuid.UUID, newest *Generation, owner datastorehb.HostID, term, entry uint64) Generation {
	g := Generation{VM: vm, Number: 1, Kind: Run, Owner: owner, Term: term, Entry: entry}
	if newest != nil {
		g.Number = newest.Number + 1
		if !endedAtWill(*newest) {
			g.Failures = newest.Failures
		}
	}
	return g
}

// endedAtWill reports whether user or guest ended the machine, or a user has to
// let go a machine that was held.
func endedAtWill(g Generation) bool {
	if g.Kind != Released {
		return false
	}
	return g.Reason == StoppedByUser || g.Reason == GuestShutDown || g.Reason == Held
}

// Release returns the generation by which the holder of g gives the machine up.
// term is the holder's newest open term, 0 if it has none. entry is the revision
// of the protected entry that the holder acted on. A detail that is too long is cut.
func Release(g Generation, reason ReleaseReason, term, entry uint64, failures uint32, detail string) Generation {
	return Generation{
		VM: g.VM, Number: g.Number + 1, Kind: Released, Owner: g.Owner, Term: term,
		Reason: reason, Entry: entry, Failures: failures, Detail: cut(detail),
	}
}

// cut returns text as valid UTF-8 of at most datastorehb.MaxReason bytes.
func cut(text string) string {
	text = strings.ToValidUTF8(text, "?")
	if len(text) > datastorehb.MaxReason {
		text = strings.ToValidUTF8(text[:datastorehb.MaxReason], "")
	}
	return text
}
