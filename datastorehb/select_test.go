package datastorehb

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// selectNames selects for host 1 and returns the names of what was chosen, in order.
func selectNames(candidates []Candidate, current []int, opts RankOptions) (names []string, s Selection) {
	ranked := Rank(candidates, hostRange(1, 4), opts)
	var ids []uuid.UUID
	for _, n := range current {
		ids = append(ids, datastoreID(n))
	}
	s = Select(1, ranked, ids, opts)
	for _, id := range s.Chosen {
		i := slices.IndexFunc(ranked, func(r Ranked) bool { return r.Datastore == id })
		names = append(names, ranked[i].Name)
	}
	return names, s
}

func TestSelect(t *testing.T) {
	device := func(names ...string) func(*Candidate) {
		return func(c *Candidate) { c.Device = NewDeviceIdentity(names...) }
	}
	fewer := func(c *Candidate) { c.Hosts = hostRange(1, 3) }
	notHost1 := func(c *Candidate) { c.Hosts = hostRange(2, 4) }
	preferred := func(c *Candidate) { c.Preferred = true }
	excluded := func(c *Candidate) { c.Excluded = true }
	tests := []struct {
		name       string
		candidates []Candidate
		current    []int
		want       string
		changed    bool
	}{
		{"nothing there", nil, nil, "", false},
		{"one datastore", []Candidate{candidate(1, nil)}, nil, "ds1", true},
		{"one datastore kept", []Candidate{candidate(1, nil)}, []int{1}, "ds1", false},
		{"best two", []Candidate{candidate(1, fewer), candidate(2, nil), candidate(3, nil)}, nil, "ds2 ds3", true},
		{"other device before better rank", []Candidate{
			candidate(1, device("x")), candidate(2, device("x")), candidate(3, func(c *Candidate) { fewer(c); device("y")(c) }),
		}, nil, "ds1 ds3", true},
		{"same device when there is no other", []Candidate{candidate(1, device("x")), candidate(2, device("x"))}, nil, "ds1 ds2", true},
		{"a better rank moves nothing", []Candidate{candidate(1, nil), candidate(2, fewer), candidate(3, fewer)}, []int{2, 3}, "ds2 ds3", false},
		{"one goes away", []Candidate{candidate(1, notHost1), candidate(2, nil), candidate(3, fewer)}, []int{1, 3}, "ds2 ds3", true},
		{"one is excluded", []Candidate{candidate(1, excluded), candidate(2, nil), candidate(3, nil)}, []int{1, 2}, "ds2 ds3", true},
		{"one left the configuration", []Candidate{candidate(2, nil), candidate(3, nil)}, []int{1, 2}, "ds2 ds3", true},
		{"preferred takes a place", []Candidate{candidate(1, nil), candidate(2, nil), candidate(3, preferred)}, []int{1, 2}, "ds3 ds1", true},
		{"preferred though on one device", []Candidate{
			candidate(1, nil), candidate(2, func(c *Candidate) { preferred(c); device("x")(c) }), candidate(3, func(c *Candidate) { preferred(c); device("x")(c) }),
		}, []int{1}, "ds2 ds3", true},
		{"another device takes a place", []Candidate{candidate(1, device("x")), candidate(2, device("x")), candidate(3, fewer)}, []int{1, 2}, "ds1 ds3", true},
		{"fewer wanted", []Candidate{candidate(1, nil), candidate(2, nil), candidate(3, nil)}, []int{1, 2, 3}, "ds1 ds2", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			names, s := selectNames(tt.candidates, tt.current, DefaultRankOptions())
			if diff := cmp.Diff(tt.want, strings.Join(names, " ")); diff != "" {
				t.Error(diff)
			}
			if s.Changed() != tt.changed {
				t.Errorf("changed is %v: %+v", s.Changed(), s)
			}
			if s.Warning != "" {
				t.Errorf("a needless warning: %s", s.Warning)
			}
			for _, c := range slices.Concat(s.Kept, s.Added, s.Removed) {
				if c.Why == "" || c.Name == "" {
					t.Errorf("a choice without a reason or a name: %+v", c)
				}
			}
		})
	}
}

func TestSelectWarns(t *testing.T) {
	notHost1 := func(c *Candidate) { c.Hosts = hostRange(2, 4) }
	tests := []struct {
		name       string
		candidates []Candidate
		want       string
	}{
		{"one of two", []Candidate{candidate(1, nil), candidate(2, notHost1)}, "host 1 has 1 of 2"},
		{"none of one", []Candidate{candidate(1, notHost1)}, "host 1 has no heartbeat datastore"},
		{"one and one excluded", []Candidate{candidate(1, nil), candidate(2, func(c *Candidate) { c.Excluded = true })}, ""},
	}
	for _, tt := range tests {
		if _, s := selectNames(tt.candidates, nil, DefaultRankOptions()); !strings.HasPrefix(s.Warning, tt.want) || (tt.want == "") != (s.Warning == "") {
			t.Errorf("%s: warning %q", tt.name, s.Warning)
		}
	}
}

// chosenFrom returns the ranked datastores that were chosen.
func chosenFrom(ranked []Ranked, s Selection) (chosen []*Ranked) {
	for i := range ranked {
		if slices.Contains(s.Chosen, ranked[i].Datastore) {
			chosen = append(chosen, &ranked[i])
		}
	}
	return chosen
}

func TestSelectChoosesOnlyWhatIsGood(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		candidates, live, opts := drawCluster(t)
		ranked := Rank(candidates, live, opts)
		host := HostID(rapid.IntRange(1, 12).Draw(t, "host"))
		s := Select(host, ranked, drawCurrent(t, candidates), opts)
		chosen := chosenFrom(ranked, s)
		for _, r := range chosen {
			if r.Excluded || r.Discarded || !slices.Contains(r.Hosts, host) || !slices.Contains(live, host) {
				t.Fatalf("host %d was given %+v", host, *r)
			}
		}
		usable := 0
		for i := range ranked {
			if !ranked[i].Discarded && ranked[i].Accessible(host) {
				usable++
			}
		}
		if len(chosen) != len(s.Chosen) || len(chosen) != min(usable, opts.Count) {
			t.Fatalf("%d of %d usable datastores chosen, %d wanted", len(s.Chosen), usable, opts.Count)
		}
	})
}

func drawCurrent(t *rapid.T, candidates []Candidate) (current []uuid.UUID) {
	for _, c := range candidates {
		if rapid.Bool().Draw(t, "current") {
			current = append(current, c.Datastore)
		}
	}
	if rapid.Bool().Draw(t, "foreign") {
		current = append(current, datastoreID(999))
	}
	return current
}

func TestSelectIsStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		candidates, live, opts := drawCluster(t)
		ranked := Rank(candidates, live, opts)
		host := HostID(rapid.IntRange(1, 12).Draw(t, "host"))
		current := drawCurrent(t, candidates)
		first := Select(host, ranked, current, opts)
		if diff := cmp.Diff(first, Select(host, ranked, rapid.Permutation(current).Draw(t, "shuffled"), opts), ignoreGoneOrder); diff != "" {
			t.Fatalf("the order of the current choices matters:\n%s", diff)
		}
		again := Select(host, ranked, first.Chosen, opts)
		if again.Changed() || !slices.Equal(first.Chosen, again.Chosen) {
			t.Fatalf("chose %v, then %v: %+v", first.Chosen, again.Chosen, again)
		}
	})
}

// ignoreGoneOrder sorts choices by datastore.
var ignoreGoneOrder = cmp.Transformer("sorted", func(in []Choice) map[uuid.UUID]string {
	out := make(map[uuid.UUID]string)
	for _, c := range in {
		out[c.Datastore] = c.Why
	}
	return out
})

// TestSelectKeepsThroughAccessChanges lets other hosts lose access: as long as
// the own choices stay above the threshold, nothing moves.
func TestSelectKeepsThroughAccessChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "datastores")
		candidates := make([]Candidate, n)
		for i := range candidates {
			candidates[i] = candidate(i, func(c *Candidate) { c.Hosts = hostRange(1, 12) })
		}
		opts := DefaultRankOptions()
		current := Select(1, Rank(candidates, hostRange(1, 12), opts), nil, opts).Chosen
		for i := range candidates {
			candidates[i].Hosts = hostRange(1, HostID(rapid.IntRange(3, 12).Draw(t, "last host")))
		}
		s := Select(1, Rank(candidates, hostRange(1, 12), opts), current, opts)
		if s.Changed() {
			t.Fatalf("needless churn: %+v", s)
		}
	})
}

// TestSelectSpreads deals equal datastores, on devices that each hold the same
// number of them, to any set of hosts.
func TestSelectSpreads(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		opts := DefaultRankOptions()
		opts.Count = rapid.IntRange(2, 5).Draw(t, "count")
		devices, each := rapid.IntRange(1, 8).Draw(t, "devices"), rapid.IntRange(1, 3).Draw(t, "each")
		if devices < opts.Count {
			each = 1 // else a window of devices wraps, and the spread is only nearly even
		}
		hosts := rapid.SliceOfNDistinct(rapid.Uint16Range(1, 5000), 1, 40, rapid.ID).Draw(t, "hosts")
		live := make([]HostID, len(hosts))
		for i, h := range hosts {
			live[i] = HostID(h)
		}
		candidates := make([]Candidate, devices*each)
		for i := range candidates {
			candidates[i] = candidate(i, func(c *Candidate) {
				c.Hosts, c.Device = live, NewDeviceIdentity(fmt.Sprint("device", i/each))
			})
		}
		load := make(map[uuid.UUID]int)
		ranked := Rank(candidates, live, opts)
		for _, h := range live {
			for _, id := range Select(h, ranked, nil, opts).Chosen {
				load[id]++
			}
		}
		least, most := len(live), 0
		for _, c := range candidates {
			least, most = min(least, load[c.Datastore]), max(most, load[c.Datastore])
		}
		if most-least > 1 {
			t.Fatalf("%d hosts on %d devices with %d each: loads %d to %d", len(live), devices, each, least, most)
		}
	})
}

func BenchmarkSelect(b *testing.B) {
	for _, hosts := range []int{64, 1000} {
		candidates, live := benchmarkCluster(hosts)
		opts := DefaultRankOptions()
		ranked := Rank(candidates, live, opts)
		current := Select(7, ranked, nil, opts).Chosen
		b.Run(fmt.Sprintf("hosts=%d/datastores=20/anew", hosts), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Select(7, ranked, nil, opts)
			}
		})
		b.Run(fmt.Sprintf("hosts=%d/datastores=20/kept", hosts), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Select(7, ranked, current, opts)
			}
		})
	}
}
