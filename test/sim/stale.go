package sim

import (
	"time"

	"storebeat/datastorehb"
)

// What a client's caches may show. Package store asks the server before it lists a
// register, and reads records and slots past the page cache: a listing is never older than
// the read. What may be missed for a while is a single name that another
// client has made, if this one looked for it before: so a power-on list, a generation
// that is read by its number, and the winner of a number that was lost.
//
// Old listings are outside of that: no file system may show them in spite of the question.
// Reads of them look like a datastore that was rolled back (R14). Nothing may run twice all
// the same, since it is winning that decides (R2).

// hides reports whether the host's client misses a name that another one has made.
func (p *path) hides(made time.Duration, now time.Duration, others bool) bool {
	return others && p.stale > 0 && now-made < p.stale
}

// listing is what a client has seen of a register.
type listing struct {
	values int
	at     time.Duration
}

// register names a register in a client's cache.
type register = written

// lists returns how many values of a register a client sees that are there: all of
// them, unless it takes an old listing for good.
func (p *path) lists(reg register, there int, now time.Duration) int {
	if p.old == 0 {
		return there
	}
	if l, ok := p.listings[reg]; ok && now-l.at < p.old {
		return min(l.values, there)
	}
	if p.listings == nil {
		p.listings = map[register]listing{}
	}
	p.listings[reg] = listing{there, now}
	return there
}

// relists makes a client look again: it has changed the directory itself.
func (p *path) relists(reg register) { delete(p.listings, reg) }

// newestTerm returns the newest term of a host as the agent's client sees it.
func (a *agent) newestTerm(s *store, h datastorehb.HostID) (termRecord, bool) {
	n := a.h.paths[s.index].lists(register{kind: "term", host: h}, len(s.terms[h]), a.h.w.now)
	if n == 0 {
		return termRecord{}, false
	}
	return s.terms[h][n-1], true
}
