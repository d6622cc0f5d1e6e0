package partition

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"storebeat/datastorehb"
)

func TestRank(t *testing.T) {
	ranked := []Candidate{{Host: 5, Datastores: 3}, {Host: 7, Datastores: 3}, {Host: 1, Datastores: 2}, {Host: 2}}
	for i, a := range ranked {
		for j, b := range ranked {
			if a.Better(b) != (i < j) {
				t.Errorf("host %d before host %d: %v", a.Host, b.Host, a.Better(b))
			}
		}
	}
}

func TestElectionStep(t *testing.T) {
	timing := TimingOf(defaultTiming)
	// Each case begins with host 2 in the given role, and its patience over if it stands.
	tests := []struct {
		name   string
		role   Role
		self   Candidate
		heard  []Candidate
		want   Role
		master datastorehb.HostID
	}{
		{"alone", Standing, Candidate{}, nil, Mastering, 2},
		{"best of those who stand", Standing, Candidate{Datastores: 2}, []Candidate{{Host: 1, Datastores: 1}, {Host: 3, Datastores: 2}}, Mastering, 2},
		{"somebody has more datastores", Standing, Candidate{Datastores: 1}, []Candidate{{Host: 3, Datastores: 2}}, Standing, 0},
		{"somebody has the lower id", Standing, Candidate{Datastores: 1}, []Candidate{{Host: 1, Datastores: 1}}, Standing, 0},
		{"the better one follows a master not heard here", Standing, Candidate{Datastores: 1}, []Candidate{{Host: 1, Datastores: 1, Follows: 9}}, Mastering, 2},
		{"the better one is leaving", Standing, Candidate{Datastores: 1}, []Candidate{{Host: 1, Datastores: 1, Leaving: true}}, Mastering, 2},
		{"leaving", Standing, Candidate{Datastores: 1, Leaving: true}, nil, Standing, 0},
		{"a master is heard", Standing, Candidate{Datastores: 3}, []Candidate{{Host: 9, Master: true, Follows: 9}}, Following, 9},
		{"the better of two masters", Standing, Candidate{}, []Candidate{{Host: 9, Master: true}, {Host: 8, Master: true}}, Following, 8},
		{"the followed one of two masters", Standing, Candidate{}, []Candidate{{Host: 9, Master: true, Followed: true}, {Host: 8, Master: true}}, Following, 9},
		{"its master is there", Following, Candidate{Datastores: 3}, []Candidate{{Host: 1, Datastores: 2, Master: true}}, Following, 1},
		{"a better master turns up", Following, Candidate{}, []Candidate{{Host: 4, Datastores: 9, Master: true, Followed: true}, {Host: 1, Master: true}}, Following, 1},
		{"its master is gone", Following, Candidate{}, nil, Standing, 0},
		{"its master is leaving", Following, Candidate{}, []Candidate{{Host: 1, Master: true, Leaving: true}}, Standing, 0},
		{"its master is master no more", Following, Candidate{}, []Candidate{{Host: 1}}, Standing, 0},
		{"its master is gone, another is there", Following, Candidate{}, []Candidate{{Host: 4, Master: true}}, Following, 4},
		{"a sitting master is not replaced", Mastering, Candidate{Datastores: 1}, []Candidate{{Host: 1, Datastores: 9}}, Mastering, 2},
		{"two masters, the other better", Mastering, Candidate{Datastores: 1}, []Candidate{{Host: 1, Datastores: 1, Master: true}}, Following, 1},
		{"two masters, the other worse", Mastering, Candidate{Datastores: 1}, []Candidate{{Host: 3, Datastores: 1, Master: true}}, Mastering, 2},
		{"the other is better, but alone", Mastering, Candidate{Datastores: 1}, []Candidate{{Host: 1, Datastores: 9, Master: true}, {Host: 3, Follows: 2}}, Mastering, 2},
		{"the other is worse, but followed", Mastering, Candidate{Datastores: 9}, []Candidate{{Host: 7, Master: true, Followed: true}}, Following, 7},
		{"without any datastore, others have one", Mastering, Candidate{}, []Candidate{{Host: 5, Datastores: 1, Follows: 2}}, Standing, 0},
		{"without any datastore, like all others", Mastering, Candidate{}, []Candidate{{Host: 5, Follows: 2}}, Mastering, 2},
		{"a master that leaves", Mastering, Candidate{Datastores: 1, Leaving: true}, nil, Standing, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := Election{self: 2, role: test.role, master: map[Role]datastorehb.HostID{Following: 1, Mastering: 2}[test.role]}
			changed := e.Step(at(10), test.self, test.heard, &timing)
			if e.Role() != test.want || e.Master() != test.master || changed != (test.want != test.role || e.Role() == Following && e.Master() != 1) {
				t.Errorf("%v of master %d, changed %v; want %v of master %d", e.Role(), e.Master(), changed, test.want, test.master)
			}
		})
	}
}

func TestPatience(t *testing.T) {
	timing := TimingOf(defaultTiming)
	e := NewElection(2, at(0), &timing)
	for now, want := range map[datastorehb.Instant]Role{at(2.4): Standing, at(2.5): Mastering} {
		e := *e
		e.Step(now, Candidate{}, nil, &timing)
		if e.Role() != want {
			t.Errorf("%v after the start: %v, want %v", now, e.Role(), want)
		}
	}
	follower := Election{self: 2, role: Following, master: 1}
	follower.Step(at(10), Candidate{}, nil, &timing)
	follower.Step(at(10.9), Candidate{}, nil, &timing)
	if follower.Role() != Standing {
		t.Error("the patience after the loss of a master was cut short")
	}
	follower.Step(at(11), Candidate{}, nil, &timing)
	if follower.Role() != Mastering {
		t.Error("one interval after the loss of its master the best host is not master")
	}
}

func TestFollowed(t *testing.T) {
	e := Election{self: 2, role: Mastering, master: 2}
	if e.Followed([]Candidate{{Host: 1, Follows: 3}, {Host: 4, Follows: 2, Master: true}}) || !e.Followed([]Candidate{{Host: 1, Follows: 2}}) {
		t.Error("a master is followed when another host that is no master names it")
	}
}

func TestCandidateOf(t *testing.T) {
	p := fullPacket()
	want := Candidate{Host: 2, Datastores: 1, Master: true, Followed: true, Follows: 2}
	if diff := cmp.Diff(want, CandidateOf(&p)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// electorate is a cluster of hosts that exchange candidates once per beat, over
// a network that loses nothing within a partition.
type electorate struct {
	timing Timing
	now    datastorehb.Instant
	hosts  []*voter
}

type voter struct {
	Candidate
	election *Election
	up       bool
	part     int // the partition it is in
	phase    int // when in the beat it sends and steps, in tenths
	heard    map[datastorehb.HostID]heardCandidate
}

type heardCandidate struct {
	Candidate
	at datastorehb.Instant
}

func (c *electorate) start(v *voter) {
	v.up, v.heard = true, map[datastorehb.HostID]heardCandidate{}
	v.election = NewElection(v.Host, c.now, &c.timing)
	v.Candidate = Candidate{Host: v.Host, Datastores: v.Datastores}
}

// run lets beats pass.
func (c *electorate) run(beats int) {
	for range beats * 10 {
		phase := int(c.now / datastorehb.Instant(c.timing.Beat/10) % 10)
		for _, v := range c.hosts {
			if v.up && v.phase == phase {
				c.turn(v)
			}
		}
		c.now = c.now.Add(c.timing.Beat / 10)
	}
}

func (c *electorate) turn(v *voter) {
	var heard []Candidate
	for _, h := range v.heard {
		if c.now.Sub(h.at) < c.timing.MasterLost {
			heard = append(heard, h.Candidate)
		}
	}
	v.election.Step(c.now, v.Candidate, heard, &c.timing)
	v.Master, v.Follows = v.election.Role() == Mastering, v.election.Master()
	v.Followed = v.election.Followed(heard)
	for _, other := range c.hosts {
		if other != v && other.up && other.part == v.part {
			other.heard[v.Host] = heardCandidate{v.Candidate, c.now}
		}
	}
}

// masters returns the master of each partition, or an error if there is none,
// or more than one, or somebody who does not follow it.
func (c *electorate) masters() (map[int]datastorehb.HostID, error) {
	found := map[int]datastorehb.HostID{}
	for _, v := range c.hosts {
		if v.up && v.election.Role() == Mastering {
			if other := found[v.part]; other != 0 {
				return nil, fmt.Errorf("hosts %d and %d are both master of partition %d", other, v.Host, v.part)
			}
			found[v.part] = v.Host
		}
	}
	for _, v := range c.hosts {
		if v.up && (found[v.part] == 0 || v.election.Master() != found[v.part]) {
			return nil, fmt.Errorf("host %d in partition %d is %v of %d, the master there is %d", v.Host, v.part, v.election.Role(), v.election.Master(), found[v.part])
		}
	}
	return found, nil
}

func (c *electorate) upset(t *rapid.T) {
	for range rapid.IntRange(1, 5).Draw(t, "upsets") {
		v := rapid.SampledFrom(c.hosts).Draw(t, "host")
		switch rapid.IntRange(0, 4).Draw(t, "upset") {
		case 0:
			v.up = !v.up
			if v.up {
				c.start(v)
			}
		case 1:
			v.part = rapid.IntRange(0, 2).Draw(t, "partition")
		case 2:
			for _, v := range c.hosts {
				v.part = 0
			}
		case 3:
			v.Datastores = rapid.IntRange(0, 3).Draw(t, "accessible")
		case 4:
			c.run(rapid.IntRange(1, 6).Draw(t, "beats between"))
		}
	}
}

// settleBeats is what an election takes at most when nothing else happens: a new agent
// listens for five beats, a loss takes three to notice; then two beats of
// patience, one to be heard, and as much again for a master that yields or stands down; and
// then twenty until a master that is outdone stands down, and the next election.
const settleBeats = 16 + 20 + 8

func TestElectionsConvergeAndStay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &electorate{timing: TimingOf(defaultTiming)}
		for i := range rapid.IntRange(1, 8).Draw(t, "hosts") {
			v := &voter{phase: rapid.IntRange(0, 9).Draw(t, "phase")}
			v.Host, v.Datastores = datastorehb.HostID(i+1), rapid.IntRange(0, 3).Draw(t, "datastores")
			c.hosts = append(c.hosts, v)
			c.start(v)
		}
		for range rapid.IntRange(1, 4).Draw(t, "rounds") {
			c.upset(t)
			c.run(settleBeats)
			before, err := c.masters()
			if err != nil {
				t.Fatalf("not settled after %d beats: %v", settleBeats, err)
			}
			for range 20 {
				c.run(1)
				after, err := c.masters()
				if err != nil || !cmp.Equal(before, after) {
					t.Fatalf("masters %v became %v (%v) though nothing happened", before, after, err)
				}
			}
		}
	})
}

// A host with the best rank that is cut off and comes back, again and again, must not
// take the cluster over.
func TestReturningHostDoesNotTakeOver(t *testing.T) {
	c := &electorate{timing: TimingOf(defaultTiming)}
	for i := range 4 {
		v := &voter{phase: 3 * i % 10, up: i > 0}
		v.Host, v.Datastores = datastorehb.HostID(i+1), 2
		c.start(v)
		v.up = i > 0
		c.hosts = append(c.hosts, v)
	}
	c.run(settleBeats)
	c.start(c.hosts[0])
	for round := range 5 {
		c.run(settleBeats)
		if m, err := c.masters(); err != nil || m[0] != 2 {
			t.Fatalf("round %d: masters %v, %v; want host 2, which sat first", round, m, err)
		}
		c.hosts[0].part = 1
		c.run(settleBeats)
		if m, err := c.masters(); err != nil || m[1] != 1 {
			t.Fatalf("round %d: a host alone should be master of itself: %v, %v", round, m, err)
		}
		c.hosts[0].part = 0
	}
}

// A master that accesses fewer datastores than another host gives way, though not for a moment's sake.
func TestOutdoneMasterGivesWay(t *testing.T) {
	c := &electorate{timing: TimingOf(defaultTiming)}
	for i := range 3 {
		v := &voter{phase: 3 * i}
		v.Host, v.Datastores = datastorehb.HostID(i+1), 2
		c.hosts = append(c.hosts, v)
		c.start(v)
	}
	c.run(settleBeats)
	for _, test := range []struct {
		beats int // for which host 1 accesses less
		want  datastorehb.HostID
	}{{16, 1}, {40, 2}} {
		c.hosts[0].Datastores = 1
		c.run(test.beats)
		c.hosts[0].Datastores = 2
		c.run(10)
		if m, err := c.masters(); err != nil || m[0] != test.want {
			t.Errorf("after %d beats: masters %v, %v; want %d", test.beats, m, err, test.want)
		}
	}
}

// The loss of a master is repaired in the time promised: three beats to notice
// it, and at most three more to have the next one.
func TestElectionIsQuick(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &electorate{timing: TimingOf(defaultTiming)}
		for i := range rapid.IntRange(2, 8).Draw(t, "hosts") {
			v := &voter{phase: rapid.IntRange(0, 9).Draw(t, "phase")}
			v.Host, v.Datastores = datastorehb.HostID(i+1), 2
			c.hosts = append(c.hosts, v)
			c.start(v)
		}
		c.run(settleBeats)
		c.hosts[0].up = false
		c.run(3 + 4)
		if m, err := c.masters(); err != nil || m[0] != 2 {
			t.Fatalf("masters %v, %v; want host 2", m, err)
		}
	})
}
