package datastorehb

import (
	"fmt"
	"slices"

	"github.com/google/uuid"
)

// Choice is one datastore of a selection, and why it is in it or left it.
type Choice struct {
	Datastore uuid.UUID
	Name      string
	Why       string
}

// Selection holds the heartbeat datastores of one host.
type Selection struct {
	Chosen  []uuid.UUID // best first
	Kept    []Choice    // chosen before and now
	Added   []Choice    // chosen anew
	Removed []Choice    // no longer chosen
	Warning string      // what the operator should know; empty when all is well
}

// Changed reports whether the host has to change what it writes to.
func (s *Selection) Changed() bool { return len(s.Added)+len(s.Removed) > 0 }

// Select chooses up to opts.Count heartbeat datastores for a host from a ranking
// made by Rank, given its current ones. It never chooses a discarded datastore
// or one that the host has no access to.
//
// A current choice stays while it is good. It is given up only when it was
// discarded, the host lost access, Count fell, the user prefers another one, or
// it shares a device with a better one while another datastore does not: a
// better rank alone moves nothing. Places are filled by datastores the user
// prefers, then by rank, each time those on devices of their own first. Equal
// ranks are dealt out to the hosts in turn, so that the load is even.
func Select(host HostID, ranked []Ranked, current []uuid.UUID, opts RankOptions) Selection {
	s := selector{host: host, count: opts.Count}
	s.usable = usableBy(host, ranked)
	s.keep(current)
	s.dropUnpreferred()
	s.fill()
	for s.dropSharing() {
		s.fill()
	}
	return s.selection(ranked, current)
}

// selector carries one selection through its steps. All candidates are pointers
// into the ranking, in its order.
type selector struct {
	host    HostID
	count   int
	usable  []*Ranked
	chosen  []*Ranked
	removed map[*Ranked]string // and why
}

func usableBy(host HostID, ranked []Ranked) (usable []*Ranked) {
	for i := range ranked {
		if r := &ranked[i]; !r.Discarded && r.Accessible(host) {
			usable = append(usable, r)
		}
	}
	return usable
}

// keep takes over the current choices that are usable, as many as there are
// places: those on devices of their own first, and the better ones first.
func (s *selector) keep(current []uuid.UUID) {
	var good []*Ranked
	for _, r := range s.usable {
		if slices.Contains(current, r.Datastore) {
			good = append(good, r)
		}
	}
	s.takeTiers(good)
	for _, r := range good {
		if !slices.Contains(s.chosen, r) {
			s.remove(r, fmt.Sprintf("only %d heartbeat datastores are wanted", s.count))
		}
	}
}

// dropUnpreferred makes room for the datastores that the user prefers.
func (s *selector) dropUnpreferred() {
	preferred := 0
	for _, r := range s.usable {
		if r.Preferred {
			preferred++
		}
	}
	room := s.count - min(s.count, preferred)
	s.chosen = slices.DeleteFunc(s.chosen, func(r *Ranked) bool {
		if r.Preferred {
			return false
		}
		room--
		if room < 0 {
			s.remove(r, "the configuration prefers another one")
		}
		return room < 0
	})
}

// dropSharing gives up one choice that shares a device with another, if there is
// a datastore to take its place that shares none. Each time the choices share
// less, so this comes to an end.
func (s *selector) dropSharing() bool {
	for i := len(s.chosen) - 1; i >= 0; i-- {
		r := s.chosen[i]
		others := slices.Delete(slices.Clone(s.chosen), i, i+1)
		if sharesWithAny(r, others) && s.hasBetterFor(r, others) {
			s.chosen = others
			s.remove(r, "it shares a device with another heartbeat datastore; one that shares none took its place")
			return true
		}
	}
	return false
}

func (s *selector) hasBetterFor(r *Ranked, others []*Ranked) bool {
	return slices.ContainsFunc(s.usable, func(c *Ranked) bool {
		return c.Preferred == r.Preferred && c != r && !slices.Contains(others, c) && !sharesWithAny(c, others)
	})
}

func sharesWithAny(r *Ranked, others []*Ranked) bool {
	return slices.ContainsFunc(others, func(o *Ranked) bool { return r.Device.Overlaps(o.Device) })
}

// fill takes datastores until there are enough.
func (s *selector) fill() {
	if len(s.chosen) < s.count && len(s.chosen) < len(s.usable) {
		s.takeTiers(s.order())
	}
}

// takeTiers takes from the candidates what the user prefers, then the others.
func (s *selector) takeTiers(candidates []*Ranked) {
	for _, preferred := range []bool{true, false} {
		s.take(candidates, func(r *Ranked) bool { return r.Preferred == preferred && !sharesWithAny(r, s.chosen) })
		s.take(candidates, func(r *Ranked) bool { return r.Preferred == preferred })
	}
}

func (s *selector) take(candidates []*Ranked, good func(*Ranked) bool) {
	for _, r := range candidates {
		if len(s.chosen) >= s.count {
			return
		}
		if !slices.Contains(s.chosen, r) && good(r) {
			s.chosen = append(s.chosen, r)
		}
	}
}

// order returns the usable datastores in the order in which this host tries
// them: by rank, and within a rank beginning at the host's own place.
func (s *selector) order() []*Ranked {
	order := make([]*Ranked, 0, len(s.usable))
	free := s.count - len(s.chosen)
	for rest := s.usable; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].Rank == rest[0].Rank {
			n++
		}
		order = append(order, s.deal(rest[:n], max(1, free))...)
		rest, free = rest[n:], free-n
	}
	return order
}

// deal turns equally ranked datastores so that each host, taking as many as it
// has places, begins where the host before it stopped: after all hosts have
// taken theirs, no datastore was taken more than once more often than another.
func (s *selector) deal(class []*Ranked, places int) []*Ranked {
	if len(class) < 2 {
		return class
	}
	turn, _ := slices.BinarySearch(class[0].Hosts, s.host)
	start := turn * places % len(class)
	dealt := interleave(class)
	return slices.Concat(dealt[start:], dealt[:start])
}

// interleave orders datastores such that neighbours share no device as far as
// that can be had: in rounds, each of which takes no device twice.
func interleave(class []*Ranked) []*Ranked {
	out := make([]*Ranked, 0, len(class))
	rest := slices.Clone(class)
	for len(rest) > 0 {
		round := len(out)
		rest = slices.DeleteFunc(rest, func(r *Ranked) bool {
			if sharesWithAny(r, out[round:]) {
				return false
			}
			out = append(out, r)
			return true
		})
	}
	return out
}

func (s *selector) remove(r *Ranked, why string) {
	if s.removed == nil {
		s.removed = make(map[*Ranked]string)
	}
	s.removed[r] = why
}

// selection puts the outcome into words.
func (s *selector) selection(ranked []Ranked, current []uuid.UUID) Selection {
	out := Selection{Warning: s.warning(ranked), Removed: s.gone(ranked, current)}
	for _, r := range s.usable {
		was, is := slices.Contains(current, r.Datastore), slices.Contains(s.chosen, r)
		c := Choice{Datastore: r.Datastore, Name: r.Name}
		if is {
			out.Chosen = append(out.Chosen, r.Datastore)
		}
		switch {
		case was && is:
			c.Why = "still good"
			out.Kept = append(out.Kept, c)
		case is:
			c.Why = fmt.Sprintf("rank %d", r.Rank)
			out.Added = append(out.Added, c)
		case was:
			c.Why = s.removed[r]
			out.Removed = append(out.Removed, c)
		}
	}
	return out
}

// gone lists the current choices that are usable no more.
func (s *selector) gone(ranked []Ranked, current []uuid.UUID) (gone []Choice) {
	for _, id := range current {
		if slices.ContainsFunc(s.usable, func(r *Ranked) bool { return r.Datastore == id }) {
			continue
		}
		c := Choice{Datastore: id, Name: id.String(), Why: "it is not in the configuration any more"}
		if i := slices.IndexFunc(ranked, func(r Ranked) bool { return r.Datastore == id }); i >= 0 {
			c.Name, c.Why = ranked[i].Name, whyUnusable(&ranked[i])
		}
		gone = append(gone, c)
	}
	return gone
}

func whyUnusable(r *Ranked) string {
	if r.Discarded {
		return r.Reasons()[0]
	}
	return "this host has no access to it"
}

// warning names what the host lacks compared with what the cluster has. A
// cluster that has but one datastore lacks nothing.
func (s *selector) warning(ranked []Ranked) string {
	exist := 0
	for i := range ranked {
		if !ranked[i].Excluded {
			exist++
		}
	}
	want := min(s.count, exist)
	switch {
	case want == 0 || len(s.chosen) >= want:
		return ""
	case len(s.chosen) == 0:
		return fmt.Sprintf("host %d has no heartbeat datastore: none of %d is accessible to it and to enough other hosts; see storebeat datastore rank", s.host, exist)
	}
	return fmt.Sprintf("host %d has %d of %d heartbeat datastores: the others are not accessible to it, or to too few hosts; see storebeat datastore rank", s.host, len(s.chosen), want)
}
