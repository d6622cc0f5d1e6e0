package cluster

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/uuid"

	"storebeat/datastorehb"
)

// revision returns a revision of the sample with so many voters.
func revision(number uint64, change string, voters int) *Record {
	r := sample()
	r.Revision, r.Change, r.Removed = number, change, nil
	for i := range r.Members {
		r.Members[i].Since = 1
	}
	r.Datastores, r.Voters = nil, nil
	for i := range voters {
		r.Datastores = append(r.Datastores, Datastore{ID: datastoreID(byte(i + 1)), Name: fmt.Sprintf("ds%d", i+1)})
		r.Voters = append(r.Voters, datastoreID(byte(i+1)))
	}
	return &r
}

// copies writes down what datastores 1, 2, … hold: "7a" is revision 7 with the
// change a, "-" none, "?" could not be read.
func copies(t testing.TB, voters int, held string) (all []Copy) {
	for i, h := range strings.Fields(held) {
		c := Copy{Datastore: datastoreID(byte(i + 1))}
		switch h {
		case "?":
		case "-":
			c.State = datastorehb.Absent
		default:
			c.State, c.Record = datastorehb.Valid, revision(uint64(h[0]-'0'), h[1:], voters)
			c.Payload = encoded(t, *c.Record)
		}
		all = append(all, c)
	}
	return all
}

func indexes(ids []uuid.UUID) (all []byte) {
	for _, id := range ids {
		all = append(all, id[15])
	}
	return all
}

func TestJudge(t *testing.T) {
	for _, test := range []struct {
		held    string
		without []uuid.UUID
		want    string
	}{
		{"- -", nil, "nothing"},
		{"? ?", nil, "nothing"},
		{"3a 3a 3a", nil, "3a counts"},
		{"3a 3a 2z", nil, "3a counts, lacks [3]"},
		{"3a 3a ?", nil, "3a counts, unknown [3]"},
		{"3a 2z 2z", nil, "3a open, lacks [2 3]"},
		{"2z 2z 3a", nil, "3a open, lacks [1 2]"},
		{"3a 2z ?", nil, "3a open, lacks [2], unknown [3]"},
		{"3a 3b 3b", nil, "3b counts, rivals [a]"},
		{"3a 3b 2z", nil, "3a open, lacks [3], rivals [b]"},
		{"3a 3b ?", nil, "3a open, unknown [3], rivals [b]"},
		{"3a 3b 3c", nil, "3a void, rivals [b c]"},
		{"3a 2z", nil, "3a open, lacks [2]"},
		{"3a 3b", nil, "3a void, rivals [b]"},
		{"3a ?", nil, "3a open, unknown [2]"},
		{"3a ?", []uuid.UUID{datastoreID(2)}, "3a counts"},
		{"? 3b", []uuid.UUID{datastoreID(1)}, "3b counts"},
		{"3a ? ?", []uuid.UUID{datastoreID(2)}, "3a open, unknown [3]"},
		{"3a 3b ?", []uuid.UUID{datastoreID(3)}, "3a void, rivals [b]"},
		{"3a 3a 3b 3b", nil, "3a void, rivals [b]"},
		{"3a 3a 3b ?", nil, "3a open, unknown [4], rivals [b]"},
		{"- - 3a", nil, "3a open, lacks [1 2]"},
	} {
		s := Judge(copies(t, len(strings.Fields(test.held)), test.held), test.without)
		if got := s.text(); got != test.want {
			t.Errorf("%s: %s, want %s", test.held, got, test.want)
		}
	}
}

// text shows a standing in the words of the table.
func (s Standing) text() string {
	if s.Best == nil {
		return "nothing"
	}
	state := "open"
	switch {
	case s.Counts:
		state = "counts"
	case s.Void:
		state = "void"
	}
	text := fmt.Sprintf("%d%s %s", s.Best.Revision, s.Best.Change, state)
	if len(s.Lacks) > 0 {
		text += fmt.Sprintf(", lacks %v", indexes(s.Lacks))
	}
	if len(s.Unknown) > 0 {
		text += fmt.Sprintf(", unknown %v", indexes(s.Unknown))
	}
	if len(s.Rivals) > 0 {
		var changes []string
		for _, r := range s.Rivals {
			changes = append(changes, r.Change)
		}
		text += fmt.Sprintf(", rivals %v", changes)
	}
	return text
}

// TestWhatCountsIsKept lets several proposers work on the same registers, with
// every step of theirs mixed with those of the others, each able to reach only
// some of the registers at a time, and each likely to die between two steps.
// Of one number one revision counts at most, and what counts is contained in all
// that counts later.
func TestWhatCountsIsKept(t *testing.T) {
	counted := 0
	for seed := range uint64(1500) {
		m := newModel(t, seed)
		for range 90 {
			m.step()
		}
		counted += len(m.counted)
	}
	if counted < 3000 {
		t.Errorf("%d revisions came to count: the proposers hinder each other too much for a test", counted)
	}
}

// model is a set of registers, and proposers at work on them.
type model struct {
	t         *testing.T
	rng       *rand.Rand
	registers []map[uint64]*Record
	proposers []*proposer
	counted   map[uint64]*Record
	made      int
	wanders   bool // datastores leave the cluster and come back, one at a time
}

// proposer wants to add something, as a master does.
type proposer struct {
	copies []Copy
	claims []claimed // to be made, in this order
}

// claimed is one claim that was decided on and has not reached its register.
type claimed struct {
	register int
	record   *Record
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{t: t, rng: rand.New(rand.NewPCG(seed, 7)), counted: map[uint64]*Record{}}
	n := 1 + m.rng.IntN(5)
	m.wanders = m.rng.IntN(2) == 0
	for range n {
		m.registers = append(m.registers, map[uint64]*Record{1: revision(1, "", n)})
	}
	m.counted[1] = m.registers[0][1]
	for range 1 + m.rng.IntN(3) {
		m.proposers = append(m.proposers, &proposer{})
	}
	return m
}

func (m *model) step() {
	i := m.rng.IntN(len(m.proposers))
	p := m.proposers[i]
	switch {
	case m.rng.IntN(12) == 0:
		m.proposers[i] = &proposer{} // it dies; another takes its place
	case len(p.claims) > 0:
		m.claim(p)
	case len(p.copies) < len(m.registers):
		m.read(p)
	default:
		m.decide(p)
	}
}

// read reads the next register, or fails to.
func (m *model) read(p *proposer) {
	i := len(p.copies)
	c := Copy{Datastore: datastoreID(byte(i + 1))}
	if m.rng.IntN(4) > 0 {
		c.State = datastorehb.Valid
		c.Record = m.registers[i][m.newest(i)]
		c.Payload = encoded(m.t, *c.Record)
	}
	p.copies = append(p.copies, c)
}

func (m *model) newest(i int) (newest uint64) {
	for n := range m.registers[i] {
		newest = max(newest, n)
	}
	return newest
}

// decide does what Judge says.
func (m *model) decide(p *proposer) {
	s := Judge(p.copies, nil)
	p.copies = nil
	switch {
	case s.Best == nil:
	case s.Counts || s.Void:
		m.made++
		next := s.Best.Next(s.Best.Revision+1, 1, s.Best.At, fmt.Sprintf("%s%d,", s.Best.Change, m.made), nil)
		if m.wanders && m.rng.IntN(3) == 0 {
			m.wander(&next)
		}
		for i := range m.registers {
			p.claims = append(p.claims, claimed{i, &next})
		}
		m.rng.Shuffle(len(p.claims), func(i, j int) { p.claims[i], p.claims[j] = p.claims[j], p.claims[i] })
	default:
		for _, d := range s.Lacks {
			p.claims = append(p.claims, claimed{int(d[15]) - 1, s.Best})
		}
	}
}

// wander takes one datastore out, or in again.
func (m *model) wander(next *Record) {
	d := Datastore{ID: datastoreID(byte(m.rng.IntN(len(m.registers)) + 1))}
	d.Name = fmt.Sprintf("ds%d", d.ID[15])
	if next.Datastore(d.Name) == nil {
		_, _ = next.AddDatastore(d)
	} else {
		_, _ = next.RemoveDatastore(d.Name) // the last one stays
	}
}

// claim is the exclusive create: it fails if the number, or a higher one, is there.
func (m *model) claim(p *proposer) {
	c := p.claims[0]
	p.claims = p.claims[1:]
	if m.newest(c.register) >= c.record.Revision {
		return
	}
	m.registers[c.register][c.record.Revision] = c.record
	m.check(c.record.Revision)
}

func (m *model) check(number uint64) {
	for _, register := range m.registers {
		r := register[number]
		if r == nil {
			continue
		}
		votes := 0
		for _, v := range r.Voters {
			if held := m.registers[v[15]-1][number]; held != nil && held.Sum() == r.Sum() {
				votes++
			}
		}
		if votes >= r.Majority() {
			m.count(number, r)
		}
	}
}

func (m *model) count(number uint64, r *Record) {
	if old := m.counted[number]; old != nil && old.Sum() != r.Sum() {
		m.t.Fatalf("of number %d, %q and %q count", number, old.Change, r.Change)
	}
	m.counted[number] = r
	for n, o := range m.counted {
		if n < number && !strings.HasPrefix(r.Change, o.Change) || n > number && !strings.HasPrefix(o.Change, r.Change) {
			m.t.Fatalf("number %d with %q and number %d with %q both count", n, o.Change, number, r.Change)
		}
	}
}
