package cluster

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/google/uuid"

	"storebeat/datastorehb"
)

// Copy is what one datastore holds as the newest revision in its register.
type Copy struct {
	Datastore uuid.UUID
	State     datastorehb.ReadState // Absent: there is none; Unreadable: nothing is known
	Record    *Record               // when Valid; never changed
	Payload   []byte                // its encoding
}

// number is that of the newest revision there, 0 if there is none or it can't be read.
func (c *Copy) number() uint64 {
	if c.State != datastorehb.Valid {
		return 0
	}
	return c.Record.Revision
}

// Standing is what the copies of all datastores say together.
//
//	            most of its voters hold it
//	open ─────────────────────────────────▶ counts
//	  │  every voter holds its number, and
//	  │  no revision of that number has most
//	  ├──────────────────────────────────▶ void: the next one follows the preferred of them
//	  └──── a voter can't be read ────────▶ stays open, unless done without that one
type Standing struct {
	// Best is the revision to act on: the one of the highest number, and of
	// several with one number the one that counts, or else the one with most
	// votes. It is nil while none was found.
	Best *Record
	// Payload is the encoding of Best.
	Payload []byte
	// Counts is set when most of Best's voters hold it. What comes later contains it.
	Counts bool
	// Void is set when no revision of the highest number can come to count any more.
	Void bool
	// Lacks are the datastores that were read and hold only older revisions, or
	// none: Best is to be claimed there.
	Lacks []uuid.UUID
	// Unknown are the voters that could not be read.
	Unknown []uuid.UUID
	// Rivals are the other revisions of the same number. Once Best counts or the
	// number is void, what they changed is lost.
	Rivals []*Record
}

// candidate is one revision of the highest number.
type candidate struct {
	record  *Record
	payload []byte
	at      []uuid.UUID // the datastores that hold it
	votes   int
	most    int // votes that it can still get
}

// Judge finds out which revision of the cluster record counts. It goes by the
// newest revisions on all datastores, read in any order; without names
// datastores that an operator gave up.
//
// A number is like a ballot that every datastore takes part in once: the
// exclusive create gives each register one revision of that number for ever. So
// two of one number can't both have most voters. Whoever wants to make the next
// one first has the present one brought to its end, by claiming it on the
// datastores that lack it; until then it might still come to count, through a
// master that is slow, and what follows must contain it.
func Judge(copies []Copy, without []uuid.UUID) Standing {
	newest := uint64(0)
	for i := range copies {
		newest = max(newest, copies[i].number())
	}
	if newest == 0 {
		return Standing{}
	}
	candidates := candidatesOf(copies, newest)
	for _, c := range candidates {
		c.count(copies, newest, without)
	}
	slices.SortStableFunc(candidates, func(a, b *candidate) int {
		return cmp.Or(compareBool(b.counts(without), a.counts(without)), cmp.Compare(b.votes, a.votes), compareUUID(a.at[0], b.at[0]))
	})
	best := candidates[0]
	s := Standing{Best: best.record, Payload: best.payload, Counts: best.counts(without), Void: true}
	for _, c := range candidates {
		s.Void = s.Void && c.most < c.needed(without)
	}
	for _, c := range candidates[1:] {
		s.Rivals = append(s.Rivals, c.record)
	}
	s.Lacks, s.Unknown = best.missing(copies, newest, without)
	return s
}

// candidatesOf groups the copies of a number, in the order of the datastores.
func candidatesOf(copies []Copy, newest uint64) (all []*candidate) {
	sorted := slices.SortedFunc(slices.Values(copies), func(a, b Copy) int { return compareUUID(a.Datastore, b.Datastore) })
	for i := range sorted {
		c := &sorted[i]
		if c.number() != newest {
			continue
		}
		at := slices.IndexFunc(all, func(o *candidate) bool { return bytes.Equal(o.payload, c.Payload) })
		if at < 0 {
			all = append(all, &candidate{record: c.Record, payload: c.Payload})
			at = len(all) - 1
		}
		all[at].at = append(all[at].at, c.Datastore)
	}
	return all
}

// count finds out how many votes the candidate has, and can get at most.
func (c *candidate) count(copies []Copy, newest uint64, without []uuid.UUID) {
	for _, v := range c.record.Voters {
		if slices.Contains(without, v) {
			continue
		}
		switch held := copyOf(copies, v); {
		case slices.Contains(c.at, v):
			c.votes++
			c.most++
		case held.number() < newest: // it may hold the candidate, or get it yet
			c.most++
		}
	}
}

// needed is how many votes make the candidate count.
func (c *candidate) needed(without []uuid.UUID) int {
	n := 0
	for _, v := range c.record.Voters {
		if !slices.Contains(without, v) {
			n++
		}
	}
	return n/2 + 1
}

func (c *candidate) counts(without []uuid.UUID) bool { return c.votes >= c.needed(without) }

// missing returns the datastores that were read and lack the candidate, voters or
// not, and the voters that were not read.
func (c *candidate) missing(copies []Copy, newest uint64, without []uuid.UUID) (lacks, unknown []uuid.UUID) {
	for i := range copies {
		if d := &copies[i]; d.number() < newest && (d.State == datastorehb.Valid || d.State == datastorehb.Absent) {
			lacks = append(lacks, d.Datastore)
		}
	}
	for _, v := range c.record.Voters {
		held := copyOf(copies, v)
		if !slices.Contains(without, v) && (held.State == datastorehb.Unreadable || held.State == datastorehb.Corrupt) {
			unknown = append(unknown, v)
		}
	}
	slices.SortFunc(lacks, compareUUID)
	return lacks, unknown
}

func copyOf(copies []Copy, datastore uuid.UUID) *Copy {
	for i := range copies {
		if copies[i].Datastore == datastore {
			return &copies[i]
		}
	}
	return &Copy{Datastore: datastore}
}

// compareBool puts false first.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
